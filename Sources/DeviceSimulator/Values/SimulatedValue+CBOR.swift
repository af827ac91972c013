// Values: what a simulated device gets and returns, and how it is read and written in CBOR and JSON.
// Pure; the rest of the module uses it.

internal import CBOR

extension SimulatedValue {
  /// Reads the value of one complete CBOR message.
  ///
  /// Whole numbers outside the range of `Int64` become floating point, tags are dropped, and undefined becomes null.
  init(cbor bytes: [UInt8]) throws(CBORError) {
    var reader = CBORReader(bytes)
    self = try Self.item(&reader)
    try reader.finish()
  }

  var cbor: [UInt8] {
    var writer = CBORWriter(capacity: 128)
    write(to: &writer)
    return writer.bytes
  }

  private static func item(_ reader: inout CBORReader) throws(CBORError) -> SimulatedValue {
    guard let token = try reader.next() else { throw CBORError(.truncated, at: reader.offset) }
    return try value(token, &reader)
  }

  // The reader limits the depth of the recursion.
  private static func value(_ token: CBORToken, _ reader: inout CBORReader) throws(CBORError) -> SimulatedValue {
    switch token {
    case .unsigned(let value): return Int64(exactly: value).map(SimulatedValue.int) ?? .double(Double(value))
    case .negative(let value): return Int64(exactly: value).map { .int(-1 - $0) } ?? .double(-1 - Double(value))
    case .float(let value, _): return .double(value)
    case .bool(let value): return .bool(value)
    case .null, .undefined: return .null
    case .simple(let value): return .int(Int64(value))
    case .text(let value): return .text(value)
    case .bytes(let value): return .bytes(value)
    case .tag:
      // A loop, because tags may follow each other.
      var tagged = try reader.next()
      while case .tag = tagged { tagged = try reader.next() }
      guard let tagged else { throw CBORError(.truncated, at: reader.offset) }
      return try value(tagged, &reader)
    case .beginArray:
      var items: [SimulatedValue] = []
      while let token = try reader.next(), token != .end { items.append(try value(token, &reader)) }
      return .array(items)
    case .beginMap:
      var members: [Member] = []
      while let token = try reader.next(), token != .end {
        guard case .text(let key) = token else { throw CBORError(.keyNotText, at: reader.tokenOffset) }
        members.append(Member(key, try item(&reader)))
      }
      return .map(members)
    case .end: throw CBORError(.unexpectedBreak, at: reader.tokenOffset)
    }
  }

  private func write(to writer: inout CBORWriter) {
    switch self {
    case .null: writer.appendNull()
    case .bool(let value): writer.appendBool(value)
    case .int(let value): writer.appendInteger(value)
    case .double(let value): writer.appendDouble(value)
    case .text(let value): writer.appendText(value)
    case .bytes(let value): writer.appendBytes(value)
    case .array(let items):
      writer.beginArray(count: items.count)
      for item in items { item.write(to: &writer) }
    case .map(let members):
      // Of indefinite length, as zcbor writes the maps in Golioth's firmware.
      writer.beginMap(count: nil)
      for member in members {
        writer.appendText(member.key)
        member.value.write(to: &writer)
      }
      writer.appendBreak()
    }
  }
}
