import DeviceRPC
import DeviceRPCStore
import Foundation
import GRDB
import Testing

@Suite(.timeLimit(.minutes(1))) struct MetadataTests {
  enum Kind: CaseIterable { case inMemory, sqlite }

  private func withMetadata(_ kind: Kind, _ body: (any DeviceMetadataStore) async throws -> Void) async throws {
    switch kind {
    case .inMemory: try await body(InMemoryDeviceMetadata())
    case .sqlite: try await withStore { try await body($0) }
    }
  }

  @Test(arguments: Kind.allCases) func `metadata are what was set last, as it was set`(_ kind: Kind) async throws {
    try await withMetadata(kind) { (store) async throws in
      #expect(try await store.metadata(of: "a").isEmpty)
      let first = RPCObject([("z", [1, 1.5, nil, "Grüße"]), ("a", ["deep": [[]]])])
      #expect(try await store.setMetadata(first, of: "a", replacing: nil))
      #expect(try await store.metadata(of: "a") == first)
      #expect(try await store.metadata(of: "a").keys == ["z", "a"])
      #expect(try await store.metadata(of: "b").isEmpty)
      let second = RPCObject([("n", 7)])
      #expect(try await store.setMetadata(second, of: "a", replacing: nil))
      #expect(try await store.metadata(of: "a") == second)
      #expect(try await store.setMetadata(RPCObject(), of: "a", replacing: nil))
      #expect(try await store.metadata(of: "a").isEmpty)
    }
  }

  @Test(arguments: Kind.allCases) func `metadata that somebody else has changed are not replaced`(_ kind: Kind) async throws {
    try await withMetadata(kind) { (store) async throws in
      let first = RPCObject([("n", 1)])
      let second = RPCObject([("n", 2)])
      #expect(try await store.setMetadata(first, of: "a", replacing: second) == false)
      #expect(try await store.metadata(of: "a").isEmpty)
      #expect(try await store.setMetadata(first, of: "a", replacing: RPCObject()))
      #expect(try await store.setMetadata(second, of: "a", replacing: RPCObject()) == false)
      #expect(try await store.metadata(of: "a") == first)
      #expect(try await store.setMetadata(second, of: "a", replacing: first))
      #expect(try await store.metadata(of: "a") == second)
    }
  }

  @Test(arguments: Kind.allCases) func `what cannot be stored is refused, and changes nothing`(_ kind: Kind) async throws {
    try await withMetadata(kind) { (store) async throws in
      let kept = RPCObject([("n", 1)])
      try await store.setMetadata(kept, of: "a", replacing: nil)
      let text = String(repeating: "x", count: DeviceMetadata.longestJSON - 8)
      try await store.setMetadata(RPCObject([("t", .string(text))]), of: "b", replacing: nil)
      for wrong: RPCObject in [RPCObject([("t", .string(text + "x"))]), RPCObject([("t", .double(.nan))]), RPCObject([("t", .bytes([1]))])] {
        await #expect(throws: DeviceAdministrationError.self) { try await store.setMetadata(wrong, of: "a", replacing: nil) }
      }
      await #expect(throws: DeviceAdministrationError.self) { try await store.setMetadata(kept, of: "", replacing: nil) }
      #expect(try await store.metadata(of: "a") == kept)
    }
  }

  @Test func `metadata survive a restart, and go with the device`() async throws {
    try await withDirectory { directory in
      let first = try DeviceStore(directory: directory)
      try await first.register("a")
      for name in ["a", "b"] { try await first.setMetadata(RPCObject([("n", 1)]), of: name, replacing: nil) }
      first.close()
      let second = try DeviceStore(directory: directory)
      defer { second.close() }
      #expect(try await second.metadata(of: "a") == RPCObject([("n", 1)]))
      try await second.unregister("a")
      #expect(try await second.metadata(of: "a").isEmpty)
      #expect(try await second.metadata(of: "b") == RPCObject([("n", 1)]))
    }
  }

  @Test func `what is no JSON object is as good as nothing, and can be replaced`() async throws {
    try await withStore { (store) async throws in
      let other = try DatabaseQueue(path: store.path)
      for (device, text) in [("a", "{"), ("b", "[1]"), ("c", "\u{0}")] {
        try await other.write { try $0.execute(sql: "INSERT INTO metadata (device, value) VALUES (?, ?)", arguments: [device, text]) }
        #expect(try await store.metadata(of: device).isEmpty)
        #expect(try await store.setMetadata(RPCObject([("n", 1)]), of: device, replacing: RPCObject()))
      }
    }
  }

  @Test func `of devices that are not registered, the metadata that were set first make room`() async throws {
    try await withStore { (store) async throws in
      try await store.register("registered")
      try await store.setMetadata(RPCObject([("n", 0)]), of: "registered", replacing: nil)
      let other = try DatabaseQueue(path: store.path)
      try await other.write { db in
        for number in 0..<DeviceMetadata.mostUnregistered {
          try db.execute(sql: "INSERT INTO metadata (device, value) VALUES (?, '{}')", arguments: ["d\(number)"])
        }
      }
      try await store.setMetadata(RPCObject([("n", 1)]), of: "new", replacing: nil)
      let names = try await other.read { try String.fetchAll($0, sql: "SELECT device FROM metadata ORDER BY id LIMIT 2") }
      #expect(names == ["registered", "d1"])
      #expect(try await store.metadata(of: "new") == RPCObject([("n", 1)]))
    }
  }
}
