import DeviceRPC
import DeviceRPCStore
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct DeviceTests {
  private let fingerprint = [UInt8](repeating: 7, count: 32)

  @Test func `a device is added with a key and found by its identity`() async throws {
    try await withStore { store in
      let before = Date(timeIntervalSinceNow: -1)
      let device = try await store.add("sensor-1", identity: "sensor-1@lab", proof: key("supersecret"))
      #expect(device.name == "sensor-1")
      #expect(device.isEnabled)
      #expect(device.created > before && device.created < Date(timeIntervalSinceNow: 1))
      #expect(device.lastSeen == nil)
      #expect(device.credentials.map(\.identity) == ["sensor-1@lab"])
      #expect(device.credentials.map(\.kind) == [.preSharedKey])
      #expect(device.credentials.map(\.rotated) == [nil])
      #expect(
        store.credential(.preSharedKey, identity: "sensor-1@lab")
          == DeviceCredential(device: "sensor-1", identity: "sensor-1@lab", proof: try key("supersecret")))
      #expect(store.credential(.certificate, identity: "sensor-1@lab") == nil)
      #expect(store.credential(.preSharedKey, identity: "SENSOR-1@lab") == nil)
      #expect(try await store.device("sensor-1") == device)
      #expect(try await store.device("sensor-2") == nil)
    }
  }

  @Test func `a device has a key and a certificate, one of each`() async throws {
    try await withStore { store in
      try await store.add("pump", identity: "pump", proof: .certificate(fingerprint: fingerprint))
      let device = try await store.add("pump", identity: "pump", proof: key("k"))
      #expect(device.credentials.map(\.kind) == [.preSharedKey, .certificate])
      #expect(device.credentials.map(\.fingerprint) == [nil, fingerprint])
      await #expect(throws: DeviceStoreError.hasCredential(device: "pump", .preSharedKey)) {
        try await store.add("pump", identity: "pump-2", proof: key("k"))
      }
      await #expect(throws: DeviceStoreError.hasCredential(device: "pump", .certificate)) {
        try await store.add("pump", identity: "pump-2", proof: .certificate(fingerprint: nil))
      }
      #expect(try await store.device("pump") == device)
    }
  }

  @Test func `a device has an access token, of which only the digest is in the files`() async throws {
    try await withStore { store in
      let token = AccessToken.generated()
      try await store.add("pump", identity: "pump", proof: key("k"))
      let device = try await store.add("pump", identity: token.digest, proof: .accessToken)
      #expect(device.credentials.map(\.kind) == [.preSharedKey, .accessToken])
      #expect(store.credential(.accessToken, identity: token.digest) == DeviceCredential(device: "pump", token: token))
      await #expect(throws: DeviceStoreError.hasCredential(device: "pump", .accessToken)) {
        try await store.add("pump", identity: AccessToken.generated().digest, proof: .accessToken)
      }
      await #expect(throws: DeviceStoreError.identityTaken(token.digest, device: "pump")) {
        try await store.add("lamp", identity: token.digest, proof: .accessToken)
      }
      await #expect(throws: DeviceStoreError.invalidIdentity("lamp")) {
        try await store.add("lamp", identity: "lamp", proof: .accessToken)
      }
      let next = AccessToken.generated()
      try await store.rotate("pump", to: .accessToken, identity: next.digest)
      #expect(store.credential(.accessToken, identity: token.digest) == nil)
      #expect(store.credential(.accessToken, identity: next.digest)?.device == "pump")
      for file in try FileManager.default.contentsOfDirectory(atPath: store.directory) {
        let content = try Data(contentsOf: URL(fileURLWithPath: store.directory).appendingPathComponent(file))
        #expect(content.range(of: Data(next.text.utf8)) == nil)
      }
    }
  }

  @Test func `an identity is that of one device, for each kind`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "shared", proof: key("k"))
      await #expect(throws: DeviceStoreError.identityTaken("shared", device: "a")) {
        try await store.add("b", identity: "shared", proof: key("l"))
      }
      #expect(try await store.device("b") == nil, "nothing is left of what has failed")
      try await store.add("b", identity: "shared", proof: .certificate(fingerprint: nil))
      #expect(store.credential(.preSharedKey, identity: "shared")?.device == "a")
      #expect(store.credential(.certificate, identity: "shared")?.device == "b")
    }
  }

  @Test func `a key is rotated under the same identity`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a@lab", proof: key("old"))
      let device = try await store.rotate("a", to: key("new"))
      #expect(device.credentials[0].rotated != nil)
      #expect(store.credential(.preSharedKey, identity: "a@lab")?.proof == (try key("new")))
      await #expect(throws: DeviceStoreError.noCredential(device: "a", .certificate)) {
        try await store.rotate("a", to: .certificate(fingerprint: nil))
      }
      await #expect(throws: DeviceStoreError.unknownDevice("b")) { try await store.rotate("b", to: key("new")) }
      try await store.add("a", identity: "a", proof: .certificate(fingerprint: nil))
      try await store.rotate("a", to: .certificate(fingerprint: fingerprint))
      #expect(store.credential(.certificate, identity: "a")?.proof == .certificate(fingerprint: fingerprint))
    }
  }

  @Test func `a disabled device is known and not enabled`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("k"))
      #expect(try await store.setEnabled(false, "a").isEnabled == false)
      #expect(store.credential(.preSharedKey, identity: "a")?.isEnabled == false)
      #expect(try await store.setEnabled(true, "a").isEnabled)
      #expect(store.credential(.preSharedKey, identity: "a")?.isEnabled == true)
      await #expect(throws: DeviceStoreError.unknownDevice("b")) { try await store.setEnabled(false, "b") }
    }
  }

  @Test func `a device that is removed leaves nothing, and its name and identity are free`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a@lab", proof: key("k"))
      try await store.add("a", identity: "a", proof: .certificate(fingerprint: nil))
      try await store.remove("a")
      #expect(store.credential(.preSharedKey, identity: "a@lab") == nil)
      #expect(store.credential(.certificate, identity: "a") == nil)
      #expect(try await store.devices().isEmpty)
      await #expect(throws: DeviceStoreError.unknownDevice("a")) { try await store.remove("a") }
      try await store.add("a", identity: "a@lab", proof: key("l"))
    }
  }

  @Test func `devices are listed by name`() async throws {
    try await withStore { store in
      for name in ["b", "a", "C", "é", "a2"] { try await store.add(name, identity: name, proof: key("k")) }
      try await store.add("a", identity: "a", proof: .certificate(fingerprint: nil))
      let devices = try await store.devices()
      #expect(devices.map(\.name) == ["C", "a", "a2", "b", "é"])
      #expect(devices.map(\.credentials.count) == [1, 2, 1, 1, 1])
    }
  }

  @Test func `what a store was told is there when it is opened again`() async throws {
    try await withDirectory { directory in
      let first = try DeviceStore(directory: directory)
      try await first.add("a", identity: "a@lab", proof: key("k"))
      try await first.add("b", identity: "b", proof: .certificate(fingerprint: fingerprint))
      try await first.setEnabled(false, "b")
      let devices = try await first.devices()
      first.close()
      let second = try DeviceStore(directory: directory, creating: false)
      defer { second.close() }
      #expect(try await second.devices() == devices)
      #expect(second.credential(.preSharedKey, identity: "a@lab")?.proof == (try key("k")))
      #expect(second.credential(.certificate, identity: "b")?.isEnabled == false)
    }
  }

  @Test func `seen is the latest time of all, and of stored devices only`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("k"))
      try await store.add("b", identity: "b", proof: key("k"))
      let time = Date(timeIntervalSince1970: 1_790_000_000.123)
      try await store.noteSeen(["a": time, "nobody": time])
      #expect(try await store.device("a")?.lastSeen == time)
      try await store.noteSeen(["a": time.addingTimeInterval(-5), "b": time.addingTimeInterval(5)])
      #expect(try await store.devices().map(\.lastSeen) == [time, time.addingTimeInterval(5)])
      try await store.noteSeen([:])
      #expect(try await store.devices().count == 2)
    }
  }

  @Test(
    arguments: [
      ("", false), ("a", true), ("\u{fc}", true), ("u\u{308}", false), ("a\nb", false), ("a\u{61c}b", false), ("a ", false),
    ])
  func `names and identities are those that cannot be taken for others`(text: String, isGood: Bool) async throws {
    try await withStore { store in
      if isGood {
        try await store.add(text, identity: text, proof: key("k"))
      } else {
        await #expect(throws: DeviceStoreError.invalidName(text)) {
          try await store.add(text, identity: "i", proof: key("k"))
        }
        await #expect(throws: DeviceStoreError.invalidIdentity(text)) {
          try await store.add("n", identity: text, proof: key("k"))
        }
      }
    }
  }

  @Test func `a name has 255 bytes at most, an identity 128, a fingerprint 32`() async throws {
    try await withStore { store in
      let name = String(repeating: "n", count: 255)
      let identity = String(repeating: "i", count: 128)
      try await store.add(name, identity: identity, proof: key(String(repeating: "k", count: 64)))
      await #expect(throws: DeviceStoreError.invalidName(name + "n")) {
        try await store.add(name + "n", identity: "i", proof: key("k"))
      }
      await #expect(throws: DeviceStoreError.invalidIdentity(identity + "i")) {
        try await store.add("n", identity: identity + "i", proof: key("k"))
      }
      await #expect(throws: DeviceStoreError.invalidFingerprint) {
        try await store.add("n", identity: "i", proof: .certificate(fingerprint: [1, 2, 3]))
      }
      #expect(try await store.devices().count == 1)
    }
  }

  @Test func `a generated key is 32 hexadecimal digits, and another one each time`() {
    let keys = (0..<100).map { _ in DeviceKey.generated() }
    #expect(Set(keys).count == 100)
    let digits = Set("0123456789abcdef".utf8)
    #expect(keys.allSatisfy { $0.bytes.count == 32 && digits.isSuperset(of: $0.bytes) })
  }

  @Test func `no error holds a key`() async throws {
    try await withStore { store in
      try await store.add("a", identity: "a", proof: key("supersecret"))
      for (name, identity) in [("a", "b"), ("b", "a")] {
        let error = await #expect(throws: DeviceStoreError.self) {
          try await store.add(name, identity: identity, proof: key("supersecret"))
        }
        var dumped = ""
        dump(error, to: &dumped)
        #expect(!"\(try #require(error)) \(dumped)".contains("supersecret"))
      }
      var dumped = ""
      dump(try await store.devices(), to: &dumped)
      #expect(!dumped.contains("supersecret"))
      store.close()
      let error = await #expect(throws: DeviceStoreError.self) { try await store.rotate("a", to: key("supersecret")) }
      #expect(!"\(try #require(error))".contains("supersecret"))
    }
  }
}
