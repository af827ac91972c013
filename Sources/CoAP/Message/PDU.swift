internal import CLibcoap

/// Reads and writes libcoap's PDUs. A pointer is never used after the call that it was passed to.
enum PDU {
  /// What is wrong with a request, and the code to answer with.
  struct Unreadable: Error {
    var code = CoAPCode.badRequest
    let diagnostic: String
  }

  /// Copies a request out of `pdu`.
  ///
  /// A repetition of an option that is not repeatable is handled like an unrecognized option (RFC 7252 §5.4.5): if it is
  /// elective, it is ignored; if it is critical, the request is answered with 4.02.
  static func request(
    _ pdu: OpaquePointer?, mid: UInt16, token: CoAPToken, allowsBERT: Bool
  ) throws(Unreadable) -> CoAPRequest {
    var request = CoAPRequest(
      method: CoAPCode(rawValue: UInt8(truncatingIfNeeded: coap_pdu_get_code(pdu).rawValue)),
      token: token, messageID: mid,
      isConfirmable: coap_pdu_get_type(pdu) == COAP_MESSAGE_CON,
      path: "", query: [], payload: payload(pdu))
    var problem: Unreadable?
    var isFirstSegment = true
    var last: Int32 = 0
    forEachOption(pdu) { number, value in
      if number == last, !isRepeatable(number) {
        // Critical options have odd numbers (§5.4.6).
        if number % 2 == 1 { problem = Unreadable(code: .badOption, diagnostic: "option \(number) is there twice") }
        return
      }
      last = number
      switch number {
      case COAP_OPTION_OBSERVE: request.observe = uint(value)
      case COAP_OPTION_CONTENT_FORMAT:
        request.contentFormat = ContentFormat(rawValue: UInt16(clamping: uint(value)))
      case COAP_OPTION_ACCEPT: request.accept = ContentFormat(rawValue: UInt16(clamping: uint(value)))
      case COAP_OPTION_BLOCK1: request.block1 = block(value, allowsBERT, &problem)
      case COAP_OPTION_BLOCK2: request.block2 = block(value, allowsBERT, &problem)
      case COAP_OPTION_URI_PATH:
        guard let segment = pathSegment(value) else { return problem = notUTF8 }
        // The first segment may be empty: //.rpc is another resource than /.rpc.
        request.path += isFirstSegment ? segment : "/" + segment
        isFirstSegment = false
      case COAP_OPTION_URI_QUERY:
        guard let item = text(value.span) else { return problem = notUTF8 }
        request.query.append(item)
      case COAP_OPTION_PROXY_URI, COAP_OPTION_PROXY_SCHEME:
        problem = Unreadable(code: .proxyingNotSupported, diagnostic: "this server is no proxy")
      case _ where number % 2 == 1 && number != COAP_OPTION_URI_HOST && number != COAP_OPTION_URI_PORT:
        problem = Unreadable(code: .badOption, diagnostic: "option \(number) is not understood")
      default:
        guard isCacheKey(number) else { break }
        var hasher = Hasher()
        hasher.combine(request.otherOptions)
        hasher.combine(number)
        hasher.combine(bytes: UnsafeRawBufferPointer(value))
        request.otherOptions = hasher.finalize()
      }
    }
    if let problem { throw problem }
    return request
  }

  // The NoCacheKey bits are part of the number (RFC 7252 §5.4.6).
  private static func isCacheKey(_ number: Int32) -> Bool { number & 0x1e != 0x1c }

  private static let notUTF8 = Unreadable(diagnostic: "a path or query is not UTF-8")

  // RFC 7252 §5.10 and RFC 9175 §3.2.1; for other options it does not matter.
  private static func isRepeatable(_ number: Int32) -> Bool {
    switch number {
    case COAP_OPTION_IF_MATCH, COAP_OPTION_ETAG, COAP_OPTION_LOCATION_PATH, COAP_OPTION_URI_PATH, COAP_OPTION_URI_QUERY,
      COAP_OPTION_LOCATION_QUERY, COAP_OPTION_RTAG:
      true
    default: false
    }
  }

  // A reserved block size is an error, and is not treated like a missing option (RFC 7959 §2.2).
  private static func block(
    _ value: UnsafeBufferPointer<UInt8>, _ allowsBERT: Bool, _ problem: inout Unreadable?
  ) -> CoAPBlock? {
    let block = CoAPBlock(optionValue: uint(value), allowsBERT: allowsBERT)
    if block == nil {
      problem = Unreadable(diagnostic: allowsBERT ? "there is no block of that number" : "a block size of 7 is reserved")
    }
    return block
  }

  static func response(_ pdu: OpaquePointer?) -> CoAPResponse {
    var response = CoAPResponse(
      CoAPCode(rawValue: UInt8(truncatingIfNeeded: coap_pdu_get_code(pdu).rawValue)),
      payload: payload(pdu))
    forEachOption(pdu) { number, value in
      switch number {
      case COAP_OPTION_OBSERVE: response.observe = uint(value)
      case COAP_OPTION_CONTENT_FORMAT:
        response.contentFormat = ContentFormat(rawValue: UInt16(clamping: uint(value)))
      case COAP_OPTION_MAXAGE: response.maxAge = uint(value)
      case COAP_OPTION_BLOCK1: response.block1 = CoAPBlock(optionValue: uint(value))
      case COAP_OPTION_BLOCK2: response.block2 = CoAPBlock(optionValue: uint(value))
      case COAP_OPTION_SIZE1, COAP_OPTION_SIZE2: response.size = uint(value)
      case COAP_OPTION_ETAG: response.etag = value.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
      default: break
      }
    }
    return response
  }

