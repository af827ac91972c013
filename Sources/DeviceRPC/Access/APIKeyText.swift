/// The text of an API key, `drpc_k3v9x2ma_` and 43 more characters, as a person gets it once and a back end sends it with each
/// request. The secret is never printed.
public struct APIKeyText: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The length of every text: 57 bytes of ASCII.
  public static let length = prefix.count + idLength + 1 + secretLength

  private static let prefix = Array("drpc_".utf8)
  private static let separator = UInt8(ascii: "_")
  private static let idLength = 8
  // 32 bytes in base64url without padding (RFC 4648 §5).
  private static let secretLength = 43
  private static let idDigits = Array("0123456789abcdefghijklmnopqrstuvwxyz".utf8)
  private static let secretDigits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

  /// The public part, by which the key is looked up: 8 lower-case letters and digits.
  public let id: String
  /// The secret part as it stands in the text, 43 characters of base64url. `APIKey.digest` is the SHA-256 of these bytes.
  public let secret: [UInt8]

  /// Reads the text of a key; nil for any other text. It looks at `length` bytes at most, and the whole text must be the key.
  public init?(_ text: some StringProtocol) {
    // One byte more, so that a longer text is noticed.
    let bytes = Array(text.utf8.prefix(Self.length + 1))
    guard bytes.count == Self.length, bytes.starts(with: Self.prefix) else { return nil }
    let id = bytes.dropFirst(Self.prefix.count).prefix(Self.idLength)
    let rest = bytes.dropFirst(Self.prefix.count + Self.idLength)
    guard rest.first == Self.separator, id.allSatisfy(Self.idDigits.contains),
      rest.dropFirst().allSatisfy(Self.secretDigits.contains)
    else { return nil }
    self.id = String(decoding: id, as: UTF8.self)
    secret = Array(rest.dropFirst())
  }

  private init(id: [UInt8], secret: [UInt8]) {
    self.id = String(decoding: id, as: UTF8.self)
    self.secret = secret
  }

  /// Returns a new random key, with a secret of 256 bits from the system's random number generator.
  public static func generated() -> APIKeyText {
    var generator = SystemRandomNumberGenerator()
    let id = (0..<idLength).map { _ in idDigits[Int(generator.next(upperBound: UInt(idDigits.count)))] }
    let random = (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    return APIKeyText(id: id, secret: base64url(random))
  }

  private static func base64url(_ bytes: [UInt8]) -> [UInt8] {
    var digits: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      let bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << (8 * UInt32(3 - group.count))
      // 1, 2 and 3 bytes have 2, 3 and 4 digits.
      for place in 0...group.count { digits.append(secretDigits[Int(bits >> (18 - 6 * UInt32(place)) & 63)]) }
    }
    return digits
  }

  /// The whole text, secret included.
  public var text: String { "drpc_\(id)_\(String(decoding: secret, as: UTF8.self))" }

  public var description: String { "(the API key \(id))" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
