/// Encodes a CoAP message (RFC 7252 §3).
///
/// The server sends and retransmits confirmable messages itself (`Retransmissions`), so libcoap does not encode them.
struct MessageWriter {
  private let bytes: UnsafeMutableBufferPointer<UInt8>
  private var count = 0
  private var lastOption = 0

  /// An empty confirmable message, which a peer answers with a Reset: a ping (RFC 7252 §4.3).
  static func ping(_ messageID: UInt16) -> [UInt8] { [0x40, 0, UInt8(messageID >> 8), UInt8(messageID & 0xff)] }

  /// A confirmable or non-confirmable message with a response code.
  static func response(
    _ response: CoAPResponse, isConfirmable: Bool = true, messageID: UInt16, token: CoAPToken
  ) -> [UInt8] {
    message(payload: response.payload.count) { writer in
      writer.append((isConfirmable ? 0x40 : 0x50) | token.count)
      writer.append(response.code.rawValue)
      writer.append(UInt64(messageID), count: 2)
      writer.append(token.value, count: Int(token.count))
      // Options in the order of their numbers.
      if let etag = response.etag { writer.add(4, etag) }
      if let observe = response.observe { writer.add(6, UInt64(observe)) }
      if let format = response.contentFormat { writer.add(12, UInt64(format.rawValue)) }
      if let age = response.maxAge { writer.add(14, UInt64(age)) }
      if let block = response.block2 { writer.add(23, UInt64(block.optionValue)) }
      if let block = response.block1 { writer.add(27, UInt64(block.optionValue)) }
      if let size = response.size { writer.add(response.code.isSuccess ? 28 : 60, UInt64(size)) }
      writer.addPayload(response.payload)
    }
  }

  /// The response to a request that is refused without being decoded. `request` has its bytes.
  static func refusal(_ code: CoAPCode, _ diagnostic: String, of request: UnsafeBufferPointer<UInt8>) -> [UInt8] {
    let diagnostic = Array(diagnostic.utf8)
    return message(payload: diagnostic.count) { writer in
      let isConfirmable = request[0] >> 4 & 3 == 0
      // Piggybacked, or else non-confirmable with a message id of its own.
      writer.append((isConfirmable ? 0x60 : 0x50) | request[0] & 15)
      writer.append(code.rawValue)
      for byte in request[2..<4] { writer.append(isConfirmable ? byte : .random(in: 0...0xff)) }
      for byte in request[4...].prefix(Int(request[0] & 15)) { writer.append(byte) }
      writer.addPayload(diagnostic)
    }
  }

  /// 64 bytes are enough: the header, an eight-byte token, each option above in its longest form and the payload marker take
  /// 54.
  private static func message(payload: Int, _ write: (inout MessageWriter) -> Void) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: 64 + payload) { bytes, count in
      var writer = MessageWriter(bytes: bytes)
      write(&writer)
      count = writer.count
    }
  }

  private init(bytes: UnsafeMutableBufferPointer<UInt8>) { self.bytes = bytes }

  private mutating func append(_ byte: UInt8) {
    bytes[count] = byte
    count += 1
  }

  private mutating func append(_ value: UInt64, count: Int) {
    for place in (0..<count).reversed() { append(UInt8(truncatingIfNeeded: value >> (8 * UInt64(place)))) }
  }

  // Adds an option with a number below 269 and a value in as few bytes as it needs (RFC 7252 §3.1, §3.2).
  private mutating func add(_ number: Int, _ value: UInt64) {
    let length = (64 - value.leadingZeroBitCount + 7) / 8
    let delta = number - lastOption
    lastOption = number
    append(UInt8(min(delta, 13) << 4 | length))
    if delta >= 13 { append(UInt8(delta - 13)) }
    append(value, count: length)
  }

  private mutating func addPayload(_ payload: [UInt8]) {
    guard !payload.isEmpty else { return }
    append(0xff)
    count += UnsafeMutableBufferPointer(rebasing: bytes[count...]).initialize(fromContentsOf: payload)
  }
}
