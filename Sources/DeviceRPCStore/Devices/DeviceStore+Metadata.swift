public import DeviceRPC
internal import Foundation
internal import GRDB

extension DeviceStore: DeviceMetadataStore {
  public func metadata(of device: String) async throws(DeviceAdministrationError) -> RPCObject {
    try await translated { store throws(DeviceStoreError) in
      try await store.read { db in try Self.metadata(of: device, db) }
    }
  }

  @discardableResult
  public func setMetadata(
    _ metadata: RPCObject, of device: String, replacing old: RPCObject?
  ) async throws(DeviceAdministrationError) -> Bool {
    let json = String(decoding: try DeviceMetadata.json(metadata, of: device), as: UTF8.self)
    return try await translated { store throws(DeviceStoreError) in
      try await store.write { db in
        if let old, try Self.metadata(of: device, db) != old { return false }
        // Set again, it is the newest.
        try db.execute(sql: "DELETE FROM metadata WHERE device = ?", arguments: [device])
        guard !metadata.isEmpty else { return true }
        try db.execute(sql: "INSERT INTO metadata (device, value) VALUES (?, ?)", arguments: [device, json])
        // Nothing else bounds the names of devices that are not registered.
        if try Int.fetchOne(db, sql: "SELECT count(*) FROM metadata") ?? 0 > DeviceMetadata.mostUnregistered {
          try db.execute(
            sql: """
              DELETE FROM metadata WHERE id IN (
                SELECT id FROM metadata WHERE device NOT IN (SELECT name FROM devices)
                ORDER BY id DESC LIMIT -1 OFFSET ?)
              """, arguments: [DeviceMetadata.mostUnregistered])
        }
        return true
      }
    }
  }

  // What was written by other means and is no JSON object is as good as nothing.
  private static func metadata(of device: String, _ db: Database) throws -> RPCObject {
    guard let row = try Row.fetchOne(db, sql: "SELECT value FROM metadata WHERE device = ?", arguments: [device]),
      let text = row.text(0), let value = try? JSONReader.read(Array(text.utf8), limits: .standard)
    else { return RPCObject() }
    return value.objectValue ?? RPCObject()
  }
}
