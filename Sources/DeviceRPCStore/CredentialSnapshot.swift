// DeviceRPCStore: devices and their keys in SQLite, for one server and any number of commands beside it.
// For the program `device-rpc` and for users; in memory it is a `DeviceCredentials`.

internal import DeviceRPC
internal import HashTreeCollections

/// The credentials in memory, as the database said last.
struct CredentialSnapshot: Sendable {
  private(set) var table = CredentialTable()
  // What each device has, by its row.
  private var rows: TreeDictionary<Int64, [DeviceCredential]> = [:]

  mutating func insert(_ credential: DeviceCredential, of device: Int64) {
    table.set(credential)
    rows[device, default: []].append(credential)
  }

  /// Forgets what it knows of a device.
  mutating func remove(device: Int64) {
    for credential in rows.removeValue(forKey: device) ?? [] {
      table.remove(credential.kind, identity: credential.identity)
    }
  }

  /// Whether both say the same of all credentials.
  func isSame(as other: CredentialSnapshot) -> Bool { table == other.table }
}