  /// Sets code, options and payload of a PDU that has its token already. False when it does not fit.
  static func write(_ response: CoAPResponse, to pdu: OpaquePointer?) -> Bool {
    coap_pdu_set_code(pdu, pdu_code(response.code.rawValue))
    var fits = true
    if let etag = response.etag { fits = add(COAP_OPTION_ETAG, etag, to: pdu) && fits }
    if let observe = response.observe {
      fits = add(COAP_OPTION_OBSERVE, UInt64(observe), to: pdu) && fits
    }
    if let format = response.contentFormat {
      fits = add(COAP_OPTION_CONTENT_FORMAT, UInt64(format.rawValue), to: pdu) && fits
    }
    if let age = response.maxAge { fits = add(COAP_OPTION_MAXAGE, UInt64(age), to: pdu) && fits }
    if let block = response.block2 {
      fits = add(COAP_OPTION_BLOCK2, UInt64(block.optionValue), to: pdu) && fits
    }
    if let block = response.block1 {
      fits = add(COAP_OPTION_BLOCK1, UInt64(block.optionValue), to: pdu) && fits
    }
    if let size = response.size {
      let option = response.code.isSuccess ? COAP_OPTION_SIZE2 : COAP_OPTION_SIZE1
      fits = add(option, UInt64(size), to: pdu) && fits
    }
    return add(response.payload, to: pdu) && fits
  }

  /// Adds an option with an unsigned value in as few bytes as it needs (RFC 7252 §3.2).
  static func add(_ option: Int32, _ value: UInt64, to pdu: OpaquePointer?) -> Bool {
    let count = (64 - value.leadingZeroBitCount + 7) / 8
    return withUnsafeBytes(of: value.bigEndian) { bytes in
      coap_add_option(
        pdu, UInt16(truncatingIfNeeded: option), count,
        bytes.baseAddress?.assumingMemoryBound(to: UInt8.self).advanced(by: 8 - count)) > 0
    }
  }

  static func add(_ option: Int32, _ text: String, to pdu: OpaquePointer?) -> Bool {
    var text = text
    return text.withUTF8 {
      coap_add_option(pdu, UInt16(truncatingIfNeeded: option), $0.count, $0.baseAddress) > 0
    }
  }

  static func add(_ payload: [UInt8], to pdu: OpaquePointer?) -> Bool {
    payload.isEmpty || payload.withUnsafeBufferPointer { coap_add_data(pdu, $0.count, $0.baseAddress) == 1 }
  }

  static func token(_ pdu: OpaquePointer?) -> CoAPToken {
    let token = coap_pdu_get_token(pdu)
    return CoAPToken(UnsafeBufferPointer(start: token.s, count: min(token.length, 8)))
  }

  static func addToken(_ token: CoAPToken, to pdu: OpaquePointer?) -> Bool {
    withUnsafeBytes(of: token.value.bigEndian) { bytes in
      coap_add_token(
        pdu, Int(token.count),
        bytes.baseAddress?.assumingMemoryBound(to: UInt8.self).advanced(by: 8 - Int(token.count))) == 1
    }
  }

  /// A hash that tells bodies apart, FNV-1a. A CoAP retransmission is identical byte for byte.
  static func digest(_ body: some Sequence<UInt8>) -> UInt32 {
    body.reduce(0x811c_9dc5) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
  }

  static func digest(ofBodyIn pdu: OpaquePointer?) -> UInt32 {
    var count = 0
    var bytes: UnsafePointer<UInt8>?
    guard coap_get_data(pdu, &count, &bytes) == 1 else { return digest([]) }
    return digest(UnsafeBufferPointer(start: bytes, count: count))
  }

  private static func payload(_ pdu: OpaquePointer?) -> [UInt8] {
    var count = 0
    var bytes: UnsafePointer<UInt8>?
    guard coap_get_data(pdu, &count, &bytes) == 1 else { return [] }
    return Array(UnsafeBufferPointer(start: bytes, count: count))
  }

  private static func forEachOption(
    _ pdu: OpaquePointer?, _ body: (Int32, UnsafeBufferPointer<UInt8>) -> Void
  ) {
    var iterator = coap_opt_iterator_t()
    guard coap_option_iterator_init(pdu, &iterator, nil) != nil else { return }
    while let option = coap_option_next(&iterator) {
      let value = UnsafeBufferPointer(
        start: coap_opt_value(option), count: Int(coap_opt_length(option)))
      body(Int32(iterator.number), value)
    }
  }

  private static func uint(_ value: UnsafeBufferPointer<UInt8>) -> UInt32 {
    value.suffix(4).reduce(0) { $0 << 8 | UInt32($1) }
  }

  private static func pathSegment(_ value: UnsafeBufferPointer<UInt8>) -> String? {
    guard value.contains(where: { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "%") }) else {
      return text(value.span)
    }
    var bytes: [UInt8] = []
    for byte in value {
      switch byte {
      case UInt8(ascii: "/"): bytes += "%2F".utf8
      case UInt8(ascii: "%"): bytes += "%25".utf8
      default: bytes.append(byte)
      }
    }
    return text(bytes.span)
  }

  // `String(validating:as:)` is generic code that is not specialized, in the path of every request.
  private static func text(_ bytes: Span<UInt8>) -> String? {
    do {
      return String(copying: try UTF8Span(validating: bytes))
    } catch {
      return nil
    }
  }
}
