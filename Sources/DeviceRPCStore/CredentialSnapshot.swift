internal import DeviceRPC

/// The credentials in memory, as the database said last.
struct CredentialSnapshot: Sendable {
  private struct Key: Hashable {
    let kind: DeviceCredential.Kind
    let identity: String
  }

  private var credentials: [Key: DeviceCredential] = [:]
  // The keys of each device, by its row.
  private var keys: [Int64: [Key]] = [:]

  func credential(_ kind: DeviceCredential.Kind, identity: String) -> DeviceCredential? {
    credentials[Key(kind: kind, identity: identity)]
  }

  mutating func insert(_ credential: DeviceCredential, of device: Int64) {
    let key = Key(kind: credential.kind, identity: credential.identity)
    credentials[key] = credential
    keys[device, default: []].append(key)
  }

  /// Forgets what it knows of a device.
  mutating func remove(device: Int64) {
    for key in keys.removeValue(forKey: device) ?? [] { credentials[key] = nil }
  }

  /// Whether both say the same of all credentials.
  func isSame(as other: CredentialSnapshot) -> Bool { credentials == other.credentials }
}
