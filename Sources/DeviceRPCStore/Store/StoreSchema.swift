internal import GRDB

/// The tables, and the identification of a store's file.
enum StoreSchema {
  /// "DRPC", in the header of the file.
  private static let applicationID = 0x4452_5043
  /// Changes that are remembered; a store that has missed more reads everything again.
  static let rememberedChanges = 10_000

  // Milliseconds to wait for locks of other connections.
  static let patience = 5_000
  private static let patienceForLog = 500

  static var configuration: Configuration {
    var configuration = Configuration()
    configuration.label = "DeviceStore"
    configuration.busyMode = .timeout(Double(patience) / 1_000)
    // `secure_delete` overwrites keys that are replaced or removed; copies of them in the log are removed by `emptyLog`.
    // The log is written back at each commit. If another database is copied over this one while a server has it open, the result
    // is then that copy, and not a mixture.
    configuration.prepareDatabase { db in
      try db.execute(sql: "PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 1")
    }
    return configuration
  }

  /// Creates or updates the tables of a file that is empty or a store.
  static func prepare(_ queue: DatabaseQueue, path: String) throws {
    try queue.inDatabase { db in
      let id = try Int.fetchOne(db, sql: "PRAGMA application_id")
      let isEmpty = try Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") == 0
      guard id == applicationID || isEmpty else { throw DeviceStoreError.notADeviceStore(path: path) }
      guard try isEmpty || !migrator.hasBeenSuperseded(db) else { throw DeviceStoreError.newer(path: path) }
      if isEmpty { try db.execute(sql: "PRAGMA application_id = \(applicationID)") }
      // Only after the file is known to be a store. FULL: committed changes survive a loss of power.
      try db.execute(sql: "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    }
    try migrator.migrate(queue)
  }

  /// Empties the write-ahead log, which contains keys that were replaced or removed, unless others keep reading it.
  static func emptyLog(_ db: Database) {
    // A short wait, since it blocks others that want to write.
    try? db.execute(sql: "PRAGMA busy_timeout = \(patienceForLog)")
    _ = try? db.checkpoint(.truncate)
    try? db.execute(sql: "PRAGMA busy_timeout = \(patience)")
  }

  /// The migrations. A released migration is never changed; another one is added.
  private static var migrator: DatabaseMigrator {
    var migrator = DatabaseMigrator()
    migrator.registerMigration("1: devices and credentials") { db in try db.execute(sql: first) }
    migrator.registerMigration("2: no credentials without a device") { db in try db.execute(sql: second) }
    migrator.registerMigration("3: changes that are told from others of the same number") { db in
      try db.execute(sql: third)
    }
    migrator.registerMigration("4: API keys") { db in try db.execute(sql: fourth) }
    migrator.registerMigration("5: metadata of devices") { db in try db.execute(sql: fifth) }
    migrator.registerMigration("6: access tokens") { db in try db.execute(sql: sixth) }
    migrator.registerMigration("7: users") { db in try db.execute(sql: seventh) }
    return migrator
  }

  // Times are milliseconds since 1970. The triggers record, for all processes, which devices to read again, whichever program
  // has made the change.
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

  // The trigger replaces the foreign key for connections that do not enable foreign keys, such as the sqlite3 shell's.
  private static let second = """
    DELETE FROM credentials WHERE device NOT IN (SELECT id FROM devices);
    CREATE TRIGGER deviceRemoved BEFORE DELETE ON devices BEGIN
      DELETE FROM credentials WHERE device = old.id;
    END;
    """

  // The random mark shows whether a change is the one that was read before: its number alone may also occur in a backup that was
  // restored, or in another store.
  private static let third = """
    DROP TABLE changes;
    CREATE TABLE changes (
      sequence INTEGER PRIMARY KEY AUTOINCREMENT,
      device INTEGER NOT NULL,
      mark INTEGER NOT NULL DEFAULT (random())
    ) STRICT;
    """

  /// What stands for the API keys and the users in the column `device` of `changes`. The ids of devices begin with 1. A number, so that a
  /// server of an earlier version, which may have the database open, goes on to read the changes of devices.
  static let apiKeysChanged: Int64 = 0

  private static let fourth = """
    CREATE TABLE apiKeys (
      id TEXT NOT NULL UNIQUE,
      name TEXT NOT NULL UNIQUE,
      digest BLOB NOT NULL CHECK (length(digest) = 32),
      created INTEGER NOT NULL,
      expires INTEGER,
      permissions TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER apiKeyAdded AFTER INSERT ON apiKeys BEGIN
      INSERT INTO changes (device) VALUES (0);
    END;
    CREATE TRIGGER apiKeyChanged AFTER UPDATE ON apiKeys BEGIN
      INSERT INTO changes (device) VALUES (0);
    END;
    CREATE TRIGGER apiKeyRemoved AFTER DELETE ON apiKeys BEGIN
      INSERT INTO changes (device) VALUES (0);
    END;
    """

  // The metadata of a device that is not registered are kept, too.
  private static let fifth = """
    CREATE TABLE metadata (
      id INTEGER PRIMARY KEY AUTOINCREMENT,
      device TEXT NOT NULL UNIQUE,
      value TEXT NOT NULL
    ) STRICT;
    CREATE TRIGGER metadataRemoved AFTER DELETE ON devices BEGIN
      DELETE FROM metadata WHERE device = old.name;
    END;
    """

  // SQLite changes a constraint only with the table, and its triggers go with the old one. The identity of a token is its SHA-256.
  private static let sixth = """
    DROP TRIGGER deviceRemoved;
    ALTER TABLE credentials RENAME TO oldCredentials;
    DROP TRIGGER credentialAdded;
    DROP TRIGGER credentialChanged;
    DROP TRIGGER credentialRemoved;
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
        OR kind = 'x509' AND key IS NULL AND (fingerprint IS NULL OR length(fingerprint) = 32)
        OR kind = 'token' AND length(identity) = 64 AND key IS NULL AND fingerprint IS NULL)
    ) STRICT;
    INSERT INTO credentials (device, kind, identity, key, fingerprint, created, rotated)
      SELECT device, kind, identity, key, fingerprint, created, rotated FROM oldCredentials;
    DROP TABLE oldCredentials;
    CREATE TRIGGER credentialAdded AFTER INSERT ON credentials BEGIN
      INSERT INTO changes (device) VALUES (new.device);
    END;
    CREATE TRIGGER credentialChanged AFTER UPDATE ON credentials BEGIN
      INSERT INTO changes (device) VALUES (old.device), (new.device);
    END;
    CREATE TRIGGER credentialRemoved AFTER DELETE ON credentials BEGIN
      INSERT INTO changes (device) VALUES (old.device);
    END;
    CREATE TRIGGER deviceRemoved BEFORE DELETE ON devices BEGIN
      DELETE FROM credentials WHERE device = old.id;
    END;
    """

  // The secret signs the sessions of users. Changes of users are remembered as those of API keys.
  private static let seventh = """
    CREATE TABLE users (
      name TEXT NOT NULL UNIQUE,
      authority TEXT NOT NULL,
      password TEXT NOT NULL,
      created INTEGER NOT NULL,
      changed INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE secrets (name TEXT NOT NULL UNIQUE, value BLOB NOT NULL) STRICT;
    INSERT INTO secrets (name, value) VALUES ('sessions', randomblob(64));
    CREATE TRIGGER userAdded AFTER INSERT ON users BEGIN
      INSERT INTO changes (device) VALUES (0);
    END;
    CREATE TRIGGER userChanged AFTER UPDATE ON users BEGIN
      INSERT INTO changes (device) VALUES (0);
    END;
    CREATE TRIGGER userRemoved AFTER DELETE ON users BEGIN
      INSERT INTO changes (device) VALUES (0);
    END;
    """
}
