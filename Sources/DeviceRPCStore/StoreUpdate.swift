internal import Foundation
internal import DeviceRPC
internal import GRDB

/// What has changed in the database since a snapshot was taken of it.
struct StoreUpdate {
  private let rows: [(device: Int64, credential: DeviceCredential)]
  // Nil for all of them.
  private let devices: Set<Int64>?
  private let last: Mark?

  /// A change up to which a snapshot knows all.
  struct Mark: Equatable {
    let sequence: Int64
    let mark: Int64
  }

  /// Nil when nothing has changed. To be called within a transaction; without a mark everything is read.
  init?(_ db: Database, after known: Mark?) throws {
    last = try Self.mark(db, sql: "SELECT sequence, mark FROM changes ORDER BY sequence DESC LIMIT 1")
    if last != nil, last == known { return nil }
    let sql = """
      SELECT device, name, enabled, kind, identity, key, fingerprint
      FROM credentials JOIN devices ON devices.id = credentials.device
      """
    // Not when the change is gone: so many have come since, or the content is another one.
    if let known,
      try Self.mark(db, sql: "SELECT sequence, mark FROM changes WHERE sequence = \(known.sequence)") == known
    {
      let devices = try Set(
        Int64.fetchAll(db, sql: "SELECT DISTINCT device FROM changes WHERE sequence > ?", arguments: [known.sequence]))
      let one = try db.cachedStatement(sql: sql + " WHERE device = ?")
      rows = try devices.flatMap { try Self.fetch(Row.fetchCursor(one, arguments: [$0])) }
      self.devices = devices
    } else {
      rows = try Self.fetch(Row.fetchCursor(db, sql: sql))
      devices = nil
    }
  }

  private static func mark(_ db: Database, sql: String) throws -> Mark? {
    try Row.fetchOne(db, sql: sql).flatMap { row in
      guard let sequence = Int64.fromDatabaseValue(row[0]), let mark = Int64.fromDatabaseValue(row[1]) else { return nil }
      return Mark(sequence: sequence, mark: mark)
    }
  }

  /// The snapshot with what has changed, whether it differs, and up to where it knows all.
  func applied(to snapshot: CredentialSnapshot) -> (snapshot: CredentialSnapshot, isNews: Bool, last: Mark?) {
    guard let devices else {
      var new = CredentialSnapshot()
      for row in rows { new.insert(row.credential, of: row.device) }
      return (new, !new.isSame(as: snapshot), last)
    }
    var new = snapshot
    for device in devices { new.remove(device: device) }
    for row in rows { new.insert(row.credential, of: row.device) }
    return (new, true, last)
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
