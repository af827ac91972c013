public import DeviceRPC

/// A stored device, without its keys.
public typealias StoredDevice = RegisteredDevice
/// A stored credential, without the key.
public typealias StoredCredential = RegisteredDevice.Credential

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
