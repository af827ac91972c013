internal import Crypto

/// An access token: a text that a device sends with each request, in the path, as ThingsBoard's devices do. It is never printed.
///
/// Over plain CoAP and HTTP everybody on the way can read it.
public struct AccessToken: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The length of the longest token: 255 bytes, the longest option value of CoAP.
  public static let longest = 255

  /// The token as it stands in a path.
  public let text: String

  /// Creates a token. Nil for a text that is empty, is longer than `longest`, or has other characters than visible ones of ASCII, or
  /// a slash, which could not stand in a path.
  public init?(_ text: String) {
    guard (1...Self.longest).contains(text.utf8.count), text.utf8.allSatisfy({ (0x21...0x7e).contains($0) && $0 != UInt8(ascii: "/") })
    else { return nil }
    self.text = text
  }

  /// Returns a new random token: 20 letters and digits as ThingsBoard's, with 119 bits from the system's random number generator.
  public static func generated() -> AccessToken {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
    var generator = SystemRandomNumberGenerator()
    let text = String((0..<20).map { _ in digits[Int(generator.next(upperBound: UInt(digits.count)))] })
    guard let token = AccessToken(text) else { preconditionFailure("letters and digits are a token") }
    return token
  }

  /// What is kept of a token, and by which it is found: its SHA-256 in lower-case hexadecimal, 64 characters.
  public var digest: String {
    let digits = Array("0123456789abcdef")
    return String(SHA256.hash(data: Array(text.utf8)).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
  }

  /// Whether it is too long to be guessed: 16 characters, of which even hexadecimal ones have 64 bits.
  package var isStrong: Bool { text.utf8.count >= 16 }

  package static func isDigest(_ text: String) -> Bool {
    text.utf8.count == 64 && text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
  }

  public var description: String { "(an access token)" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
