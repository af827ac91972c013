/// The length of the records of a cipher suite of DTLS 1.2 and TLS 1.2, in bytes without the record header.
struct RecordSize {
  // Bytes before and after what is encrypted.
  private let overhead: Int
  // Bytes of the MAC before the padding, for suites that encrypt whole blocks.
  private let hash: Int?

  /// From OpenSSL's name of the suite.
  init(cipher name: String) {
    if name.hasSuffix("CCM8") || name.contains("CHACHA20") {
      (overhead, hash) = (16, nil)
    } else if name.hasSuffix("CCM") || name.contains("GCM") {
      (overhead, hash) = (24, nil)
    } else {
      // CBC: the initialisation vector.
      (overhead, hash) = (16, name.hasSuffix("SHA384") ? 48 : name.hasSuffix("SHA256") ? 32 : 20)
    }
  }

  private func record(of bytes: Int) -> UInt16 {
    // At least one byte is padding.
    UInt16(overhead + (hash.map { (bytes + $0 + 16) / 16 * 16 } ?? bytes))
  }

  /// The shortest possible record. For a shorter one OpenSSL reports an error instead of dropping it, which ends the session.
  var shortest: UInt16 { record(of: 0) }
  /// A record with a Finished message, which has 24 bytes (RFC 6347 §4.2.6, RFC 5246 §7.4.9).
  var finished: UInt16 { record(of: 24) }
}
