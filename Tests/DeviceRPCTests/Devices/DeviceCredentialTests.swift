import DeviceRPC
import Testing

@Suite struct DeviceCredentialTests {
  @Test func `a key is compared by its bytes and never printed`() throws {
    let key = try #require(DeviceKey("supersecret".utf8))
    #expect(key == DeviceKey("supersecret".utf8))
    #expect(key != DeviceKey("supersecreT".utf8))
    #expect(key != DeviceKey("supersecret2".utf8))
    let credential = DeviceCredential(device: "sensor-1", identity: "sensor-1@lab", proof: .preSharedKey(key))
    var dumped = ""
    dump(credential, to: &dumped)
    for text in ["\(key)", "\(credential)", String(reflecting: credential), dumped] {
      #expect(!text.contains("supersecret"))
      #expect(!text.contains("115"), "bytes of it are as telling")
    }
  }

  @Test(arguments: [0, 1, 64, 65]) func `a key has 1 to 64 bytes`(count: Int) {
    #expect((DeviceKey([UInt8](repeating: 7, count: count)) != nil) == (1...64).contains(count))
  }

  @Test func `credentials are found by kind and identity, and changes told`() async throws {
    let key = try #require(DeviceKey("k".utf8))
    let credential = DeviceCredential(device: "a", identity: "a@lab", proof: .preSharedKey(key))
    let credentials = InMemoryCredentials([credential])
    #expect(credentials.credential(.preSharedKey, identity: "a@lab") == credential)
    #expect(credentials.credential(.certificate, identity: "a@lab") == nil)
    var changes = credentials.changes().makeAsyncIterator()
    credentials.set(DeviceCredential(device: "a", identity: "a@lab", proof: .preSharedKey(key), isEnabled: false))
    credentials.remove(.certificate, identity: "nobody")
    await changes.next()
    #expect(credentials.credential(.preSharedKey, identity: "a@lab")?.isEnabled == false)
    credentials.remove(.preSharedKey, identity: "a@lab")
    await changes.next()
    #expect(credentials.credential(.preSharedKey, identity: "a@lab") == nil)
  }
}
