internal import DeviceRPC
internal import FoundationEssentials

extension DeviceDocument {
  /// A device with its registration.
  ///
  /// - Parameters:
  ///   - withCredentials: whether the sender may see them.
  ///   - new: a new credential, whose key or token is shown this once.
  static func value(of device: KnownDevices.Device, withCredentials: Bool, new: CredentialRequest? = nil) -> RPCValue {
    var object = device.info.flatMap { value(of: $0).objectValue } ?? absent(device)
    object["registration"] = device.registered.map { registration($0, withCredentials: withCredentials) } ?? .null
    if let text = new?.generated { object[new?.proof == .accessToken ? "token" : "key"] = .string(text) }
    return .object(object)
  }

  /// The members of a device that has not connected.
  private static func absent(_ device: KnownDevices.Device) -> RPCObject {
    let seen = device.registered?.lastSeen
    let evidence: RPCValue = seen == nil ? "it has never connected" : "it has not connected since the server was started"
    return RPCObject([
      ("name", .string(device.name)), ("state", .string(device.state.rawValue)), ("since", .null), ("evidence", evidence),
      ("address", .null), ("dialect", .null), ("firstSeen", .null), ("lastHeard", time(seen)), ("openCalls", 0),
    ])
  }

  private static func registration(_ device: RegisteredDevice, withCredentials: Bool) -> RPCValue {
    var members: [(String, RPCValue)] = [
      ("enabled", .bool(device.isEnabled)), ("created", time(device.created)), ("lastSeen", time(device.lastSeen)),
    ]
    if withCredentials { members.append(("credentials", .array(device.credentials.map(value)))) }
    return .object(RPCObject(members))
  }

  /// A credential, without its key.
  static func value(of credential: RegisteredDevice.Credential) -> RPCValue {
    [
      "kind": .string(credential.kind.rawValue), "identity": .string(credential.identity),
      "fingerprint": credential.fingerprint.map { .string($0.hexadecimal) } ?? .null, "created": time(credential.created),
      "rotated": time(credential.rotated),
    ]
  }

  private static func time(_ date: Date?) -> RPCValue { date.map { .string(CallDocument.timestamp($0)) } ?? .null }
}
