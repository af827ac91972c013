// Stream: CBOR as a stream of tokens, read and written with libcbor (RFC 8949). DeviceRPCCoAP reads
// and writes calls with it. It has no recursion that a message could make deep.

internal import CLibcbor

/// One item head as libcbor's streaming decoder reports it.
struct CBORHead {
  enum Kind: UInt8 {
    case none, unsigned, negative, bytes, text, bytesStart, textStart
    case array, map, indefiniteArray, indefiniteMap
    case tag, half, single, double, bool, null, undefined, simple, breakMark
  }

  var kind = Kind.none
  /// The argument: the number, the length or count, or the bit pattern of a `Double`.
  var value: UInt64 = 0
  /// The offset after the head, and for a definite-length string after its content.
  var end = 0

  /// Decodes the head at `offset`.
  ///
  /// libcbor checks a string's length against the available bytes before it reports it, so a
  /// definite-length string lies completely inside `bytes`.
  @inline(__always)
  init(at offset: Int, in bytes: UnsafeRawBufferPointer) throws(CBORError) {
    guard offset < bytes.count, let base = bytes.baseAddress else {
      throw CBORError(.truncated, at: bytes.count)
    }
    let source = base.advanced(by: offset).assumingMemoryBound(to: UInt8.self)
    let available = bytes.count - offset
    let result = withUnsafeMutablePointer(to: &self) {
      cbor_stream_decode(source, available, callbackTable, $0)
    }
    if result.status == CBOR_DECODER_FINISHED, kind != .none {
      end = offset + result.read
      return
    }
    let lead = source.pointee
    if result.status == CBOR_DECODER_NEDATA {
      throw CBORError(.truncated, Self.item(lead), at: offset)
    }
    try fillGap(lead: lead, second: available > 1 ? source[1] : nil, at: offset)
  }

  /// Decodes the well-formed heads that libcbor 0.8 refuses: the tags 6 to 20 and the simple
  /// values without a meaning (RFC 8949, sections 3.3 and 3.4).
  private mutating func fillGap(
    lead: UInt8, second: UInt8?, at offset: Int
  ) throws(CBORError) {
    end = offset + 1
    switch lead {
    case 0xC6...0xD4:
      (kind, value) = (.tag, UInt64(lead - 0xC0))
    case 0xE0...0xF3:
      (kind, value) = (.simple, UInt64(lead - 0xE0))
    case 0xF8:
      guard let second else { throw CBORError(.truncated, .number, at: offset) }
      // Two-byte forms below 32 are not well-formed (RFC 8949, section 3.3).
      guard second >= 32 else { throw CBORError(.malformed, .number, at: offset) }
      (kind, value, end) = (.simple, UInt64(second), offset + 2)
    default:
      throw CBORError(.malformed, Self.item(lead), at: offset)
    }
  }

  /// The item type that a first byte announces.
  static func item(_ lead: UInt8) -> CBORError.Item {
    switch lead >> 5 {
    case 0, 1: .integer
    case 2: .byteString
    case 3: .textString
    case 4: .array
    case 5: .map
    case 6: .tag
    default: .number
    }
  }
}

@inline(__always)
private func report(
  _ context: UnsafeMutableRawPointer?, _ kind: CBORHead.Kind, _ value: UInt64 = 0
) {
  context?.assumingMemoryBound(to: CBORHead.self).pointee = CBORHead(kind: kind, value: value)
}

extension CBORHead {
  @inline(__always)
  fileprivate init(kind: Kind, value: UInt64) {
    self.kind = kind
    self.value = value
  }
}

/// The callbacks of libcbor's streaming decoder, which store the head through their context.
///
/// Safe to share because it is written once, before its first use, and only read afterwards.
nonisolated(unsafe) private let callbackTable: UnsafePointer<cbor_callbacks> = {
  let table = UnsafeMutablePointer<cbor_callbacks>.allocate(capacity: 1)
  table.initialize(
    to: cbor_callbacks(
      uint8: { report($0, .unsigned, UInt64($1)) },
      uint16: { report($0, .unsigned, UInt64($1)) },
      uint32: { report($0, .unsigned, UInt64($1)) },
      uint64: { report($0, .unsigned, $1) },
      negint64: { report($0, .negative, $1) },
      negint32: { report($0, .negative, UInt64($1)) },
      negint16: { report($0, .negative, UInt64($1)) },
      negint8: { report($0, .negative, UInt64($1)) },
      byte_string_start: { report($0, .bytesStart) },
      byte_string: { report($0, .bytes, UInt64(truncatingIfNeeded: $2)) },
      string: { report($0, .text, UInt64(truncatingIfNeeded: $2)) },
      string_start: { report($0, .textStart) },
      indef_array_start: { report($0, .indefiniteArray) },
      array_start: { report($0, .array, UInt64(truncatingIfNeeded: $1)) },
      indef_map_start: { report($0, .indefiniteMap) },
      map_start: { report($0, .map, UInt64(truncatingIfNeeded: $1)) },
      tag: { report($0, .tag, $1) },
      float2: { report($0, .half, Double($1).bitPattern) },
      float4: { report($0, .single, Double($1).bitPattern) },
      float8: { report($0, .double, $1.bitPattern) },
      undefined: { report($0, .undefined) },
      null: { report($0, .null) },
      boolean: { report($0, .bool, $1 ? 1 : 0) },
      indef_break: { report($0, .breakMark) }))
  return UnsafePointer(table)
}()
