import CBOR

/// Bytes from hexadecimal digits; spaces are for the reader's eye.
func hex(_ text: String) -> [UInt8] {
  let digits = text.compactMap(\.hexDigitValue)
  return stride(from: 0, to: digits.count - 1, by: 2).map {
    UInt8(digits[$0] << 4 | digits[$0 + 1])
  }
}

/// Hexadecimal digits of bytes.
func hex(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

/// All tokens of one message, which must end with its top-level item.
func tokens(
  _ bytes: some Collection<UInt8>, limits: CBORLimits = .default
) throws(CBORError) -> [CBORToken] {
  var reader = CBORReader(bytes, limits: limits)
  var tokens: [CBORToken] = []
  while let token = try reader.next() { tokens.append(token) }
  try reader.finish()
  return tokens
}

/// The error that reading a message ends in.
func failure(_ text: String, limits: CBORLimits = .default) -> CBORError? {
  do throws(CBORError) {
    _ = try tokens(hex(text), limits: limits)
    return nil
  } catch {
    return error
  }
}

extension CBORWriter {
  /// Writes tokens back; containers keep their form, strings become definite-length.
  mutating func append(_ tokens: [CBORToken]) {
    var isIndefinite: [Bool] = []
    for token in tokens {
      switch token {
      case .unsigned(let value): appendUnsigned(value)
      case .negative(let value): appendNegative(value)
      case .bytes(let value): appendBytes(value)
      case .text(let value): appendText(value)
      case .beginArray(let count):
        beginArray(count: count)
        isIndefinite.append(count == nil)
      case .beginMap(let count):
        beginMap(count: count)
        isIndefinite.append(count == nil)
      case .end: if isIndefinite.popLast() == true { appendBreak() }
      case .tag(let value): appendTag(value)
      case .float(let value, .half): appendHalf(value)
      case .float(let value, .single): appendSingle(Float(value))
      case .float(let value, .double): appendDouble(value)
      case .bool(let value): appendBool(value)
      case .null: appendNull()
      case .undefined: appendUndefined()
      case .simple(let value): appendSimple(value)
      }
    }
  }
}

extension CBORToken {
  /// Whether two tokens are the same, any NaN being the same as any other of its width.
  func matches(_ other: CBORToken) -> Bool {
    if case .float(let a, let x) = self, case .float(let b, let y) = other, a.isNaN, b.isNaN {
      return x == y
    }
    return self == other
  }
}

/// Messages as the Golioth device SDK exchanges them.
enum Golioth {
  static let id = "6d6d756c7469706c792f37346534"
  /// `{"id": "multiply/74e4", "method": "multiply", "params": [7.0, 191.0]}`
  static let call = hex(
    "a3 626964 \(id) 666d6574686f64 686d756c7469706c79 66706172616d73"
      + "82 fb401c000000000000 fb4067e00000000000")
  /// `{_ "id": "multiply/74e4", "detail": {_ "value": 1337.0}, "statusCode": 0}`
  static let result = hex(
    "bf 626964 \(id) 6664657461696c bf 6576616c7565 fb4094e40000000000 ff"
      + "6a737461747573436f6465 00 ff")
  /// `{_ "id": "multiply/74e4", "statusCode": 5}`
  static let failedResult = hex("bf 626964 \(id) 6a737461747573436f6465 05 ff")
}
