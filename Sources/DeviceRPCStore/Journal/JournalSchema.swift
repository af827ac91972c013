// Journal: persistent calls in a database of their own, beside that of the devices.
// Uses the files of the room Store.

internal import DeviceRPC
internal import Foundation
internal import GRDB

/// The table of the journal, and how a call is written into it.
enum JournalSchema {
  /// "DRCJ", in the header of the file.
  private static let applicationID = 0x4452_434a

  static func configuration(_ durability: SQLiteCallJournal.Durability, pages: Int?) -> Configuration {
    var configuration = Configuration()
    configuration.label = "CallJournal"
    configuration.prepareDatabase { db in
      // Exclusive: the lock is held until the file is closed.
      try db.execute(sql: "PRAGMA locking_mode = EXCLUSIVE; PRAGMA synchronous = \(durability.rawValue)")
      if let pages { try db.execute(sql: "PRAGMA max_page_count = \(pages)") }
    }
    return configuration
  }

  /// Creates or updates the table of a file that is empty or a journal.
  static func prepare(_ database: DatabaseQueue, path: String) throws {
    try database.inDatabase { db in
      let id = try Int.fetchOne(db, sql: "PRAGMA application_id")
      let isEmpty = try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") == 0
      guard id == applicationID || isEmpty else { throw DeviceStoreError.notAJournal(path: path) }
      guard try isEmpty || !migrator.hasBeenSuperseded(db) else { throw DeviceStoreError.newer(path: path) }
      if isEmpty { try db.execute(sql: "PRAGMA application_id = \(applicationID)") }
      try db.execute(sql: "PRAGMA journal_mode = WAL")
    }
    try migrator.migrate(database)
  }

  /// The migrations. A released migration is never changed; another one is added.
  private static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1: calls") { db in
      // Times are milliseconds since 1970, values are JSON as `JournalValue` writes it. A call is open while `ended` is NULL.
      try db.execute(
        sql: """
          CREATE TABLE calls (
            id TEXT NOT NULL PRIMARY KEY, wireId TEXT NOT NULL, device TEXT NOT NULL, method TEXT NOT NULL, params TEXT NOT NULL,
            timeout INTEGER, oneWay INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL, attempts INTEGER,
            repeatable INTEGER NOT NULL, revision INTEGER NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
            delivery TEXT NOT NULL, sent INTEGER, acknowledged INTEGER, answered INTEGER, ended INTEGER, status INTEGER, detail TEXT,
            reason TEXT
          ) STRICT, WITHOUT ROWID;
          CREATE INDEX callsOfDevice ON calls (device, id);
          CREATE INDEX openCalls ON calls (id) WHERE ended IS NULL;
          CREATE INDEX endedCalls ON calls (ended) WHERE ended IS NOT NULL;
          """)
    }
    migrator.registerMigration("2: notes and references") { db in
      try db.execute(
        sql: """
          ALTER TABLE calls ADD COLUMN note TEXT;
          ALTER TABLE calls ADD COLUMN reference TEXT;
          CREATE INDEX referredCalls ON calls (reference) WHERE reference IS NOT NULL;
          """)
    }
    return migrator
  }

  static let columns = """
    id, wireId, device, method, params, timeout, oneWay, created, expires, attempts, repeatable, revision, state, attempt, delivery, \
    sent, acknowledged, answered, ended, status, detail, reason, note, reference
    """
  static let insert = "INSERT OR IGNORE INTO calls (\(columns)) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
  static let update = """
    UPDATE calls SET revision = revision + 1, state = ?, attempt = ?, delivery = ?, sent = ?, acknowledged = ?, answered = ?, ended = ?, \
    status = ?, detail = ?, reason = ? WHERE id = ? AND revision = ?
    """

  /// `params` are those of the call, as text.
  static func arguments(of call: PersistentCall, params: String) -> StatementArguments {
    let timeout = call.call.timeout.map { $0.components.seconds * 1_000 + $0.components.attoseconds / 1_000_000_000_000_000 }
    let values: [(any DatabaseValueConvertible)?] = [
      call.id.description, call.wireID, call.device, call.call.method, params, timeout, call.call.isOneWay, call.created.milliseconds,
      call.expires.milliseconds, call.attempts, call.isRepeatable, call.revision,
    ]
    return StatementArguments(values) + arguments(of: call.progress) + [call.note.map(JournalValue.shortened), call.reference]
  }

  static func arguments(of progress: PersistentCall.Progress, _ id: CallID, _ revision: Int) -> StatementArguments {
    arguments(of: progress) + [id.description, revision]
  }

  private static func arguments(of progress: PersistentCall.Progress) -> StatementArguments {
    let values: [(any DatabaseValueConvertible)?] = [
      progress.state.rawValue, progress.attempt, progress.delivery.rawValue, progress.sent?.milliseconds,
      progress.acknowledged?.milliseconds, progress.answered?.milliseconds, progress.ended?.milliseconds, progress.status?.rawValue,
      progress.detail.map(JournalValue.shortened),
      // SQLite would cut it there.
      progress.reason?.replacing("\0", with: "\u{fffd}"),
    ]
    return StatementArguments(values)
  }

  /// Nil for a row that is no call, such as one that was written by hand.
  static func call(in row: Row) -> PersistentCall? {
    guard let id = row.text(0).flatMap(CallID.init), let wireID = row.text(1), let device = row.text(2), let method = row.text(3),
      let params = row.text(4).flatMap(JournalValue.value), let isOneWay = row.integer(6), let created = row.date(7),
      let expires = row.date(8), let isRepeatable = row.integer(10), let revision = row.integer(11),
      let state = row.text(12).flatMap(PersistentCall.State.init), let attempt = row.integer(13),
      let delivery = row.text(14).flatMap(Delivery.init), let detail = detail(row), (0...Int64(Int32.max)).contains(attempt),
      (1...Int64.max / 2).contains(revision)
    else { return nil }
    var progress = PersistentCall.Progress()
    progress.state = state
    progress.attempt = Int(attempt)
    progress.delivery = delivery
    progress.sent = row.date(15)
    progress.acknowledged = row.date(16)
    progress.answered = row.date(17)
    progress.ended = row.date(18)
    progress.status = row.integer(19).map { RPCStatus(rawValue: Int(clamping: $0)) }
    progress.detail = detail.value
    progress.reason = row.text(21)
    let call = Call(method, params: params, timeout: row.integer(5).map { .milliseconds($0) }, isOneWay: isOneWay != 0)
    return PersistentCall(
      id: id, wireID: wireID, device: device, call: call, created: created, expires: expires,
      attempts: row.integer(9).map { Int($0) }, isRepeatable: isRepeatable != 0,
      note: row.text(22).flatMap(JournalValue.value), reference: row.text(23), progress: progress, revision: Int(revision))
  }

  private static func detail(_ row: Row) -> (value: RPCValue?, Void)? {
    guard let text = row.text(20) else { return (nil, ()) }
    return JournalValue.value(text).map { ($0, ()) }
  }
}

