/// Writes a CoAP message down (RFC 7252 §3).
///
/// Confirmable messages are sent, and sent again, by ourselves (`Retransmissions`), so they are not libcoap's to encode.
struct MessageWriter {
  private(set) var bytes: [UInt8]
  private var lastOption = 0

  /// An empty confirmable message, which a peer answers with a Reset: a ping (RFC 7252 §4.3).
  static func ping(_ messageID: UInt16) -> [UInt8] { [0x40, 0, UInt8(messageID >> 8), UInt8(messageID & 0xff)] }

  /// A confirmable message with a response code.
  static func confirmable(_ response: CoAPResponse, messageID: UInt16, token: CoAPToken) -> [UInt8] {
    var writer = MessageWriter(capacity: 48 + response.payload.count)
    writer.bytes.append(0x40 | token.count)
    writer.bytes.append(response.code.rawValue)
    writer.appendBytes(of: UInt64(messageID), count: 2)
    writer.appendBytes(of: token.value, count: Int(token.count))
    // By their numbers.
    if let etag = response.etag { writer.add(4, etag) }
    if let observe = response.observe { writer.add(6, UInt64(observe)) }
    if let format = response.contentFormat { writer.add(12, UInt64(format.rawValue)) }
    if let age = response.maxAge { writer.add(14, UInt64(age)) }
    if let block = response.block2 { writer.add(23, UInt64(block.optionValue)) }
    if let block = response.block1 { writer.add(27, UInt64(block.optionValue)) }
    if let size = response.size { writer.add(response.code.isSuccess ? 28 : 60, UInt64(size)) }
    if !response.payload.isEmpty {
      writer.bytes.append(0xff)
      writer.bytes += response.payload
    }
    return writer.bytes
  }

  /// The answer to a request, whose bytes these are, that is refused unread.
  static func refusal(_ code: CoAPCode, _ diagnostic: String, of request: UnsafeBufferPointer<UInt8>) -> [UInt8] {
    let tokenCount = request[0] & 15
    let isConfirmable = request[0] >> 4 & 3 == 0
    var writer = MessageWriter(capacity: 16 + diagnostic.utf8.count)
    // Piggybacked, or else with a message id of its own.
    writer.bytes.append((isConfirmable ? 0x60 : 0x50) | tokenCount)
    writer.bytes.append(code.rawValue)
    if isConfirmable { writer.bytes += request[2..<4] } else { writer.appendBytes(of: .random(in: 0...0xffff), count: 2) }
    writer.bytes += request[4..<(4 + Int(tokenCount))]
    writer.bytes.append(0xff)
    writer.bytes += diagnostic.utf8
    return writer.bytes
  }

  private init(capacity: Int) {
    bytes = []
    bytes.reserveCapacity(capacity)
  }

  private mutating func appendBytes(of value: UInt64, count: Int) {
    for place in (0..<count).reversed() { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(place)))) }
  }

  // A number below 269, with a value in as few bytes as it needs (RFC 7252 §3.1, §3.2).
  private mutating func add(_ number: Int, _ value: UInt64) {
    let count = (64 - value.leadingZeroBitCount + 7) / 8
    let delta = number - lastOption
    lastOption = number
    bytes.append(UInt8(min(delta, 13) << 4 | count))
    if delta >= 13 { bytes.append(UInt8(delta - 13)) }
    appendBytes(of: value, count: count)
  }
}
