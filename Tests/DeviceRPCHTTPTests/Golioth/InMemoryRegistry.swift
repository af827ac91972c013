import DeviceRPC
import Foundation
import Synchronization

/// A registry of devices in memory.
final class InMemoryRegistry: DeviceAdministration {
  private struct Entry {
    var isEnabled = true
    var lastSeen: Date?
    var credentials: [DeviceCredential.Kind: DeviceCredential] = [:]
  }

  private let entries = Mutex<[String: Entry]>([:])
  private let failure = Mutex<String?>(nil)
  private static let created = Date(timeIntervalSince1970: 1_780_000_000)

  /// Names and PSK identities; an empty identity for a device without credentials.
  init(_ devices: [String: String] = [:], lastSeen: [String: Date] = [:]) {
    for (name, identity) in devices {
      var entry = Entry(lastSeen: lastSeen[name])
      if !identity.isEmpty, let key = DeviceKey("key of \(name)".utf8) {
        entry.credentials[.preSharedKey] = DeviceCredential(device: name, identity: identity, proof: .preSharedKey(key))
      }
      entries.withLock { $0[name] = entry }
    }
  }

  /// From now on everything fails for this reason.
  func fail(_ reason: String) { failure.withLock { $0 = reason } }

  private func run<Value: Sendable>(
    _ body: (inout [String: Entry]) throws(DeviceAdministrationError) -> Value
  ) throws(DeviceAdministrationError) -> Value {
    if let reason = failure.withLock({ $0 }) { throw .failed(reason) }
    var copy = entries.withLock { $0 }
    let value = try body(&copy)
    entries.withLock { $0 = copy }
    return value
  }

  private static func device(_ name: String, _ entry: Entry) -> RegisteredDevice {
    RegisteredDevice(
      name: name, isEnabled: entry.isEnabled, created: created, lastSeen: entry.lastSeen,
      credentials: DeviceCredential.Kind.allCases.compactMap { entry.credentials[$0] }.map {
        RegisteredDevice.Credential(kind: $0.kind, identity: $0.identity, fingerprint: $0.proof.fingerprint, created: created)
      })
  }

  func registeredDevices(
    prefix: String, after: String?, limit: Int
  ) throws(DeviceAdministrationError) -> [RegisteredDevice] {
    try run { entries throws(DeviceAdministrationError) in
      let wanted = entries.filter { name, _ in name.hasPrefix(prefix) && after.map { name > $0 } ?? true }
      return Array(wanted.map { Self.device($0.key, $0.value) }.sorted { $0.name < $1.name }.prefix(limit))
    }
  }

  func registeredDevice(_ name: String) throws(DeviceAdministrationError) -> RegisteredDevice? {
    try run { entries throws(DeviceAdministrationError) in entries[name].map { Self.device(name, $0) } }
  }

  func credentials(of name: String) throws(DeviceAdministrationError) -> [DeviceCredential] {
    try run { entries throws(DeviceAdministrationError) in
      guard let entry = entries[name] else { throw .unknownDevice(name) }
      return DeviceCredential.Kind.allCases.compactMap { entry.credentials[$0] }
    }
  }

  func register(
    _ name: String, _ proof: DeviceCredential.Proof?, identity: String?
  ) throws(DeviceAdministrationError) -> (device: RegisteredDevice, isNew: Bool) {
    try run { entries throws(DeviceAdministrationError) in
      if let problem = DeviceName.problem(with: name) { throw .invalid("the name \(problem)") }
      let isNew = entries[name] == nil
      entries[name] = entries[name] ?? Entry()
      if let proof { try Self.set(proof, identity, of: name, .add, in: &entries) }
      return (Self.device(name, entries[name] ?? Entry()), isNew)
    }
  }

  func setCredential(
    _ proof: DeviceCredential.Proof, identity: String?, of name: String, _ change: CredentialChange
  ) throws(DeviceAdministrationError) -> RegisteredDevice {
    try run { entries throws(DeviceAdministrationError) in
      try Self.set(proof, identity, of: name, change, in: &entries)
      return Self.device(name, entries[name] ?? Entry())
    }
  }

  private static func set(
    _ proof: DeviceCredential.Proof, _ identity: String?, of name: String, _ change: CredentialChange,
    in entries: inout [String: Entry]
  ) throws(DeviceAdministrationError) {
    guard let entry = entries[name] else { throw .unknownDevice(name) }
    let current = entry.credentials[proof.kind]
    let new = DeviceCredential(device: name, identity: identity ?? current?.identity ?? name, proof: proof)
    if change == .add, let current, current != new { throw .hasCredential(device: name, proof.kind) }
    if change == .rotate, current == nil { throw .noCredential(device: name, proof.kind) }
    if let problem = DeviceName.problem(with: new.identity, longest: 128) { throw .invalid("the identity \(problem)") }
    if entries.contains(where: { $0.key != name && $0.value.credentials[proof.kind]?.identity == new.identity }) {
      throw .identityTaken(new.identity)
    }
    entries[name]?.credentials[proof.kind] = new
  }

  func setEnabled(_ isEnabled: Bool, device name: String) throws(DeviceAdministrationError) -> RegisteredDevice {
    try run { entries throws(DeviceAdministrationError) in
      guard var entry = entries[name] else { throw .unknownDevice(name) }
      entry.isEnabled = isEnabled
      entries[name] = entry
      return Self.device(name, entry)
    }
  }

  func unregister(_ name: String) throws(DeviceAdministrationError) {
    try run { entries throws(DeviceAdministrationError) in
      guard entries.removeValue(forKey: name) != nil else { throw .unknownDevice(name) }
    }
  }
}

extension DeviceCredential.Proof {
  fileprivate var fingerprint: [UInt8]? {
    if case .certificate(let fingerprint) = self { fingerprint } else { nil }
  }
}
