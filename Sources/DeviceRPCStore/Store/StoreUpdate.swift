internal import Foundation
internal import DeviceRPC
internal import GRDB

/// The changes of the database since a snapshot.
struct StoreUpdate {
  private let rows: [(device: Int64, credential: DeviceCredential)]
  // The devices that have changed; nil if all were read.
  private let devices: Set<Int64>?
  private let last: Mark?
  /// The API keys, if they have changed or everything was read.
  let apiKeys: APIKeySnapshot?
  /// The users, likewise.
  let users: UserSnapshot?
  /// Why API keys were omitted, one line each, at most `mostComplaints`.
  private(set) var keyComplaints: [String] = []
  /// Why credentials were omitted, one line each, at most `mostComplaints`.
  private(set) var complaints: [String] = []
  private static let mostComplaints = 10

  /// Identifies the last change that a snapshot includes.
  struct Mark: Equatable {
    let sequence: Int64
    let mark: Int64
  }

  /// Reads the changes since `known`, or everything if it is nil. Nil when nothing has changed. Must be called in a transaction.
  init?(_ db: Database, after known: Mark?) throws {
    last = try Self.mark(db, sql: "SELECT sequence, mark FROM changes ORDER BY sequence DESC LIMIT 1")
    if last != nil, last == known { return nil }
    let sql = """
      SELECT device, CAST(name AS BLOB), enabled, kind, CAST(identity AS BLOB), key, fingerprint
      FROM credentials JOIN devices ON devices.id = credentials.device
      """
    // If the known change does not exist any more, everything is read: too many have followed, or the contents were replaced.
    if let known,
      try Self.mark(db, sql: "SELECT sequence, mark FROM changes WHERE sequence = \(known.sequence)") == known
    {
      let devices = try Set(
        Int64.fetchAll(db, sql: "SELECT DISTINCT device FROM changes WHERE sequence > ?", arguments: [known.sequence]))
      let one = try db.cachedStatement(sql: sql + " WHERE device = ?")
      var rows: [(device: Int64, credential: DeviceCredential)] = []
      for device in devices { try Self.fetch(Row.fetchCursor(one, arguments: [device]), &rows, &complaints) }
      self.rows = rows
      self.devices = devices
      apiKeys =
        devices.contains(StoreSchema.apiKeysChanged)
        ? try APIKeySnapshot(db, complaints: &keyComplaints, mostComplaints: Self.mostComplaints) : nil
      users = devices.contains(StoreSchema.apiKeysChanged) ? try UserSnapshot(db) : nil
    } else {
      var rows: [(device: Int64, credential: DeviceCredential)] = []
      try Self.fetch(Row.fetchCursor(db, sql: sql), &rows, &complaints)
      self.rows = rows
      devices = nil
      apiKeys = try APIKeySnapshot(db, complaints: &keyComplaints, mostComplaints: Self.mostComplaints)
      users = try UserSnapshot(db)
    }
  }

  private static func mark(_ db: Database, sql: String) throws -> Mark? {
    try Row.fetchOne(db, sql: sql).flatMap { row in
      guard let sequence = row.integer(0), let mark = row.integer(1) else { return nil }
      return Mark(sequence: sequence, mark: mark)
    }
  }

  /// Returns the updated snapshot of the credentials, whether it differs, and the last change that it includes.
  func applied(to snapshot: CredentialSnapshot) -> (snapshot: CredentialSnapshot, isNews: Bool, last: Mark?) {
    guard let devices else {
      var new = CredentialSnapshot()
      for row in rows { new.insert(row.credential, of: row.device) }
      return (new, !new.isSame(as: snapshot), last)
    }
    var new = snapshot
    for device in devices { new.remove(device: device) }
    for row in rows { new.insert(row.credential, of: row.device) }
    // A change of API keys alone is none of credentials. The comparison is of the same storage then.
    return (new, devices != [StoreSchema.apiKeysChanged] || !new.isSame(as: snapshot), last)
  }

  private static func fetch(
    _ cursor: RowCursor, _ rows: inout [(device: Int64, credential: DeviceCredential)], _ complaints: inout [String]
  ) throws {
    while let row = try cursor.next() {
      guard let device = row.integer(0), let kind = row.text(3).flatMap(DeviceCredential.Kind.init),
        let proof = proof(kind, row)
      else { continue }
      // Rows may have been written by hand.
      guard let name = row.text(1), let identity = row.text(4), problem(name, identity) == nil else {
        if complaints.count < mostComplaints { complaints.append(complaint(row)) }
        continue
      }
      rows.append(
        (device, DeviceCredential(device: name, identity: identity, proof: proof, isEnabled: row.integer(2) != 0)))
    }
  }

  private static func problem(_ name: String, _ identity: String) -> String? {
    if let problem = DeviceName.problem(with: name) { return "the name of the device \(problem)" }
    return DeviceName.problem(with: identity, longest: DeviceStore.longestIdentity).map { "the identity \($0)" }
  }

  private static func complaint(_ row: Row) -> String {
    guard let name = row.text(1) else { return "the name of a device is not UTF-8" }
    guard let identity = row.text(4) else { return "\"\(name)\": the identity is not UTF-8" }
    return "\"\(name)\": \(problem(name, identity) ?? "")"
  }

  private static func proof(_ kind: DeviceCredential.Kind, _ row: Row) -> DeviceCredential.Proof? {
    switch kind {
    case .preSharedKey:
      // The table's constraint allows no other keys.
      guard let bytes: [UInt8] = row.bytes(5), let key = DeviceKey(bytes) else { return nil }
      return .preSharedKey(key)
    case .certificate: return .certificate(fingerprint: row.bytes(6))
    case .accessToken: return .accessToken
    }
  }
}
