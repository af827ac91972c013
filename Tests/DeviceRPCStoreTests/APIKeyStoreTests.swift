import Crypto
import DeviceRPC
import DeviceRPCStore
import Foundation
import GRDB
import Logging
import Testing

@Suite(.timeLimit(.minutes(1))) struct APIKeyStoreTests {
  private let narrow = APIPermissions(
    devices: .only(names: ["pump"], prefixes: ["plant-"]), methods: .only(["reboot"]), allowsReading: false,
    allowsAdministering: true)

  /// Two stores on one directory, as two processes have them.
  private func withTwo(_ body: (DeviceStore, DeviceStore) async throws -> Void) async throws {
    try await withStore { first in
      let second = try DeviceStore(directory: first.directory, creating: false)
      defer { second.close() }
      try await body(first, second)
    }
  }

  /// Writes to the database as another program does.
  private func write(_ sql: String, to store: DeviceStore) async throws {
    try await DatabaseQueue(path: store.path).write { try $0.execute(sql: sql) }
  }

  @Test func `a key is added and found by its id, with the digest of its secret`() async throws {
    try await withStore { store in
      #expect(!store.hasKeys)
      let before = Date(timeIntervalSinceNow: -1)
      let (key, text) = try await store.addAPIKey(name: "billing")
      #expect(key.name == "billing")
      #expect(key.id == text.id)
      #expect(key.created > before && key.created < Date(timeIntervalSinceNow: 1))
      #expect(key.expires == nil)
      #expect(key.permissions == .standard)
      #expect(key.matches(digest: Array(SHA256.hash(data: text.secret))))
      #expect(store.apiKey(id: text.id) == key)
      #expect(store.apiKey(id: "billing") == nil)
      #expect(store.hasKeys)
      #expect(try await store.apiKeys() == [key])
    }
  }

  @Test func `what a store was told of keys is there when it is opened again`() async throws {
    try await withDirectory { directory in
      let first = try DeviceStore(directory: directory)
      let time = Date(timeIntervalSince1970: 1_790_000_000.123)
      let (b, text) = try await first.addAPIKey(name: "b", expires: time, permissions: narrow)
      let (a, _) = try await first.addAPIKey(name: "a", permissions: .all)
      #expect(b.expires == time)
      #expect(b.permissions == narrow)
      first.close()
      let second = try DeviceStore(directory: directory, creating: false)
      defer { second.close() }
      #expect(try await second.apiKeys() == [a, b])
      #expect(second.apiKey(id: text.id) == b)
      #expect(second.apiKey(id: a.id) == a)
    }
  }

  @Test func `a key is revoked by its name or its id, and its name is free then`() async throws {
    try await withStore { store in
      let (first, _) = try await store.addAPIKey(name: "billing")
      #expect(try await store.revokeAPIKey("billing") == first)
      #expect(store.apiKey(id: first.id) == nil)
      #expect(!store.hasKeys)
      let (second, _) = try await store.addAPIKey(name: "billing")
      #expect(second.id != first.id)
      #expect(try await store.revokeAPIKey(second.id) == second)
      #expect(try await store.apiKeys().isEmpty)
      for unknown in ["billing", second.id, ""] {
        await #expect(throws: DeviceStoreError.unknownKey(unknown)) { try await store.revokeAPIKey(unknown) }
      }
    }
  }

  @Test func `a name is that of one key, and no key's id`() async throws {
    try await withStore { store in
      let (key, _) = try await store.addAPIKey(name: "billing")
      for name in ["billing", key.id] {
        await #expect(throws: DeviceStoreError.keyNameTaken(name)) { try await store.addAPIKey(name: name) }
      }
      #expect(try await store.apiKeys() == [key])
    }
  }

  @Test(arguments: ["", "u\u{308}", "a\nb", "a\u{61c}b", "a ", String(repeating: "n", count: 256)])
  func `the names of keys are those that cannot be taken for others`(name: String) async throws {
    try await withStore { store in
      await #expect(throws: DeviceStoreError.invalidKeyName(name)) { try await store.addAPIKey(name: name) }
      #expect(!store.hasKeys)
    }
  }

  @Test func `there is a limit to the keys, and to the permissions of one`() async throws {
    try await withStore { store in
      let names = Set((0..<2_000).map { "device-\($0)" })
      await #expect(throws: DeviceStoreError.permissionsTooLong(bytes: 26_974)) {
        try await store.addAPIKey(name: "a", permissions: APIPermissions(devices: .only(names: names)))
      }
      #expect(DeviceStore.mostAPIKeys == 10_000)
      var changes = store.apiKeyChanges().makeAsyncIterator()
      try await write(
        """
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
        INSERT INTO apiKeys (id, name, digest, created, permissions)
        SELECT 'id' || i, 'key ' || i, zeroblob(32), 0, '\(APIPermissions.standard.value)' FROM n;
        """, to: store)
      try await awaitChange(&changes) { store.apiKey(id: "id9999") != nil }
      let (last, _) = try await store.addAPIKey(name: "the last one")
      await #expect(throws: DeviceStoreError.tooManyKeys(limit: 10_000)) { try await store.addAPIKey(name: "another") }
      #expect(store.apiKey(id: last.id) != nil)
      try await store.revokeAPIKey("key 1")
      #expect(try await store.addAPIKey(name: "another").key.name == "another")
    }
  }

  @Test func `a time that cannot be stored becomes the nearest one`() async throws {
    try await withStore { store in
      for (number, time) in [Date.distantFuture, Date(timeIntervalSince1970: .infinity)].enumerated() {
        let key = try await store.addAPIKey(name: "a\(number)", expires: time).key
        #expect(try #require(key.expires).timeIntervalSince1970 > 64_000_000_000)
      }
      for (number, time) in [Date.distantPast, Date(timeIntervalSince1970: .nan)].enumerated() {
        let key = try await store.addAPIKey(name: "b\(number)", expires: time).key
        #expect(key.expires == Date(timeIntervalSince1970: 0))
      }
    }
  }

  @Test func `each sees the keys that the other adds and revokes`() async throws {
    try await withTwo { first, second in
      var changes = second.apiKeyChanges().makeAsyncIterator()
      let (key, _) = try await first.addAPIKey(name: "billing", permissions: narrow)
      try await awaitChange(&changes) { second.apiKey(id: key.id) == key }
      #expect(second.hasKeys)
      try await first.revokeAPIKey("billing")
      try await awaitChange(&changes) { second.apiKey(id: key.id) == nil }
      #expect(!second.hasKeys)
    }
  }

  @Test func `a key that another program changes or deletes is read again`() async throws {
    try await withStore { store in
      let (key, _) = try await store.addAPIKey(name: "billing")
      var changes = store.apiKeyChanges().makeAsyncIterator()
      try await write("UPDATE apiKeys SET expires = 5", to: store)
      try await awaitChange(&changes) { store.apiKey(id: key.id)?.expires == Date(timeIntervalSince1970: 0.005) }
      try await write("DELETE FROM apiKeys", to: store)
      try await awaitChange(&changes) { store.apiKey(id: key.id) == nil }
    }
  }

  @Test func `a change of keys is none of credentials, and the other way round`() async throws {
    try await withTwo { first, second in
      var credentials = second.changes().makeAsyncIterator()
      var keys = second.apiKeyChanges().makeAsyncIterator()
      let (key, _) = try await first.addAPIKey(name: "billing")
      try await awaitChange(&keys) { second.apiKey(id: key.id) != nil }
      try await first.add("a", identity: "a", proof: .preSharedKey(.generated()))
      // The first element is of the device: before it there was none.
      await credentials.next()
      #expect(second.credential(.preSharedKey, identity: "a") != nil)
      try await first.setEnabled(false, "a")
      await credentials.next()
      try await first.revokeAPIKey("billing")
      // Likewise, of the key that is gone.
      await keys.next()
      #expect(!second.hasKeys)
    }
  }

  @Test func `a credential of a device that was written by hand as number 0 is noticed all the same`() async throws {
    try await withStore { store in
      let key = try await store.addAPIKey(name: "billing").key
      var changes = store.changes().makeAsyncIterator()
      try await write(
        """
        INSERT INTO devices (id, name, created) VALUES (0, 'a', 0);
        INSERT INTO credentials (device, kind, identity, key, created) VALUES (0, 'psk', 'a', x'6b', 0);
        """, to: store)
      try await awaitChange(&changes) { store.credential(.preSharedKey, identity: "a") != nil }
      try await write("DELETE FROM devices", to: store)
      try await awaitChange(&changes) { store.credential(.preSharedKey, identity: "a") == nil }
      #expect(store.apiKey(id: key.id) == key)
    }
  }

  @Test func `a key that was written by hand and cannot be used is left out with a warning, and can be listed and revoked`()
    async throws
  {
    try await withDirectory { directory in
      let log = RecordingLog()
      let store = try DeviceStore(directory: directory, logger: Logger(label: "test") { _ in log })
      defer { store.close() }
      var changes = store.apiKeyChanges().makeAsyncIterator()
      try await write(
        """
        INSERT INTO apiKeys (id, name, digest, created, permissions) VALUES
          ('i1', 'cafe' || char(769), zeroblob(32), 0, '\(APIPermissions.standard.value)'),
          ('i2', CAST(x'61ff' AS TEXT), zeroblob(32), 0, '\(APIPermissions.standard.value)'),
          ('i3', 'c', zeroblob(32), -9223372036854775808, '{"devices":"all"}'),
          ('i4', 'd', zeroblob(32), 9223372036854775807, '['),
          (CAST(x'ff' AS TEXT), 'e', zeroblob(32), 0, '\(APIPermissions.standard.value)');
        """, to: store)
      // A server must not take this for a store without keys.
      try await awaitChange(&changes) { store.hasKeys }
      for _ in 1...5 { await log.line("an API key is left out, nobody can call with it") }
      for id in ["i1", "i2", "i3", "i4", "\u{fffd}"] { #expect(store.apiKey(id: id) == nil) }
      let keys = try await store.apiKeys()
      #expect(keys.count == 5)
      #expect(keys.filter { $0.name == "c" || $0.name == "d" }.map(\.permissions) == [.none, .none])
      #expect(keys.allSatisfy { !$0.created.formatted(.iso8601).isEmpty })
      for name in ["cafe\u{301}", "i2", "c", "i4", "e"] { try await store.revokeAPIKey(name) }
      #expect(!store.hasKeys)
    }
  }

  @Test func `no secret is in the files`() async throws {
    try await withStore { store in
      let (_, text) = try await store.addAPIKey(name: "billing")
      let files = try FileManager.default.contentsOfDirectory(atPath: store.directory)
      #expect(!files.isEmpty)
      for file in files {
        let content = try Data(contentsOf: URL(fileURLWithPath: store.directory).appendingPathComponent(file))
        #expect(content.range(of: Data(text.secret)) == nil)
      }
    }
  }

  @Test func `a store of the version before API keys gets them, and keeps its devices`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("k"))
      store.close()
      let queue = try DatabaseQueue(path: store.path)
      try await queue.write { db in
        try db.execute(
          sql: """
            DROP TABLE apiKeys; DROP TABLE metadata; DROP TRIGGER metadataRemoved; DROP TABLE users; DROP TABLE secrets;
            DELETE FROM grdb_migrations WHERE identifier > '4'
            """)
        #expect(try String.fetchAll(db, sql: "SELECT identifier FROM grdb_migrations").count == 3)
        let triggers = try String.fetchAll(db, sql: "SELECT name FROM sqlite_master WHERE name LIKE 'apiKey%'")
        #expect(triggers.isEmpty)
      }
      try queue.close()
      let updated = try DeviceStore(directory: store.directory)
      defer { updated.close() }
      #expect(updated.credential(.preSharedKey, identity: "a")?.proof == (try key("k")))
      #expect(!updated.hasKeys)
      let (added, _) = try await updated.addAPIKey(name: "billing")
      #expect(updated.apiKey(id: added.id) == added)
      #expect(try updated.integrity() == ["ok"])
    }
  }

  @Test func `keys of another database in the place of the open one are used instead`() async throws {
    try await withStore { store in
      let (former, _) = try await store.addAPIKey(name: "billing")
      try await withStore { other in
        let (latter, _) = try await other.addAPIKey(name: "billing")
        other.close()
        var changes = store.apiKeyChanges().makeAsyncIterator()
        try #require(rename(other.path, store.path) == 0)
        try await awaitChange(&changes) { store.apiKey(id: latter.id) != nil }
        #expect(store.apiKey(id: former.id) == nil)
      }
    }
  }

  @Test func `closing ends the stream of keys, and those that were known go on to be answered`() async throws {
    try await withStore { store in
      let (key, _) = try await store.addAPIKey(name: "billing")
      var changes = store.apiKeyChanges().makeAsyncIterator()
      store.close()
      #expect(await changes.next() == nil)
      #expect(store.apiKey(id: key.id) == key)
      await #expect(throws: DeviceStoreError.self) { try await store.addAPIKey(name: "another") }
      await #expect(throws: DeviceStoreError.self) { try await store.revokeAPIKey("billing") }
    }
  }
}
