import DeviceRPC
import DeviceRPCStore
import Foundation
import GRDB
import Logging
import Testing

@Suite(.timeLimit(.minutes(1))) struct ChangesTests {
  /// Two stores on one directory, as two processes have them.
  private func withTwo(_ body: (DeviceStore, DeviceStore) async throws -> Void) async throws {
    try await withStore { first in
      let second = try DeviceStore(directory: first.directory, creating: false)
      defer { second.close() }
      try await body(first, second)
    }
  }

  @Test func `a change of one's own is told when it can be looked up`() async throws {
    try await withStore { store in
      var changes = store.changes().makeAsyncIterator()
      try await store.add("a", identity: "a", proof: key("k"))
      #expect(store.credential(.preSharedKey, identity: "a") != nil)
      await changes.next()
      try await store.remove("a")
      #expect(store.credential(.preSharedKey, identity: "a") == nil)
      await changes.next()
    }
  }

  @Test func `each sees what the other changes`() async throws {
    try await withTwo { first, second in
      var changes = second.changes().makeAsyncIterator()
      try await first.add("a", identity: "a", proof: key("k"))
      try await awaitChange(&changes) { second.credential(.preSharedKey, identity: "a") != nil }
      try await first.rotate("a", to: key("l"))
      try await awaitChange(&changes) { second.credential(.preSharedKey, identity: "a")?.proof == (try? key("l")) }
      try await first.setEnabled(false, "a")
      try await awaitChange(&changes) { second.credential(.preSharedKey, identity: "a")?.isEnabled == false }

      var back = first.changes().makeAsyncIterator()
      try await second.remove("a")
      try await awaitChange(&back) { first.credential(.preSharedKey, identity: "a") == nil }
    }
  }

  @Test func `changes of both at once are all seen by both`() async throws {
    try await withTwo { first, second in
      let names = (0..<40).map { "d\($0)" }
      try await withThrowingTaskGroup(of: Void.self) { group in
        for (number, name) in names.enumerated() {
          let store = number.isMultiple(of: 2) ? first : second
          group.addTask { try await store.add(name, identity: name, proof: key("k")) }
        }
        try await group.waitForAll()
      }
      for store in [first, second] {
        var changes = store.changes().makeAsyncIterator()
        try await awaitChange(&changes) { names.allSatisfy { store.credential(.preSharedKey, identity: $0) != nil } }
      }
      #expect(try first.integrity() == ["ok"])
    }
  }

  @Test func `an identity that moves to another device is that device's`() async throws {
    try await withTwo { first, second in
      try await first.add("a", identity: "i", proof: key("k"))
      try await first.add("b", identity: "j", proof: key("k"))
      var changes = second.changes().makeAsyncIterator()
      try await awaitChange(&changes) { second.credential(.preSharedKey, identity: "j") != nil }
      try await first.remove("a")
      try await first.remove("b")
      try await first.add("b", identity: "i", proof: key("l"))
      try await awaitChange(&changes) { second.credential(.preSharedKey, identity: "i")?.device == "b" }
      #expect(second.credential(.preSharedKey, identity: "j") == nil)
    }
  }

  @Test func `who has missed more changes than are remembered reads everything`() async throws {
    try await withTwo { first, second in
      try await first.add("a", identity: "a", proof: key("k"))
      var changes = second.changes().makeAsyncIterator()
      try await awaitChange(&changes) { second.credential(.preSharedKey, identity: "a") != nil }
      let queue = try DatabaseQueue(path: first.path)
      try await queue.write { db in
        try db.execute(sql: "UPDATE devices SET enabled = 0")
        for _ in 0..<50 { try db.execute(sql: "INSERT INTO changes (device) VALUES (-1)") }
        try db.execute(sql: "DELETE FROM changes WHERE sequence < (SELECT max(sequence) FROM changes)")
      }
      try await awaitChange(&changes) { second.credential(.preSharedKey, identity: "a")?.isEnabled == false }
    }
  }

  @Test func `a change by another program is noticed`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("k"))
      try await store.add("b", identity: "b", proof: key("k"))
      var changes = store.changes().makeAsyncIterator()
      try await DatabaseQueue(path: store.path).write { db in
        try db.execute(sql: "UPDATE devices SET name = 'c', enabled = 0 WHERE name = 'a'")
        try db.execute(sql: "DELETE FROM devices WHERE name = 'b'")
      }
      try await awaitChange(&changes) { store.credential(.preSharedKey, identity: "b") == nil }
      #expect(store.credential(.preSharedKey, identity: "a")?.device == "c")
      #expect(store.credential(.preSharedKey, identity: "a")?.isEnabled == false)
    }
  }

  /// A connection as the sqlite3 shell has it.
  private func shell(_ store: DeviceStore) throws -> DatabaseQueue {
    var configuration = Configuration()
    configuration.foreignKeysEnabled = false
    return try DatabaseQueue(path: store.path, configuration: configuration)
  }

  @Test func `a device that is deleted with foreign keys off may not connect any more`() async throws {
    try await withStore { store in
      for name in ["a", "b"] { try await store.add(name, identity: name, proof: key("k")) }
      var changes = store.changes().makeAsyncIterator()
      try await shell(store).write { try $0.execute(sql: "DELETE FROM devices WHERE name = 'a'") }
      try await awaitChange(&changes) { store.credential(.preSharedKey, identity: "a") == nil }
      #expect(store.credential(.preSharedKey, identity: "b") != nil)
      try await store.add("c", identity: "a", proof: key("k"))
    }
  }

  @Test func `credentials whose device an earlier version has lost go with the update`() async throws {
    try await withStore { store in
      for name in ["a", "b"] { try await store.add(name, identity: name, proof: key("k")) }
      store.close()
      let queue = try shell(store)
      try await queue.write { db in
        try db.execute(sql: "DROP TRIGGER deviceRemoved; DELETE FROM devices WHERE name = 'a'")
        try db.execute(sql: "DELETE FROM grdb_migrations WHERE identifier LIKE '2:%'")
      }
      try queue.close()
      let updated = try DeviceStore(directory: store.directory)
      defer { updated.close() }
      #expect(updated.credential(.preSharedKey, identity: "b") != nil)
      try await updated.add("c", identity: "a", proof: key("k"))
    }
  }

  @Test func `a store of the version before access tokens keeps its credentials, and what follows from their changes`() async throws {
    try await withStore { store in
      for name in ["a", "b"] { try await store.add(name, identity: name, proof: key("k")) }
      try await store.add("c", identity: "c", proof: .certificate(fingerprint: [UInt8](repeating: 7, count: 32)))
      let before = try await store.devices()
      store.close()
      let queue = try shell(store)
      // The table as it was.
      try await queue.write { db in
        let old = try #require(try String.fetchOne(db, sql: "SELECT sql FROM sqlite_master WHERE name = 'credentials'"))
          .replacing("\n    OR kind = 'token' AND length(identity) = 64 AND key IS NULL AND fingerprint IS NULL", with: "")
        #expect(!old.contains("token"))
        let triggers = try String.fetchAll(
          db, sql: "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name IN ('credentialAdded', 'credentialChanged', 'credentialRemoved', 'deviceRemoved')")
        #expect(triggers.count == 4)
        try db.execute(
          sql: """
            CREATE TEMP TABLE kept AS SELECT * FROM credentials;
            DROP TRIGGER deviceRemoved;
            DROP TABLE credentials;
            \(old);
            INSERT INTO credentials SELECT * FROM kept;
            \(triggers.joined(separator: ";\n"));
            DELETE FROM grdb_migrations WHERE identifier LIKE '6:%'
            """)
      }
      try queue.close()
      let updated = try DeviceStore(directory: store.directory)
      defer { updated.close() }
      #expect(try await updated.devices() == before)
      #expect(updated.credential(.preSharedKey, identity: "a")?.proof == (try key("k")))
      let token = AccessToken.generated()
      try await updated.add("a", identity: token.digest, proof: .accessToken)
      var changes = updated.changes().makeAsyncIterator()
      try await shell(updated).write { try $0.execute(sql: "DELETE FROM devices WHERE name = 'a'") }
      try await awaitChange(&changes) { updated.credential(.accessToken, identity: token.digest) == nil }
      #expect(updated.credential(.preSharedKey, identity: "b") != nil)
      #expect(try updated.integrity() == ["ok"])
    }
  }

  @Test func `what was written by hand and is no name is left out with a warning, and can be listed and removed`() async throws {
    try await withDirectory { directory in
      let log = RecordingLog()
      let store = try DeviceStore(directory: directory, logger: Logger(label: "test") { _ in log })
      defer { store.close() }
      try await store.add("caf\u{e9}", identity: "caf\u{e9}", proof: key("k"))
      try await store.add("a", identity: "a", proof: key("k"))
      try await shell(store).write { db in
        try db.execute(
          sql: """
            INSERT INTO devices (id, name, created, lastSeen) VALUES
              (10, 'cafe' || char(769), 0, 9223372036854775807), (11, 'a' || char(0) || 'b', -9223372036854775808, NULL),
              (12, CAST(x'61ff' AS TEXT), 0, NULL), (13, 'good', 0, NULL);
            INSERT INTO credentials (device, kind, identity, key, created)
              SELECT id, 'psk', 'i' || id, x'6b', 0 FROM devices WHERE id BETWEEN 10 AND 12;
            INSERT INTO credentials (device, kind, identity, key, created) VALUES (13, 'psk', 'i' || char(8203), x'6b', 0);
            """)
      }
      for _ in 1...4 { await log.line("a credential is left out, its device cannot connect with it") }
      #expect(store.credential(.preSharedKey, identity: "caf\u{e9}")?.device == "caf\u{e9}")
      for identity in ["i10", "i11", "i12", "i", "i\u{200b}"] {
        #expect(store.credential(.preSharedKey, identity: identity) == nil)
      }
      let names = try await store.devices().map { Array($0.name.utf8) }
      #expect(names.count == 6)
      #expect(names.contains(Array("cafe\u{301}".utf8)) && names.contains(Array("caf\u{e9}".utf8)))
      #expect(try await store.devices().allSatisfy { !$0.created.formatted(.iso8601).isEmpty && !($0.lastSeen ?? $0.created).formatted(.iso8601).isEmpty })
      // One spelling, and not the other.
      try await store.remove("cafe\u{301}")
      #expect(store.credential(.preSharedKey, identity: "caf\u{e9}") != nil)
      #expect(try await store.devices().count == 5)
    }
  }

  @Test func `when devices were seen is not a change of credentials`() async throws {
    try await withTwo { first, second in
      try await first.add("a", identity: "a", proof: key("k"))
      var changes = second.changes().makeAsyncIterator()
      try await awaitChange(&changes) { second.credential(.preSharedKey, identity: "a") != nil }
      var told = second.changes().makeAsyncIterator()
      try await first.noteSeen(["a": Date()])
      try await first.setEnabled(true, "a")
      try await first.setEnabled(false, "a")
      // The only element: of what has changed last.
      await told.next()
      #expect(second.credential(.preSharedKey, identity: "a")?.isEnabled == false)
    }
  }

  @Test func `closing ends the streams, and what is asked for then fails`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("k"))
      var changes = store.changes().makeAsyncIterator()
      store.close()
      store.close()
      #expect(await changes.next() == nil)
      var late = store.changes().makeAsyncIterator()
      #expect(await late.next() == nil)
      #expect(store.credential(.preSharedKey, identity: "a") != nil, "what was known goes on to be answered")
      await #expect(throws: DeviceStoreError.self) { try await store.remove("a") }
      await #expect(throws: DeviceStoreError.self) { try await store.devices() }
    }
  }
}
