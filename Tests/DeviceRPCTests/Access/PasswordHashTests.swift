import DeviceRPC
import Testing

@Suite struct PasswordHashTests {
  @Test func `a password matches its hash, and no other does`() throws {
    let hash = try #require(PasswordHash(of: "a long password"))
    #expect(hash.matches("a long password") && !hash.matches("a long passwore") && !hash.matches(""))
    #expect(PasswordHash(of: "a long password") != hash, "the salt is new each time")
    #expect(PasswordHash(text: hash.text) == hash && hash.text.hasPrefix("scrypt$15$"))
    #expect("\(hash) \(String(reflecting: hash))" == "(a password) (a password)")
  }

  @Test func `the hash is scrypt's`() throws {
    // `hashlib.scrypt(b"a long password", salt=bytes(range(16)), n=1024, r=8, p=1, dklen=32)` of Python.
    let text = "scrypt$10$000102030405060708090A0B0C0D0E0F$075B7B96B24772DF829BD46FCBBAD7C36E6BD04B038388752964B4BE18103C41"
    #expect(try #require(PasswordHash(text: text)).matches("a long password"))
  }

  @Test(arguments: ["", "scrypt", "scrypt$15$00$00", "scrypt$9$000102030405060708090A0B0C0D0E0F$00", "bcrypt$1$2$3", "scrypt$99$a$b"])
  func `other texts are no hashes`(text: String) { #expect(PasswordHash(text: text) == nil) }

  @Test(arguments: ["", "1234567", String(repeating: "x", count: 257)])
  func `a password has 8 to 256 bytes`(text: String) { #expect(PasswordHash(of: text) == nil) }
}
