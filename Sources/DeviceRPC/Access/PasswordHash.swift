internal import Crypto
internal import CryptoExtras
internal import FoundationEssentials

/// A password as it is kept: a salt and what scrypt (RFC 7914) makes of both. It is never printed.
public struct PasswordHash: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The length of a password in bytes.
  public static let lengths = 8...256
  // 32 MiB and some 80 ms for each try (RFC 7914 §2): N = 2^15, r = 8, p = 1.
  private static let exponent = 15
  private static let blockSize = 8
  private static let saltBytes = 16
  private static let hashBytes = 32

  private let exponent: Int
  private let salt: [UInt8]
  private let hash: [UInt8]

  /// Hashes a password with a new salt, which takes a while. Nil when its length is not in `lengths`.
  public init?(of password: String) {
    guard Self.lengths.contains(password.utf8.count) else { return nil }
    salt = (0..<Self.saltBytes).map { _ in UInt8.random(in: .min ... .max) }
    exponent = Self.exponent
    guard let hash = Self.derive(password, salt, exponent) else { return nil }
    self.hash = hash
  }

  /// Reads the form of `text`; nil for anything else.
  public init?(text: String) {
    let parts = text.split(separator: "$", omittingEmptySubsequences: false)
    guard parts.count == 4, parts[0] == "scrypt", let exponent = Int(parts[1]), (10...20).contains(exponent),
      let salt = [UInt8](hexadecimal: String(parts[2])), let hash = [UInt8](hexadecimal: String(parts[3])),
      salt.count == Self.saltBytes, hash.count == Self.hashBytes
    else { return nil }
    self.exponent = exponent
    self.salt = salt
    self.hash = hash
  }

  /// The form in which it is stored: `scrypt$15$SALT$HASH`, the last two in hexadecimal.
  public var text: String {
    "scrypt$\(exponent)$\(salt.hexadecimal.replacing(":", with: ""))$\(hash.hexadecimal.replacing(":", with: ""))"
  }

  /// Whether this is the password, which takes as long as to hash it.
  public func matches(_ password: String) -> Bool {
    // What is longer than any password costs nothing.
    guard password.utf8.count <= Self.lengths.upperBound, let other = Self.derive(password, salt, exponent) else { return false }
    return zip(hash, other).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }

  private static func derive(_ password: String, _ salt: [UInt8], _ exponent: Int) -> [UInt8]? {
    let key = try? KDF.Scrypt.deriveKey(
      from: Array(password.utf8), salt: salt, outputByteCount: hashBytes, rounds: 1 << exponent, blockSize: blockSize, parallelism: 1)
    return key?.withUnsafeBytes { Array($0) }
  }

  public var description: String { "(a password)" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: []) }
}
