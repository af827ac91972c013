import DeviceRPC
import Foundation
import TestSupport
import Testing

@Suite struct APIKeyTests {
  private let secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_9"
  private var text: String { "drpc_a0z9k3v9_\(secret)" }

  private func key(_ id: String, digest: [UInt8] = Array(0..<32), expires: Date? = nil) -> APIKey {
    APIKey(id: id, name: "billing", digest: digest, created: Date(timeIntervalSince1970: 0), expires: expires)
  }

  @Test func `the text of a key has its id and its secret`() throws {
    let read = try #require(APIKeyText(text))
    #expect(read.id == "a0z9k3v9")
    #expect(read.secret == Array(secret.utf8))
    #expect(read.text == text)
    #expect(APIKeyText("say \(text)".dropFirst(4))?.id == "a0z9k3v9")
  }

  @Test func `a new key is read as it was written, and is no other one`() throws {
    let keys = (0..<200).map { _ in APIKeyText.generated() }
    for key in keys {
      #expect(key.text.wholeMatch(of: /drpc_[a-z0-9]{8}_[A-Za-z0-9_-]{43}/) != nil)
      #expect(key.text.utf8.count == APIKeyText.length)
      let read = try #require(APIKeyText(key.text))
      #expect(read.id == key.id)
      #expect(read.secret == key.secret)
      // Foundation reads 32 bytes in it.
      let base64 = String(decoding: key.secret, as: UTF8.self).replacing("-", with: "+").replacing("_", with: "/") + "="
      let bytes = try #require(Data(base64Encoded: base64))
      #expect(bytes.count == 32)
      #expect(bytes.base64EncodedString() == base64)
    }
    #expect(Set(keys.map(\.secret)).count == keys.count)
  }

  @Test(
    arguments: [
      "", "drpc_", "drpc_a0z9k3v9", "drpc_a0z9k3v9_", "Bearer drpc_a0z9k3v9_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_9",
      "DRPC_a0z9k3v9_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_9", "drpc_a0z9k3vX_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_9",
      "drpc_a0z9k3v9-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_9", "drpc_a0z9k3v_9AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_9",
      "drpc_a0z9k3v9_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_", "drpc_a0z9k3v9_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_99",
      "drpc_a0z9k3v9_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA+/9", "drpc_a0z9k3v9_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_=",
      "drpc_a0z9k3v9_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\u{e9}9",
      "drpc_a0z9k3v9_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-\09",
      "drpc_a0z9k3v9_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-_9\n",
    ])
  func `any other text is no key`(text: String) { #expect(APIKeyText(text) == nil) }

  @Test func `random text is a key only if it has the form of one`() {
    var generator = SeededGenerator(state: 12)
    let original = Array(text.utf8)
    for _ in 0..<20_000 {
      var bytes = original
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        let byte = UInt8.random(in: .min ... .max, using: &generator)
        switch Int.random(in: 0..<3, using: &generator) {
        case 0 where !bytes.isEmpty: bytes.remove(at: Int.random(in: 0..<bytes.count, using: &generator))
        case 1: bytes.insert(byte, at: Int.random(in: 0...bytes.count, using: &generator))
        default: bytes[Int.random(in: 0..<bytes.count, using: &generator)] = byte
        }
      }
      let text = String(decoding: bytes, as: UTF8.self)
      let isKey = text.wholeMatch(of: /drpc_[a-z0-9]{8}_[A-Za-z0-9_-]{43}/) != nil
      #expect((APIKeyText(text) != nil) == isKey, "\(text)")
      #expect(APIKeyText(text).map(\.text) ?? text == text)
    }
    #expect(APIKeyText(String(repeating: text, count: 10_000)) == nil)
  }

  @Test func `a key's secret is not printed`() throws {
    let text = try #require(APIKeyText(text))
    var dumped = ""
    dump(text, to: &dumped)
    for shown in ["\(text)", String(reflecting: text), dumped, "\([text])"] {
      #expect(!shown.contains(secret))
      #expect(shown.contains("a0z9k3v9"))
    }
  }

  @Test func `a key expires at its time`() {
    let time = Date(timeIntervalSince1970: 1_790_000_000)
    #expect(!key("a").isExpired(at: .distantFuture))
    #expect(!key("a", expires: time).isExpired(at: time.addingTimeInterval(-0.001)))
    #expect(key("a", expires: time).isExpired(at: time))
    #expect(key("a", expires: time).isExpired(at: .distantFuture))
  }

  @Test func `only the whole digest matches`() {
    let digest = [UInt8](0..<32)
    #expect(key("a").matches(digest: digest))
    for index in digest.indices {
      for bit in 0..<8 {
        var other = digest
        other[index] ^= 1 << bit
        #expect(!key("a").matches(digest: other))
      }
    }
    #expect(!key("a").matches(digest: digest.dropLast()))
    #expect(!key("a").matches(digest: digest + [0]))
    #expect(!key("a").matches(digest: []))
    #expect(!key("a", digest: []).matches(digest: []))
  }

  @Test func `keys in memory are found by their ids, and changes are told`() async {
    let keys = InMemoryAPIKeys()
    #expect(!keys.hasKeys)
    var changes = keys.apiKeyChanges().makeAsyncIterator()
    keys.set(key("a", expires: Date(timeIntervalSince1970: 0)))
    await changes.next()
    #expect(keys.hasKeys)
    #expect(keys.apiKey(id: "a")?.name == "billing")
    #expect(keys.apiKey(id: "b") == nil)
    keys.remove(id: "a")
    await changes.next()
    #expect(!keys.hasKeys)
    #expect(keys.apiKey(id: "a") == nil)
    let provider: any APIKeyProvider = InMemoryAPIKeys([key("b")])
    #expect(await provider.apiKey(id: "b") != nil)
    #expect(await provider.hasKeys)
  }

  @Test func `a provider need not tell of changes`() async {
    struct One: APIKeyProvider {
      var hasKeys: Bool { true }
      func apiKey(id: String) -> APIKey? { nil }
    }
    var changes = One().apiKeyChanges().makeAsyncIterator()
    #expect(await changes.next() == nil)
  }
}
