/// One request, copied out of libcoap's PDU: it may be kept and sent anywhere.
package struct CoAPRequest: Sendable {
  package var method: CoAPCode
  package var token: CoAPToken
  package var messageID: UInt16
  package var isConfirmable: Bool
  /// Uri-Path segments joined by `/`, without a leading slash; `/` and `%` inside a segment are percent-encoded, so
  /// that two different paths never look alike. Empty for a request to no path.
  package var path: String
  /// Uri-Query options in their order, as sent: `ep=sensor-1`.
  package var query: [String]
  package var contentFormat: ContentFormat?
  package var accept: ContentFormat?
  /// The Observe option: 0 registers, 1 deregisters (RFC 7641 §2).
  package var observe: UInt32?
  package var block1: CoAPBlock?
  package var block2: CoAPBlock?
  /// A hash of all other options that belong to the cache key, such as Request-Tag (RFC 7252 §5.4.6); 0 without any.
  package var otherOptions = 0
  /// Whether its sender exceeded its rate when the request, or the first block of its body, arrived.
  package var isOverRate = false
  package var payload: [UInt8]

  /// The value of the first query parameter of that name, `ep` of `ep=sensor-1`.
  package func queryValue(_ name: String) -> String? {
    // By bytes: a combining character after the equals sign is one Character with it.
    for item in query where item.utf8.starts(with: name.utf8) {
      let rest = item.utf8.dropFirst(name.utf8.count)
      if rest.first == UInt8(ascii: "=") { return String(decoding: rest.dropFirst(), as: UTF8.self) }
    }
    return nil
  }
}

/// One response, or one notification.
package struct CoAPResponse: Sendable, Equatable {
  package var code: CoAPCode
  package var contentFormat: ContentFormat?
  package var observe: UInt32?
  /// Seconds (RFC 7252 §5.10.5); nil leaves the option out, which means 60.
  package var maxAge: UInt32?
  package var block1: CoAPBlock?
  package var block2: CoAPBlock?
  /// Size1 in a 4.13 response, Size2 in a 2.xx response: the whole body's size in bytes (RFC 7959 §4).
  package var size: UInt32?
  package var etag: UInt64?
  /// Whether the same request, if it were processed again, would get another response. Its retransmissions are then
  /// recognised for the whole of EXCHANGE_LIFETIME (RFC 7252 §4.5), however many other requests arrive in between.
  package var isOnce = false
  package var payload: [UInt8]

  package init(_ code: CoAPCode, contentFormat: ContentFormat? = nil, payload: [UInt8] = []) {
    self.code = code
    self.contentFormat = contentFormat
    self.payload = payload
  }

  /// An error with a diagnostic payload: text for a person, without Content-Format (RFC 7252 §5.5.2).
  package static func error(_ code: CoAPCode, _ diagnostic: String) -> CoAPResponse {
    CoAPResponse(code, payload: Array(diagnostic.utf8))
  }
}

/// A Block1 or Block2 option (RFC 7959 §2.2).
package struct CoAPBlock: Hashable, Sendable {
  /// The size exponent of BERT (RFC 8323 §6): over TCP and TLS, a message has several blocks of 1,024 bytes.
  package static let bert: UInt8 = 7

  package var number: UInt32
  package var more: Bool
  /// Size exponent 0 to 6: the block has `16 << exponent` bytes. With 7 it has 1,024 or several times as many.
  package var exponent: UInt8

  package init(number: UInt32, more: Bool, exponent: UInt8) {
    self.number = number
    self.more = more
    self.exponent = exponent
  }

  /// From the option's value; nil for a number beyond 20 bits, and for the exponent 7 where it is reserved.
  package init?(optionValue: UInt32, allowsBERT: Bool = false) {
    let exponent = UInt8(optionValue & 7)
    guard exponent < Self.bert || allowsBERT, optionValue >> 4 <= 0xf_ffff else { return nil }
    self.init(number: optionValue >> 4, more: optionValue & 8 != 0, exponent: exponent)
  }

  package var optionValue: UInt32 { number << 4 | (more ? 8 : 0) | UInt32(exponent) }
  /// The bytes of one block, as counted by `number`.
  package var size: Int { exponent == Self.bert ? 1_024 : 16 << Int(exponent) }
  package var offset: Int { Int(number) * size }

  /// Whether the block may have this many bytes. Only the last block may be shorter.
  func canHave(_ bytes: Int) -> Bool {
    if exponent == Self.bert { return !more || bytes > 0 && bytes % size == 0 }
    return more ? bytes == size : bytes <= size
  }
}
