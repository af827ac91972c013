internal import Foundation
internal import DeviceRPC
internal import GRDB

/// What has changed in the database since a snapshot was taken of it.
struct StoreUpdate {
  private let rows: [(device: Int64, credential: DeviceCredential)]
  // Nil for all of them.
  private let devices: Set<Int64>?
  private let last: Int64

  /// Nil when nothing has changed. To be called within a transaction.
  init?(_ db: Database, after known: Int64) throws {
    // Two statements: for both at once SQLite would read the whole table.
    let first = try Int64.fetchOne(db, sql: "SELECT min(sequence) FROM changes") ?? 0
    last = try Int64.fetchOne(db, sql: "SELECT max(sequence) FROM changes") ?? 0
    guard last != known else { return nil }
    let sql = """
      SELECT device, name, enabled, kind, identity, key, fingerprint
      FROM credentials JOIN devices ON devices.id = credentials.device
      """
    if known > 0, last > known, first <= known + 1 {
      let devices = try Set(
        Int64.fetchAll(db, sql: "SELECT DISTINCT device FROM changes WHERE sequence > ?", arguments: [known]))
      let one = try db.cachedStatement(sql: sql + " WHERE device = ?")
      rows = try devices.flatMap { try Self.fetch(Row.fetchCursor(one, arguments: [$0])) }
      self.devices = devices
    } else {
      rows = try Self.fetch(Row.fetchCursor(db, sql: sql))
      devices = nil
    }
  }

  /// Whether anything is different now.
  func apply(to snapshot: inout CredentialSnapshot, _ lastChange: inout Int64) -> Bool {
    lastChange = last
    guard let devices else {
      var new = CredentialSnapshot()
      for row in rows { new.insert(row.credential, of: row.device) }
      defer { snapshot = new }
      return !new.isSame(as: snapshot)
    }
    for device in devices { snapshot.remove(device: device) }
    for row in rows { snapshot.insert(row.credential, of: row.device) }
    return true
  }

  private static func fetch(_ cursor: RowCursor) throws -> [(device: Int64, credential: DeviceCredential)] {
    var rows: [(device: Int64, credential: DeviceCredential)] = []
    while let row = try cursor.next() {
      guard let kind = DeviceCredential.Kind(rawValue: row[3]), let proof = proof(kind, row) else { continue }
      rows.append(
        (row[0], DeviceCredential(device: row[1], identity: row[4], proof: proof, isEnabled: row[2])))
    }
    return rows
  }

  private static func proof(_ kind: DeviceCredential.Kind, _ row: Row) -> DeviceCredential.Proof? {
    switch kind {
    case .preSharedKey:
      // The table takes no other keys than this type.
      guard let bytes: [UInt8] = row.bytes(5), let key = DeviceKey(bytes) else { return nil }
      return .preSharedKey(key)
    case .certificate: return .certificate(fingerprint: row.bytes(6))
    }
  }
}

extension Row {
  /// The bytes of a column, nil for NULL.
  func bytes(_ index: Int) -> [UInt8]? {
    guard let data = self[index] as Data? else { return nil }
    return Array(data)
  }
}

extension Statement {
  /// The one number that `PRAGMA data_version` answers with.
  func dataVersion() throws -> Int? { try Int.fetchOne(self) }
}
