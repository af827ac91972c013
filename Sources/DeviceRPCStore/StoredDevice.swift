public import DeviceRPC
public import Foundation

/// A device as it is stored, without its keys.
public struct StoredDevice: Sendable, Hashable {
  public let name: String
  /// False for a device that must not connect.
  public let isEnabled: Bool
  public let created: Date
  /// Nil for a device that has never connected.
  public let lastSeen: Date?
  /// One of each kind at most, the key first.
  public let credentials: [StoredCredential]
}

/// What a device proves itself with, as it is stored: everything but the key.
public struct StoredCredential: Sendable, Hashable {
  public let kind: DeviceCredential.Kind
  /// The PSK identity, or the name in the certificate: its first DNS name, or else its subject's last common name.
  public let identity: String
  /// The SHA-256 of the DER form of the only certificate that is taken; nil for a key, and for any certificate of that
  /// name.
  public let fingerprint: [UInt8]?
  public let created: Date
  /// When the key or the fingerprint was last replaced; nil for never.
  public let rotated: Date?
}

extension DeviceKey {
  /// A new key from the system's generator of random numbers: 32 hexadecimal digits, 128 random bits.
  ///
  /// Firmware takes the digits themselves as the key. 32 bytes are the longest key that Mbed TLS is built for unless its
  /// `MBEDTLS_PSK_MAX_LEN` is raised.
  public static func generated() -> DeviceKey {
    let digits = Array("0123456789abcdef".utf8)
    var generator = SystemRandomNumberGenerator()
    guard let key = DeviceKey((0..<32).map { _ in digits[Int(generator.next(upperBound: UInt(16)))] }) else {
      preconditionFailure("32 bytes are a key")
    }
    return key
  }
}
