// Devices: a device, its name, its credentials, and whether it can be reached.
// Pure values and tables. The room Loop keeps one record for each device.

internal import HashTreeCollections

/// The credentials by kind and identity, and the devices that have any.
///
/// Copies share their storage, and a change copies little of it. So a handshake can look up a table while a changed copy is
/// prepared to replace it.
package struct CredentialTable: Sendable, Equatable {
  private struct Key: Hashable {
    let kind: DeviceCredential.Kind
    let identity: String
  }

  private var credentials: TreeDictionary<Key, DeviceCredential> = [:]
  // How many credentials each device has.
  private var devices: TreeDictionary<String, Int> = [:]

  package init() {}

  package func credential(_ kind: DeviceCredential.Kind, identity: String) -> DeviceCredential? {
    credentials[Key(kind: kind, identity: identity)]
  }

  package func knows(device: String) -> Bool { devices[device] != nil }

  /// Enters a credential; it replaces the one of the same kind and identity.
  package mutating func set(_ credential: DeviceCredential) {
    remove(credential.kind, identity: credential.identity)
    credentials[Key(kind: credential.kind, identity: credential.identity)] = credential
    devices[credential.device, default: 0] += 1
  }

  package mutating func remove(_ kind: DeviceCredential.Kind, identity: String) {
    guard let device = credentials.removeValue(forKey: Key(kind: kind, identity: identity))?.device,
      let count = devices[device]
    else { return }
    devices[device] = count > 1 ? count - 1 : nil
  }
}
