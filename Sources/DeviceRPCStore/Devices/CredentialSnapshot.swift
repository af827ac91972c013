// Devices: devices and their credentials: the snapshot that answers handshakes, and what changes them.
// `DeviceStore` implements `DeviceCredentials` with it, for the program `device-rpc` and for users.

internal import DeviceRPC
internal import HashTreeCollections

/// The credentials in memory, as last read from the database.
struct CredentialSnapshot: Sendable {
  private(set) var table = CredentialTable()
  // The credentials of each device, by its row id.
  private var rows: TreeDictionary<Int64, [DeviceCredential]> = [:]

  mutating func insert(_ credential: DeviceCredential, of device: Int64) {
    table.set(credential)
    rows[device, default: []].append(credential)
  }

  /// Removes all credentials of a device.
  mutating func remove(device: Int64) {
    for credential in rows.removeValue(forKey: device) ?? [] {
      table.remove(credential.kind, identity: credential.identity)
    }
  }

  /// Whether both contain the same credentials.
  func isSame(as other: CredentialSnapshot) -> Bool { table == other.table }
}
