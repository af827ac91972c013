import DeviceRPC
import Foundation
import GRDB
import Logging
import Testing

@testable import DeviceRPCStore

@Suite(.timeLimit(.minutes(1))) struct FilesTests {
  private func files(_ directory: String) -> [String] {
    ["", "-wal", "-shm"].map { directory + "/devices.sqlite" + $0 }
  }

  @Test func `a new directory and all files in it are their owner's`() async throws {
    try await withDirectory { directory in
      // The mask is the process's, but everything that other tests create meanwhile is created with a mode of its own.
      let mask = umask(0)
      defer { umask(mask) }
      let store = try DeviceStore(directory: directory)
      defer { store.close() }
      try await store.add("a", identity: "a", proof: key("k"))
      #expect(mode(directory) == 0o700)
      #expect(files(directory).map { mode($0) } == [0o600, 0o600, 0o600])
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory).count == 3)
    }
  }

  @Test func `a directory that is there keeps its mode`() async throws {
    try await withDirectory { directory in
      try makeDirectory(directory, mode: 0o755)
      let store = try DeviceStore(directory: directory + "/")
      defer { store.close() }
      try await store.add("a", identity: "a", proof: key("k"))
      #expect(mode(directory) == 0o755)
      #expect(files(directory).map { mode($0) } == [0o600, 0o600, 0o600])
    }
  }

  @Test func `files that others can open are closed to them, with a warning`() async throws {
    try await withDirectory { directory in
      let first = try DeviceStore(directory: directory)
      defer { first.close() }
      try await first.add("a", identity: "a", proof: key("k"))
      for file in files(directory) { chmod(file, 0o644) }
      let log = RecordingLog()
      let second = try DeviceStore(directory: directory, logger: Logger(label: "test") { _ in log })
      defer { second.close() }
      #expect(files(directory).map { mode($0) } == [0o600, 0o600, 0o600])
      #expect(log.lines.withLock { $0 }.count == 3)
      #expect(second.credential(.preSharedKey, identity: "a") != nil)
    }
  }

  @Test(arguments: [0o777, 0o1777] as [mode_t])
  func `a directory that everybody can write to is refused`(mode: mode_t) async throws {
    try await withDirectory { directory in
      try makeDirectory(directory, mode: mode)
      let error = #expect(throws: DeviceStoreError.self) { try DeviceStore(directory: directory) }
      #expect(
        error
          == .notPrivate(path: directory, reason: "everybody can write to it (chmod o-w, or name another directory)"))
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory).isEmpty)
    }
  }

  @Test(.enabled(if: geteuid() == 0, "only root can give files away"), arguments: ["", "/devices.sqlite", "/devices.sqlite-wal"])
  func `what belongs to another user is refused, who could read the keys in it`(path: String) async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("k"))
      let path = store.directory + path
      try #require(chown(path, 12_345, 12_345) == 0)
      let error = #expect(throws: DeviceStoreError.self) { try DeviceStore(directory: store.directory) }
      #expect(
        error == .notPrivate(path: path, reason: "it belongs to another user, number 12345 (run this as that user)"))
      #expect("\(try #require(error))".contains("\n") == false)
    }
  }

  @Test(arguments: ["", "-wal", "-shm"])
  func `a symbolic link is not followed, whether it leads anywhere or not`(suffix: String) async throws {
    try await withDirectory { directory in
      try makeDirectory(directory)
      let link = directory + "/devices.sqlite" + suffix
      let target = directory + "/target"
      for exists in [true, false] {
        if exists { try Data("keep".utf8).write(to: URL(fileURLWithPath: target)) } else { unlink(target) }
        if exists { chmod(target, 0o644) }
        try #require(symlink(target, link) == 0)
        let error = #expect(throws: DeviceStoreError.self) { try DeviceStore(directory: directory) }
        #expect(error == .notPrivate(path: link, reason: "it is a symbolic link, which is not followed"))
        #expect(mode(target) == (exists ? 0o644 : nil))
        unlink(link)
      }
    }
  }

  @Test func `a lock that somebody else holds is waited for, but not for ever`() async throws {
    try await withStore { store in
      let other = open(store.directory, O_RDONLY)
      defer { close(other) }
      try #require(flock(other, LOCK_EX) == 0)
      let error = #expect(throws: DeviceStoreError.self) {
        try DeviceStore(directory: store.directory, patience: .milliseconds(50))
      }
      #expect(error == .busy(path: store.directory))
      #expect("\(try #require(error))" == "\(store.directory) is locked by another process")
      // What is open goes on all the while.
      try await store.add("a", identity: "a", proof: key("k"))
      flock(other, LOCK_UN)
      try DeviceStore(directory: store.directory, patience: .milliseconds(50)).close()
    }
  }

  @Test func `a directory without a store is missing, unless one is to be created`() async throws {
    try await withDirectory { directory in
      #expect(throws: DeviceStoreError.missing(directory: directory)) {
        try DeviceStore(directory: directory, creating: false)
      }
      #expect(mode(directory) == nil)
      try makeDirectory(directory)
      #expect(throws: DeviceStoreError.missing(directory: directory)) {
        try DeviceStore(directory: directory, creating: false)
      }
      #expect(throws: DeviceStoreError.cannotOpen(path: directory + "/a/b", reason: "No such file or directory")) {
        try DeviceStore(directory: directory + "/a/b")
      }
      try Data().write(to: URL(fileURLWithPath: directory + "/file"))
      #expect(throws: DeviceStoreError.cannotOpen(path: directory + "/file", reason: "Not a directory")) {
        try DeviceStore(directory: directory + "/file")
      }
    }
  }

  @Test func `a file that is no database is refused, and left as it is`() async throws {
    try await withDirectory { directory in
      try makeDirectory(directory)
      let text = Data(String(repeating: "This is a letter to a friend. ", count: 1_000).utf8)
      try text.write(to: URL(fileURLWithPath: files(directory)[0]))
      #expect(throws: DeviceStoreError.notADeviceStore(path: files(directory)[0])) {
        try DeviceStore(directory: directory)
      }
      #expect(try Data(contentsOf: URL(fileURLWithPath: files(directory)[0])) == text)
    }
  }

  @Test func `the database of another program is refused, and left as it is`() async throws {
    try await withDirectory { directory in
      try makeDirectory(directory)
      let other = try DatabaseQueue(path: files(directory)[0])
      try await other.write { try $0.execute(sql: "CREATE TABLE notes (text)") }
      try other.close()
      let before = try Data(contentsOf: URL(fileURLWithPath: files(directory)[0]))
      #expect(throws: DeviceStoreError.notADeviceStore(path: files(directory)[0])) {
        try DeviceStore(directory: directory)
      }
      #expect(try Data(contentsOf: URL(fileURLWithPath: files(directory)[0])) == before)
    }
  }

  @Test func `a file of a later version is refused`() async throws {
    try await withStore { store in
      store.close()
      try await DatabaseQueue(path: store.path).write { db in
        try db.execute(sql: "INSERT INTO grdb_migrations VALUES ('4: something new')")
      }
      #expect(throws: DeviceStoreError.newer(path: store.path)) { try DeviceStore(directory: store.directory) }
    }
  }

  @Test func `a damaged file is told as such`() async throws {
    try await withStore { store in
      for number in 0..<200 { try await store.add("d\(number)", identity: "d\(number)", proof: key("k")) }
      store.close()
      // All pages but the first one, which names the tables.
      var data = try Data(contentsOf: URL(fileURLWithPath: store.path))
      try #require(data.count > 8_192)
      data.replaceSubrange(4_096..<data.count, with: Data(repeating: 0xa5, count: data.count - 4_096))
      try data.write(to: URL(fileURLWithPath: store.path))
      let error = #expect(throws: DeviceStoreError.self) { try DeviceStore(directory: store.directory) }
      #expect(error == .damaged(path: store.path))
      #expect("\(try #require(error))" == "\(store.path) is damaged")
    }
  }

  @Test(arguments: ["credentials", "devices", "changes", "apiKeys"])
  func `a table that is damaged is told as such`(table: String) async throws {
    try await withStore { store in
      for number in 0..<200 { try await store.add("d\(number)", identity: "d\(number)", proof: key("k")) }
      let queue = try DatabaseQueue(path: store.path)
      let root = try await queue.read { db in
        try Int.fetchOne(db, sql: "SELECT rootpage FROM sqlite_master WHERE name = ?", arguments: [table])
      }
      try queue.close()
      store.close()
      let start = (try #require(root) - 1) * 4_096
      var data = try Data(contentsOf: URL(fileURLWithPath: store.path))
      data.replaceSubrange(start..<start + 4_096, with: Data(repeating: 0xa5, count: 4_096))
      try data.write(to: URL(fileURLWithPath: store.path))
      #expect(throws: DeviceStoreError.damaged(path: store.path)) { try DeviceStore(directory: store.directory) }
    }
  }

  @Test func `a file that is cut short is told as such`() async throws {
    try await withStore { store in
      for number in 0..<200 { try await store.add("d\(number)", identity: "d\(number)", proof: key("k")) }
      store.close()
      #expect(truncate(store.path, 8_192) == 0)
      #expect(throws: DeviceStoreError.damaged(path: store.path)) { try DeviceStore(directory: store.directory) }
    }
  }

  @Test func `an empty file is a new store`() async throws {
    try await withDirectory { directory in
      try makeDirectory(directory)
      try Data().write(to: URL(fileURLWithPath: files(directory)[0]))
      let store = try DeviceStore(directory: directory, creating: false)
      defer { store.close() }
      try await store.add("a", identity: "a", proof: key("k"))
    }
  }

  @Test func `a key that is replaced or removed is nowhere in the files, though the store is open`() async throws {
    try await withStore { store in
      let other = try DeviceStore(directory: store.directory, creating: false)
      defer { other.close() }
      try await store.add("a", identity: "a", proof: key("theformerkey"))
      try await store.add("b", identity: "b", proof: key("theremovedkey"))
      try await store.rotate("a", to: key("thelatterkey"))
      #expect(!text(store).contains("theformerkey"))
      try await store.remove("b")
      #expect(!text(store).contains("theremovedkey"))
      #expect(text(store).contains("thelatterkey"))
    }
  }

  @Test func `a program that is reading keeps no key from being removed, and its bytes only while it reads`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("theremovedkey"))
      var configuration = Configuration()
      configuration.allowsUnsafeTransactions = true
      let reader = try DatabaseQueue(path: store.path, configuration: configuration)
      try reader.inDatabase { db in
        try db.execute(sql: "BEGIN")
        _ = try Int.fetchOne(db, sql: "SELECT count(*) FROM devices")
      }
      try await store.remove("a")
      #expect(store.credential(.preSharedKey, identity: "a") == nil)
      #expect(text(store).contains("theremovedkey"))
      try await reader.writeWithoutTransaction { try $0.execute(sql: "COMMIT") }
      try reader.close()
      store.close()
      #expect(!text(store).contains("theremovedkey"))
    }
  }

  /// All that is in the files.
  private func text(_ store: DeviceStore) -> String {
    files(store.directory).map { file in
      String(decoding: (try? Data(contentsOf: URL(fileURLWithPath: file))) ?? Data(), as: UTF8.self)
    }.joined()
  }

  @Test func `many that open a new store at once all get it`() async throws {
    try await withDirectory { directory in
      let stores = try await withThrowingTaskGroup(of: DeviceStore.self) { group in
        for _ in 0..<8 { group.addTask { try DeviceStore(directory: directory) } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      for (number, store) in stores.enumerated() {
        try await store.add("d\(number)", identity: "d\(number)", proof: key("k"))
      }
      #expect(try await stores[0].devices().count == 8)
      for store in stores { store.close() }
    }
  }
}
