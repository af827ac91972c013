import DeviceRPC
import Foundation
import Synchronization

/// A registry of devices in memory.
final class InMemoryRegistry: DeviceAdministration {
  private struct Entry {
    var isEnabled = true
    var credentials: [DeviceCredential.Kind: DeviceCredential] = [:]
  }

  private let entries = Mutex<[String: Entry]>([:])
  private let failure = Mutex<String?>(nil)
  private static let created = Date(timeIntervalSince1970: 1_780_000_000)

  /// Names and PSK identities; an empty identity for a device without credentials.
  init(_ devices: [String: String] = [:]) {
    for (name, identity) in devices {
      var entry = Entry()
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
      name: name, isEnabled: entry.isEnabled, created: created,
      credentials: DeviceCredential.Kind.allCases.compactMap { entry.credentials[$0] }.map {
        RegisteredDevice.Credential(kind: $0.kind, identity: $0.identity, created: created)
      })
  }

  func registeredDevices() throws(DeviceAdministrationError) -> [RegisteredDevice] {
    try run { entries throws(DeviceAdministrationError) in
      entries.map { Self.device($0.key, $0.value) }.sorted { $0.name < $1.name }
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

  func register(_ name: String) throws(DeviceAdministrationError) -> RegisteredDevice {
    try run { entries throws(DeviceAdministrationError) in
      if let problem = DeviceName.problem(with: name) { throw .invalid("the name \(problem)") }
      guard entries[name] == nil else { throw .exists(name) }
      entries[name] = Entry()
      return Self.device(name, Entry())
    }
  }

  func setCredential(
    _ proof: DeviceCredential.Proof, identity: String?, of name: String
  ) throws(DeviceAdministrationError) -> RegisteredDevice {
    try run { entries throws(DeviceAdministrationError) in
      guard var entry = entries[name] else { throw .unknownDevice(name) }
      let kind = DeviceCredential(device: name, identity: "", proof: proof).kind
      let identity = identity ?? entry.credentials[kind]?.identity ?? name
      if entries.contains(where: { $0.key != name && $0.value.credentials[kind]?.identity == identity }) {
        throw .identityTaken(identity)
      }
      entry.credentials[kind] = DeviceCredential(device: name, identity: identity, proof: proof)
      entries[name] = entry
      return Self.device(name, entry)
    }
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
