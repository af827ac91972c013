public import DeviceRPC
public import Foundation

/// A stored device, without its keys.
public struct StoredDevice: Sendable, Hashable {
  public let name: String
  /// False for a device that must not connect.
  public let isEnabled: Bool
  public let created: Date
  /// Nil for a device that has never connected.
  public let lastSeen: Date?
  /// The credentials: at most one of each kind, the key first.
  public let credentials: [StoredCredential]
}

/// A stored credential, without the key.
public struct StoredCredential: Sendable, Hashable {
  public let kind: DeviceCredential.Kind
  /// The PSK identity, or the name in the certificate: its first DNS name, or else the last common name of its subject.
  public let identity: String
  /// The SHA-256 of the DER form of the only certificate that is accepted. Nil for a key, and if any certificate with that name
  /// is accepted.
  public let fingerprint: [UInt8]?
  public let created: Date
  /// When the key or the fingerprint was last replaced; nil if never.
  public let rotated: Date?
}

extension DeviceKey {
  /// Returns a new random key: 32 hexadecimal digits, with 128 bits from the system's random number generator.
  ///
  /// Firmware uses the digits themselves as the key. 32 bytes is the longest key of Mbed TLS by default (`MBEDTLS_PSK_MAX_LEN`).
  public static func generated() -> DeviceKey {
    let digits = Array("0123456789abcdef".utf8)
    var generator = SystemRandomNumberGenerator()
    guard let key = DeviceKey((0..<32).map { _ in digits[Int(generator.next(upperBound: UInt(16)))] }) else {
      preconditionFailure("32 bytes are a key")
    }
    return key
  }
}
