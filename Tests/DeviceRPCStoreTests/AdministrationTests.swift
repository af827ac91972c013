import DeviceRPC
import DeviceRPCStore
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct AdministrationTests {
  private let fingerprint = [UInt8](repeating: 7, count: 32)

  @Test func `a device is registered without a credential, and gets one later`() async throws {
    try await withStore { store in
      let registry: any DeviceAdministration = store
      let device = try await registry.register("sensor-1")
      #expect(device.name == "sensor-1" && device.isEnabled && device.credentials.isEmpty)
      #expect(try await registry.registeredDevices() == [device])
      #expect(try await registry.credentials(of: "sensor-1").isEmpty)
      #expect(!store.knows(device: "sensor-1"))
      let keyed = try await registry.setCredential(key("secret"), identity: "sensor-1@lab", of: "sensor-1", .set)
      #expect(keyed.credentials.map(\.identity) == ["sensor-1@lab"] && keyed.credentials.map(\.rotated) == [nil])
      let credential = DeviceCredential(device: "sensor-1", identity: "sensor-1@lab", proof: try key("secret"))
      #expect(store.credential(.preSharedKey, identity: "sensor-1@lab") == credential)
      #expect(try await registry.credentials(of: "sensor-1") == [credential])
      #expect(try await registry.registeredDevice("sensor-1") == keyed)
      #expect(try await registry.registeredDevice("sensor-2") == nil)
    }
  }

  @Test func `a credential replaces the one of its kind, and keeps its identity unless there is another`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a@lab", proof: key("old"))
      let rotated = try await store.setCredential(key("new"), identity: nil, of: "a", .set)
      #expect(rotated.credentials.map(\.identity) == ["a@lab"] && rotated.credentials[0].rotated != nil)
      #expect(store.credential(.preSharedKey, identity: "a@lab")?.proof == (try key("new")))
      try await store.setCredential(key("newer"), identity: "a@plant", of: "a", .set)
      #expect(store.credential(.preSharedKey, identity: "a@lab") == nil)
      #expect(store.credential(.preSharedKey, identity: "a@plant")?.proof == (try key("newer")))
      // The first one of a kind has the name of the device.
      let both = try await store.setCredential(.certificate(fingerprint: fingerprint), identity: nil, of: "a", .set)
      #expect(both.credentials.map(\.kind) == [.preSharedKey, .certificate] && both.credentials.map(\.identity) == ["a@plant", "a"])
      #expect(try await store.credentials(of: "a").map(\.kind) == [.preSharedKey, .certificate])
      try await store.setCredential(.certificate(fingerprint: nil), identity: nil, of: "a", .set)
      #expect(store.credential(.certificate, identity: "a")?.proof == .certificate(fingerprint: nil))
    }
  }

  @Test func `a device is added once, with a credential or without, and asked for again`() async throws {
    try await withStore { store in
      let registry: any DeviceAdministration = store
      let added = try await registry.register("a", key("k"), identity: "a@lab")
      #expect(added.isNew && added.device.credentials.map(\.identity) == ["a@lab"])
      #expect(added.device.credentials.map(\.created) == [added.device.created])
      for identity in ["a@lab", nil] {
        let again = try await registry.register("a", key("k"), identity: identity)
        #expect(!again.isNew && again.device == added.device)
        #expect(try await registry.register("a", nil, identity: nil) == (added.device, false))
      }
      // Another key, or another identity.
      for (proof, identity) in [(try key("l"), "a@lab"), (try key("k"), "a"), (try key("l"), nil)] {
        await #expect(throws: DeviceAdministrationError.hasCredential(device: "a", .preSharedKey)) {
          try await registry.register("a", proof, identity: identity)
        }
      }
      let both = try await registry.register("a", .certificate(fingerprint: fingerprint), identity: nil)
      #expect(!both.isNew && both.device.credentials.map(\.identity) == ["a@lab", "a"])
      // Nothing is left of what could not be done whole.
      await #expect(throws: DeviceAdministrationError.identityTaken("a@lab")) {
        try await registry.register("b", key("k"), identity: "a@lab")
      }
      #expect(try await registry.registeredDevice("b") == nil)
    }
  }

  @Test func `a credential is added where there is none, or rotated where there is one`() async throws {
    try await withStore { store in
      let registry: any DeviceAdministration = store
      try await registry.register("a")
      await #expect(throws: DeviceAdministrationError.exists("a")) { try await registry.register("a") }
      let none = DeviceAdministrationError.noCredential(device: "a", .preSharedKey)
      await #expect(throws: none) { try await registry.setCredential(key("k"), identity: nil, of: "a", .rotate) }
      #expect("\(none)" == "\"a\" does not have a key")
      try await registry.setCredential(key("k"), identity: "a@lab", of: "a", .add)
      try await registry.setCredential(key("k"), identity: "a@lab", of: "a", .add)
      let other = DeviceAdministrationError.hasCredential(device: "a", .preSharedKey)
      await #expect(throws: other) { try await registry.setCredential(key("l"), identity: "a@lab", of: "a", .add) }
      #expect("\(other)" == "\"a\" has a key already")
      let rotated = try await registry.setCredential(key("l"), identity: nil, of: "a", .rotate)
      #expect(rotated.credentials.map(\.identity) == ["a@lab"] && rotated.credentials[0].rotated != nil)
      #expect(store.credential(.preSharedKey, identity: "a@lab")?.proof == (try key("l")))
    }
  }

  @Test func `one of two that add a device at once has added it`() async throws {
    try await withStore { store in
      let proof = try key("k")
      let added = await withTaskGroup(of: Bool?.self) { group in
        for _ in 0..<8 { group.addTask { try? await store.register("a", proof, identity: nil).isNew } }
        return await group.reduce(into: []) { $0.append($1) }
      }
      #expect(added.count { $0 == true } == 1 && added.count { $0 == false } == 7)
    }
  }

  @Test func `devices are listed in parts, in the order of their bytes`() async throws {
    try await withStore { store in
      let names = ["%", "A", "a", "a%", "a_b", "aa", "ab", "ä", "äb", "🙂", "🙂2"]
      for name in names.shuffled() { try await store.add(name, identity: name, proof: key("k")) }
      try await store.add("aa", identity: "aa", proof: .certificate(fingerprint: nil))
      for (prefix, after, limit, expected) in [
        ("", nil, .max, names), ("", nil, 3, ["%", "A", "a"]), ("", "a", 3, ["a%", "a_b", "aa"]),
        ("a", nil, .max, ["a", "a%", "a_b", "aa", "ab"]), ("a", "a%", 2, ["a_b", "aa"]), ("ä", nil, .max, ["ä", "äb"]),
        ("%", nil, .max, ["%"]), ("", "🙂2", 5, []), ("", nil, 0, []), ("b", "a", 9, []),
      ] as [(String, String?, Int, [String])] {
        let found = try await store.registeredDevices(prefix: prefix, after: after, limit: limit)
        #expect(found.map(\.name) == expected, "\(prefix) \(after ?? "") \(limit)")
        #expect(found.allSatisfy { $0.credentials.count == ($0.name == "aa" ? 2 : 1) })
      }
    }
  }

  @Test func `a key that was replaced is not left in the files`() async throws {
    try await withStore { store in
      let secret = "a-key-of-which-nothing-is-left-0123456789"
      try await store.add("a", identity: "a", proof: key(secret))
      try await store.setCredential(key("new"), identity: nil, of: "a", .set)
      for file in try FileManager.default.contentsOfDirectory(atPath: store.directory) {
        let data = try Data(contentsOf: URL(fileURLWithPath: store.directory).appendingPathComponent(file))
        #expect(data.range(of: Data(secret.utf8)) == nil, "\(file)")
      }
    }
  }

  @Test func `a device is disabled, enabled and removed`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("k"))
      #expect(try await store.setEnabled(false, device: "a").isEnabled == false)
      #expect(store.credential(.preSharedKey, identity: "a")?.isEnabled == false)
      #expect(try await store.setEnabled(true, device: "a").isEnabled)
      try await store.unregister("a")
      #expect(store.credential(.preSharedKey, identity: "a") == nil)
      #expect(try await store.registeredDevices().isEmpty)
    }
  }

  @Test func `what cannot be done has a reason`() async throws {
    try await withStore { store in
      let registry: any DeviceAdministration = store
      let proof = try key("k")
      for name in ["a", "b"] { try await store.add(name, identity: name, proof: proof) }
      await #expect(throws: DeviceAdministrationError.identityTaken("b")) {
        try await registry.setCredential(proof, identity: "b", of: "a", .set)
      }
      await #expect(throws: DeviceAdministrationError.self) { try await registry.register(" a") }
      for (bad, identity) in [(proof, " a"), (proof, String(repeating: "a", count: 129)), (.certificate(fingerprint: [1]), "a")] {
        let error = await #expect(throws: DeviceAdministrationError.self) {
          try await registry.setCredential(bad, identity: identity, of: "a", .set)
        }
        guard case .invalid = error else { throw try #require(error) }
      }
      let long = String(repeating: "n", count: 200)
      try await registry.register(long)
      await #expect(throws: DeviceAdministrationError.self) { try await registry.setCredential(proof, identity: nil, of: long, .set) }
      let unknown = DeviceAdministrationError.unknownDevice("x")
      await #expect(throws: unknown) { try await registry.credentials(of: "x") }
      await #expect(throws: unknown) { try await registry.setCredential(proof, identity: "x", of: "x", .set) }
      await #expect(throws: unknown) { try await registry.setEnabled(true, device: "x") }
      await #expect(throws: unknown) { try await registry.unregister("x") }
      #expect(store.credential(.preSharedKey, identity: "a")?.proof == proof, "nothing has changed")
      store.close()
      let error = await #expect(throws: DeviceAdministrationError.self) { try await registry.registeredDevices() }
      guard case .failed = error else { throw try #require(error) }
    }
  }
}
