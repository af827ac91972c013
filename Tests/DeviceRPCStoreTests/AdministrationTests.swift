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
      let keyed = try await registry.setCredential(key("secret"), identity: "sensor-1@lab", of: "sensor-1")
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
      let rotated = try await store.setCredential(key("new"), identity: nil, of: "a")
      #expect(rotated.credentials.map(\.identity) == ["a@lab"] && rotated.credentials[0].rotated != nil)
      #expect(store.credential(.preSharedKey, identity: "a@lab")?.proof == (try key("new")))
      try await store.setCredential(key("newer"), identity: "a@plant", of: "a")
      #expect(store.credential(.preSharedKey, identity: "a@lab") == nil)
      #expect(store.credential(.preSharedKey, identity: "a@plant")?.proof == (try key("newer")))
      // The first one of a kind has the name of the device.
      let both = try await store.setCredential(.certificate(fingerprint: fingerprint), identity: nil, of: "a")
      #expect(both.credentials.map(\.kind) == [.preSharedKey, .certificate] && both.credentials.map(\.identity) == ["a@plant", "a"])
      #expect(try await store.credentials(of: "a").map(\.kind) == [.preSharedKey, .certificate])
      try await store.setCredential(.certificate(fingerprint: nil), identity: nil, of: "a")
      #expect(store.credential(.certificate, identity: "a")?.proof == .certificate(fingerprint: nil))
    }
  }

  @Test func `a key that was replaced is not left in the files`() async throws {
    try await withStore { store in
      let secret = "a-key-of-which-nothing-is-left-0123456789"
      try await store.add("a", identity: "a", proof: key(secret))
      try await store.setCredential(key("new"), identity: nil, of: "a")
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
      await #expect(throws: DeviceAdministrationError.exists("a")) { try await registry.register("a") }
      await #expect(throws: DeviceAdministrationError.identityTaken("b")) {
        try await registry.setCredential(proof, identity: "b", of: "a")
      }
      await #expect(throws: DeviceAdministrationError.self) { try await registry.register(" a") }
      for (bad, identity) in [(proof, " a"), (proof, String(repeating: "a", count: 129)), (.certificate(fingerprint: [1]), "a")] {
        let error = await #expect(throws: DeviceAdministrationError.self) {
          try await registry.setCredential(bad, identity: identity, of: "a")
        }
        guard case .invalid = error else { throw try #require(error) }
      }
      let long = String(repeating: "n", count: 200)
      try await registry.register(long)
      await #expect(throws: DeviceAdministrationError.self) { try await registry.setCredential(proof, identity: nil, of: long) }
      let unknown = DeviceAdministrationError.unknownDevice("x")
      await #expect(throws: unknown) { try await registry.credentials(of: "x") }
      await #expect(throws: unknown) { try await registry.setCredential(proof, identity: "x", of: "x") }
      await #expect(throws: unknown) { try await registry.setEnabled(true, device: "x") }
      await #expect(throws: unknown) { try await registry.unregister("x") }
      #expect(store.credential(.preSharedKey, identity: "a")?.proof == proof, "nothing has changed")
      store.close()
      let error = await #expect(throws: DeviceAdministrationError.self) { try await registry.registeredDevices() }
      guard case .failed = error else { throw try #require(error) }
    }
  }
}
