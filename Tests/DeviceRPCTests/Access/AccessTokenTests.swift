import DeviceRPC
import Testing

@Suite struct AccessTokenTests {
  @Test(arguments: ["A1_TEST_TOKEN", "a", "~!{}", String(repeating: "x", count: 255)])
  func `what can stand in a path is a token`(text: String) { #expect(AccessToken(text)?.text == text) }

  @Test(arguments: ["", "a b", "a/b", "é", "a\n", "\u{7f}", String(repeating: "x", count: 256)])
  func `what cannot is none`(text: String) { #expect(AccessToken(text) == nil) }

  @Test func `a new token is like those of ThingsBoard, and never the same`() {
    let tokens = (0..<100).map { _ in AccessToken.generated() }
    #expect(Set(tokens).count == 100)
    #expect(tokens.allSatisfy { $0.text.utf8.count == 20 && $0.text.allSatisfy { $0.isLetter || $0.isNumber } })
  }

  @Test func `a token is not printed, and its digest is the SHA-256`() throws {
    let token = try #require(AccessToken("abc"))
    #expect("\(token) \(String(reflecting: token))" == "(an access token) (an access token)")
    // FIPS 180-4, the example of one block.
    #expect(token.digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
  }
}

@Suite struct AccessTokensTests {
  private let token = AccessToken("right")!
  private var credentials: InMemoryCredentials { InMemoryCredentials([DeviceCredential(device: "pump", token: token)]) }

  private func refusal(_ body: () throws(AccessTokens.Refusal) -> Void) -> AccessTokens.Refusal? {
    do throws(AccessTokens.Refusal) { try body() } catch { return error }
    return nil
  }

  @Test func `without credentials the token is the name`() throws {
    let tokens = AccessTokens(nil)
    #expect(try tokens.device("pump 7", from: "a", now: .zero).name == "pump 7")
    #expect(refusal { () throws(AccessTokens.Refusal) in _ = try tokens.device("", from: "a", now: .zero) }
      == .unknown("the token, here the name of the device, is empty"))
  }

  @Test func `ten wrong tokens of a host at once, then one a second, and others are not slowed`() throws {
    let tokens = AccessTokens(credentials)
    func ask(_ token: String, _ host: String = "a", at seconds: Double) -> AccessTokens.Refusal? {
      refusal { () throws(AccessTokens.Refusal) in _ = try tokens.device(token, from: host, now: .seconds(seconds)) }
    }
    let unknown = AccessTokens.Refusal.unknown("the access token is that of no device")
    for _ in 0..<10 { #expect(ask("wrong", at: 0) == unknown) }
    #expect(ask("wrong", at: 0) == .tooMany)
    // Nor is it told from there whether a token is right.
    #expect(ask("right", at: 0.9) == .tooMany)
    #expect(ask("right", "b", at: 0.9) == nil)
    #expect(ask("right", at: 1) == nil)
    #expect(ask("wrong", at: 1) == unknown)
    #expect(ask("wrong", at: 1.5) == .tooMany)
    for _ in 0..<10 { #expect(ask("wrong", at: 100) == unknown) }
    #expect(ask("wrong", at: 100) == .tooMany)
    #expect(try tokens.device("right", from: "a", now: .seconds(100)) { $0.device == "pump" }.name == "pump")
  }

  @Test func `many hosts take no more memory than some`() {
    let tokens = AccessTokens(credentials)
    for host in 0..<30_000 {
      _ = refusal { () throws(AccessTokens.Refusal) in _ = try tokens.device("wrong", from: "\(host)", now: .zero) }
    }
    #expect(tokens.remembered <= 10_000)
  }

  @Test func `a disabled device is refused, and counts as wrong`() {
    let tokens = AccessTokens(InMemoryCredentials([DeviceCredential(device: "pump", token: token, isEnabled: false)]))
    for _ in 0..<10 {
      #expect(refusal { () throws(AccessTokens.Refusal) in _ = try tokens.device("right", from: "a", now: .zero) } == .unknown("the device is disabled"))
    }
    #expect(refusal { () throws(AccessTokens.Refusal) in _ = try tokens.device("right", from: "a", now: .zero) } == .tooMany)
  }
}
