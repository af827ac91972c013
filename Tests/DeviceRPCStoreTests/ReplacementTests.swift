import DeviceRPC
import DeviceRPCStore
import Foundation
import GRDB
import Logging
import Testing

@Suite(.timeLimit(.minutes(1))) struct ReplacementTests {
  enum Way: CaseIterable { case renamed, copiedOver, writtenBack, directory }

  @Test(arguments: Way.allCases, [true, false])
  func `another database in the place of the open one is read instead of it`(way: Way, isWritten: Bool) async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("k"))
      try await store.add("b", identity: "b", proof: key("k"))
      try await withStore { other in
        // As many changes as in the first one.
        try await other.add("b", identity: "b", proof: key("l"))
        if isWritten { try await other.add("c", identity: "c", proof: key("k")) }
        other.close()
        var changes = store.changes().makeAsyncIterator()
        try put(other, in: way, of: store)
        try await awaitChange(&changes) { store.credential(.preSharedKey, identity: "a") == nil }
        #expect(store.credential(.preSharedKey, identity: "b")?.proof == (try key("l")))
        #expect((store.credential(.preSharedKey, identity: "c") != nil) == isWritten)
        #expect(!store.knows(device: "a"))
        // It takes changes, which are there for others.
        try await store.add("d", identity: "d", proof: key("k"))
        let again = try DeviceStore(directory: store.directory, creating: false)
        defer { again.close() }
        #expect(try await again.devices().map(\.name) == (isWritten ? ["b", "c", "d"] : ["b", "d"]))
        #expect(try again.integrity() == ["ok"])
      }
    }
  }

  private func put(_ other: DeviceStore, in way: Way, of store: DeviceStore) throws {
    switch way {
    case .renamed: try #require(rename(other.path, store.path) == 0)
    case .copiedOver:
      // Into the same file, as cp does.
      let data = try Data(contentsOf: URL(fileURLWithPath: other.path))
      let file = try FileHandle(forWritingTo: URL(fileURLWithPath: store.path))
      try file.truncate(atOffset: 0)
      try file.write(contentsOf: data)
      try file.close()
    case .writtenBack: try DatabaseQueue(path: other.path).backup(to: DatabaseQueue(path: store.path))
    case .directory:
      try #require(rename(store.directory, store.directory + ".old") == 0)
      try #require(rename(other.directory, store.directory) == 0)
      try FileManager.default.removeItem(atPath: store.directory + ".old")
    }
  }

  @Test func `a change right after a replacement goes into the new database`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("k"))
      try await withStore { other in
        other.close()
        try put(other, in: .renamed, of: store)
        try await store.add("b", identity: "b", proof: key("k"))
        #expect(try await store.devices().map(\.name) == ["b"])
        #expect(store.credential(.preSharedKey, identity: "a") == nil)
      }
    }
  }

  @Test(arguments: [nil, Data(), Data(repeating: 0xa5, count: 20_000)])
  func `a database that is gone or spoilt is told, and one that comes again is read`(content: Data?) async throws {
    try await withDirectory { directory in
      let log = RecordingLog()
      let store = try DeviceStore(directory: directory, logger: Logger(label: "test") { _ in log })
      defer { store.close() }
      try await store.add("a", identity: "a", proof: key("k"))
      let kept = directory + "/kept"
      try #require(rename(store.path, kept) == 0)
      try content?.write(to: URL(fileURLWithPath: store.path))
      if content == Data() {
        // An empty file is a store without devices.
        #expect(try await store.devices().isEmpty)
      } else {
        let error = await #expect(throws: DeviceStoreError.self) { try await store.devices() }
        let expected: [DeviceStoreError] =
          content == nil ? [.missing(directory: directory)] : [.notADeviceStore(path: store.path), .damaged(path: store.path)]
        #expect(expected.contains(try #require(error)))
        await log.line("cannot read changes of devices; going on with the credentials that were read last")
        #expect(store.credential(.preSharedKey, identity: "a") != nil)
      }
      var changes = store.changes().makeAsyncIterator()
      try #require(rename(kept, store.path) == 0)
      if content == Data() {
        try await awaitChange(&changes) { store.credential(.preSharedKey, identity: "a") != nil }
      } else {
        await log.line("the devices can be read again")
      }
      #expect(try await store.devices().map(\.name) == ["a"])
    }
  }

  @Test func `a lookup is not held up by a change of all devices`() async throws {
    try await withDirectory { directory in
      let log = RecordingLog()
      let store = try DeviceStore(directory: directory, logger: Logger(label: "test") { _ in log })
      defer { store.close() }
      // Of the last one, whose name is none, there is a line when all have been read, before the new table is built.
      try await DatabaseQueue(path: store.path).write { db in
        try db.execute(
          sql: """
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            INSERT INTO devices (id, name, created) SELECT i, 'd' || i, 0 FROM n;
            INSERT INTO devices (id, name, created) VALUES (20001, 'a' || char(0), 0);
            INSERT INTO credentials (device, kind, identity, key, created)
            SELECT id, 'psk', 'd' || id, CAST('k' AS BLOB), 0 FROM devices;
            """)
      }
      var changes = store.changes().makeAsyncIterator()
      try await awaitChange(&changes) { store.credential(.preSharedKey, identity: "d20000") != nil }
      for sql in ["UPDATE devices SET enabled = 0", "UPDATE devices SET enabled = 1 WHERE id > 19000"] {
        let expected = sql.contains("1 WHERE")
        let before = log.lines.withLock(\.count)
        let watch = Task.detached {
          // The lookups that found the old table while the new one was built.
          var lookups = 0
          while !Task.isCancelled, store.credential(.preSharedKey, identity: "d20000")?.isEnabled != expected {
            if log.lines.withLock(\.count) > before { lookups += 1 }
          }
          return lookups
        }
        try await DatabaseQueue(path: store.path).write { try $0.execute(sql: sql) }
        try await awaitChange(&changes) { store.credential(.preSharedKey, identity: "d20000")?.isEnabled == expected }
        // Of lookups that wait for the new table there would be one.
        #expect(await watch.value > 100)
      }
    }
  }
}
