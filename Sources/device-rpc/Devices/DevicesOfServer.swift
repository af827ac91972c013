internal import DeviceRPC
internal import DeviceRPCStore
internal import Foundation
internal import NIOHTTP1

/// The devices of a server's store, administered over HTTP.
struct DevicesOfServer: DevicesRegistry {
  private static let page = 500
  let client: ServerClient

  func devices() async throws -> [StoredDevice] {
    var devices: [StoredDevice] = []
    var after: String?
    while true {
      let next = after.map { "&after=\(ServerClient.encoded($0))" } ?? ""
      let answer = try await client.ask(.GET, "/v1/devices?limit=\(Self.page)\(next)")
      let found = try Self.check(answer, nil)["devices"]?.arrayValue ?? []
      devices += try found.compactMap(Self.device)
      // A name that does not come after the one before would ask for the same page for ever.
      guard found.count == Self.page, let last = found.last?["name"]?.stringValue, after.map({ $0 < last }) ?? true else {
        return devices
      }
      after = last
    }
  }

  func device(_ name: String) async throws -> StoredDevice? { try Self.device(try await ask(.GET, name)) }

  func add(_ name: String, identity: String, proof: DeviceCredential.Proof) async throws -> StoredDevice {
    try await existing(.PUT, name, body: ["credential": Self.value(proof, identity)])
  }

  func rotate(_ name: String, to proof: DeviceCredential.Proof, identity: String?) async throws -> StoredDevice {
    try await existing(.POST, name, "/rotate", body: Self.value(proof, identity))
  }

  func setEnabled(_ isEnabled: Bool, _ name: String) async throws -> StoredDevice {
    try await existing(.POST, name, isEnabled ? "/enable" : "/disable")
  }

  func remove(_ name: String) async throws { _ = try await ask(.DELETE, name) }

  // MARK: Requests

  private func existing(
    _ method: HTTPMethod, _ name: String, _ path: String = "", body: RPCValue? = nil
  ) async throws -> StoredDevice {
    guard let device = try Self.device(try await ask(method, name, path, body: body)) else {
      throw DeviceStoreError.unknownDevice(name)
    }
    return device
  }

  private func ask(
    _ method: HTTPMethod, _ name: String, _ path: String = "", body: RPCValue? = nil
  ) async throws -> RPCValue {
    // It would be the path of all devices.
    guard !name.isEmpty else { throw method == .PUT ? DeviceStoreError.invalidName(name) : .unknownDevice(name) }
    return try Self.check(try await client.ask(method, "/v1/devices/\(ServerClient.encoded(name))\(path)", body), name)
  }

  /// The body of an answer. Throws the error that the server reports.
  private static func check(_ answer: ServerClient.Answer, _ name: String?) throws -> RPCValue {
    guard answer.status >= 300 else { return answer.body }
    let kind = answer.body["credential"]?.stringValue.flatMap(DeviceCredential.Kind.init)
    switch (answer.body["type"]?.stringValue, name, kind) {
    case ("/v1/problems/unknown-device", let name?, _): throw DeviceStoreError.unknownDevice(name)
    case ("/v1/problems/already-exists", let name?, let kind?): throw DeviceStoreError.hasCredential(device: name, kind)
    case ("/v1/problems/unknown-credential", let name?, let kind?): throw DeviceStoreError.noCredential(device: name, kind)
    default:
      let detail = answer.body["detail"]?.stringValue ?? "the server answered with HTTP status \(answer.status)"
      throw CommandFailure(Output.safe(phrase(detail)))
    }
  }

  /// A sentence as commands print it behind `Error: `.
  private static func phrase(_ sentence: String) -> String {
    let text = sentence.hasSuffix(".") ? sentence.dropLast() : sentence[...]
    return text.prefix(1).lowercased() + text.dropFirst()
  }

  // MARK: Values

  private static func value(_ proof: DeviceCredential.Proof, _ identity: String?) -> RPCValue {
    var object = RPCObject([("kind", .string(proof.kind.rawValue))])
    if let identity { object["identity"] = .string(identity) }
    switch proof {
    case .preSharedKey(let key): object["key"] = .string(String(decoding: key.bytes, as: UTF8.self))
    case .certificate(let fingerprint?): object["fingerprint"] = .string(fingerprint.hexadecimal)
    case .certificate(nil), .accessToken: break
    }
    return .object(object)
  }

  /// Nil for a device that is connected and not in the server's store.
  private static func device(_ value: RPCValue) throws(CommandFailure) -> StoredDevice? {
    guard let registration = value["registration"], registration != .null else { return nil }
    guard let credentials = registration["credentials"]?.arrayValue else {
      throw CommandFailure("this needs an API key of the server that may administer devices (device-rpc keys add NAME --admin)")
    }
    guard let name = value["name"]?.stringValue, let isEnabled = registration["enabled"]?.boolValue,
      let created = date(registration["created"])
    else { throw unreadable }
    return StoredDevice(
      name: name, isEnabled: isEnabled, created: created, lastSeen: date(registration["lastSeen"]),
      credentials: try credentials.map(credential))
  }

  private static func credential(_ value: RPCValue) throws(CommandFailure) -> StoredCredential {
    guard let kind = value["kind"]?.stringValue.flatMap(DeviceCredential.Kind.init),
      let identity = value["identity"]?.stringValue, let created = date(value["created"])
    else { throw unreadable }
    return StoredCredential(
      kind: kind, identity: identity, fingerprint: value["fingerprint"]?.stringValue.flatMap { [UInt8](hexadecimal: $0) },
      created: created, rotated: date(value["rotated"]))
  }

  private static var unreadable: CommandFailure { CommandFailure("the server's answer does not have what a device has") }

  private static func date(_ value: RPCValue?) -> Date? {
    value?.stringValue.flatMap { try? Date($0, strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true)) }
  }
}
