internal import GRDB

/// The tables, and what makes a file one of ours.
enum StoreSchema {
  /// "DRPC", in the header of the file.
  private static let applicationID = 0x4452_5043
  /// Changes that are remembered; who has missed more reads everything anew.
  static let rememberedChanges = 10_000

  // Milliseconds that others are waited for.
  static let patience = 5_000
  private static let patienceForLog = 500

  static var configuration: Configuration {
    var configuration = Configuration()
    configuration.label = "DeviceStore"
    configuration.busyMode = .timeout(Double(patience) / 1_000)
    // Keys that are replaced or removed are overwritten, too; what the log has of them goes with `emptyLog`.
    // The log is written back at each commit: who copies another database over this one, though a server has it open, gets
    // what he has copied and not a mixture.
    configuration.prepareDatabase { db in
      try db.execute(sql: "PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 1")
    }
    return configuration
  }

  /// Creates or updates the tables of a file that is new or ours.
  static func prepare(_ queue: DatabaseQueue, path: String) throws {
    try queue.inDatabase { db in
      let id = try Int.fetchOne(db, sql: "PRAGMA application_id")
      let isEmpty = try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") == 0
      guard id == applicationID || isEmpty else { throw DeviceStoreError.notADeviceStore(path: path) }
      guard try isEmpty || !migrator.hasBeenSuperseded(db) else { throw DeviceStoreError.newer(path: path) }
      if isEmpty { try db.execute(sql: "PRAGMA application_id = \(applicationID)") }
      // Only now that it is known to be ours. FULL: what has been committed survives a loss of power, too.
      try db.execute(sql: "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    }
    try migrator.migrate(queue)
  }

  /// Empties the write-ahead log, which has keys that were replaced or removed, if nobody reads what is in it for long.
  static func emptyLog(_ db: Database) {
    // Not for longer: others that want to write have to wait meanwhile.
    try? db.execute(sql: "PRAGMA busy_timeout = \(patienceForLog)")
    _ = try? db.checkpoint(.truncate)
    try? db.execute(sql: "PRAGMA busy_timeout = \(patience)")
  }

  /// A migration that has been released is never changed: another one is added.
  private static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1: devices and credentials") { db in try db.execute(sql: first) }
    migrator.registerMigration("2: no credentials without a device") { db in try db.execute(sql: second) }
    migrator.registerMigration("3: changes that are told from others of the same number") { db in
      try db.execute(sql: third)
    }
    return migrator
  }

  // Times are milliseconds since 1970. The triggers tell every process, of whatever is done by whatever program, which
  // devices to read again.
  private static let first = """
    CREATE TABLE devices (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      name TEXT NOT NULL UNIQUE,
      enabled INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
      created INTEGER NOT NULL,
      lastSeen INTEGER
    ) STRICT;
    CREATE TABLE credentials (
      device INTEGER NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
      kind TEXT NOT NULL,
      identity TEXT NOT NULL,
      key BLOB,
      fingerprint BLOB,
      created INTEGER NOT NULL,
      rotated INTEGER,
      PRIMARY KEY (device, kind),
      UNIQUE (kind, identity),
      CHECK (
        kind = 'psk' AND length(key) BETWEEN 1 AND 64 AND fingerprint IS NULL
        OR kind = 'x509' AND key IS NULL AND (fingerprint IS NULL OR length(fingerprint) = 32))
    ) STRICT;
    CREATE TABLE changes (sequence INTEGER PRIMARY KEY AUTOINCREMENT, device INTEGER NOT NULL) STRICT;
    CREATE TRIGGER credentialAdded AFTER INSERT ON credentials BEGIN
      INSERT INTO changes (device) VALUES (new.device);
    END;
    CREATE TRIGGER credentialChanged AFTER UPDATE ON credentials BEGIN
      INSERT INTO changes (device) VALUES (old.device), (new.device);
    END;
    CREATE TRIGGER credentialRemoved AFTER DELETE ON credentials BEGIN
      INSERT INTO changes (device) VALUES (old.device);
    END;
    CREATE TRIGGER deviceChanged AFTER UPDATE OF id, name, enabled ON devices BEGIN
      INSERT INTO changes (device) VALUES (old.id), (new.id);
    END;
    """

  // A connection that does not ask for foreign keys, such as the sqlite3 shell's, does not follow them.
  private static let second = """
    DELETE FROM credentials WHERE device NOT IN (SELECT id FROM devices);
    CREATE TRIGGER deviceRemoved BEFORE DELETE ON devices BEGIN
      DELETE FROM credentials WHERE device = old.id;
    END;
    """

  // Who has read up to a change knows by its mark whether it is still there: the number alone may also be in a backup that
  // was written back, or in another store.
  private static let third = """
    DROP TABLE changes;
    CREATE TABLE changes (
      sequence INTEGER PRIMARY KEY AUTOINCREMENT,
      device INTEGER NOT NULL,
      mark INTEGER NOT NULL DEFAULT (random())
    ) STRICT;
    """
}