/// Values as JSON that reads back as the same value. What JSON does not have is an object with one member whose name begins with a
/// dollar sign; other names that begin with one get another.
enum JournalValue {
  /// Nil for a value that is nested deeper than JSON is read.
  static func text(of value: RPCValue) -> String? {
    var bytes: [UInt8] = []
    guard (try? JSONWriter.write(escaped(value), to: &bytes)) != nil else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// A value that is nested too deep becomes the text that people are shown of it.
  static func shortened(_ value: RPCValue) -> String { text(of: value) ?? text(of: .string("\(value)")) ?? "null" }

  static func value(_ text: String) -> RPCValue? {
    (try? JSONReader.read(Array(text.utf8), limits: limits)).flatMap(unescaped)
  }

  // As many as there may be: what JSON does not have is more than one value.
  private static let limits = JSONLimits(maxItems: .max)

  private static func escaped(_ value: RPCValue) -> RPCValue {
    switch value {
    case .bytes(let bytes): ["$bytes": .string(Data(bytes).base64EncodedString())]
    case .double(let number) where !number.isFinite: ["$number": .string("\(number)")]
    case .array(let elements): .array(elements.map(escaped))
    case .object(let object):
      .object(RPCObject(object.map { ($0.key.hasPrefix("$") ? "$" + $0.key : $0.key, escaped($0.value)) }))
    case .null, .bool, .integer, .unsigned, .double, .string: value
    }
  }

  private static func unescaped(_ value: RPCValue) -> RPCValue? {
    switch value {
    case .array(let elements):
      let values = elements.compactMap(unescaped)
      return values.count == elements.count ? .array(values) : nil
    case .object(let object):
      if object.count == 1, let text = object["$bytes"]?.stringValue {
        return Data(base64Encoded: text).map { .bytes(Array($0)) }
      }
      if object.count == 1, let text = object["$number"]?.stringValue { return Double(text).map { .double($0) } }
      var members: [(String, RPCValue)] = []
      for (name, member) in object {
        guard let value = unescaped(member) else { return nil }
        members.append((name.hasPrefix("$") ? String(name.dropFirst()) : name, value))
      }
      return .object(RPCObject(members))
    case .null, .bool, .integer, .unsigned, .double, .string, .bytes: return value
    }
  }
}
