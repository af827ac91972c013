/// Reads JSON (RFC 8259, strictly) into an ``RPCValue``.
///
/// Whole numbers that fit `Int64` or `UInt64` stay integers. Everything written with a fraction or an exponent is a double, and
/// `-0` is the double −0.0. Longer whole numbers are doubles if one is equal to them, and otherwise refused. The last member of
/// the same name is used. A byte order mark is refused (section 8.1 allows that).
///
/// Why not Foundation: it cannot do the job. Times for
/// `{"id":"multiply/74e4","status":0,"detail":{"value":1337}}`, measured with Swift 6.3.1 on Linux x86-64, release, one core,
/// the best of several loops of 10,000 or more: `JSONDecoder` takes 9,600 ns into a similar value, and `JSONSerialization`
/// 2,500 ns (1,400 ns without the conversion), where a call may cost about 1,000. This reader takes 350 ns. `JSONDecoder`
/// decodes `7.0` as an integer. `JSONSerialization` distinguishes `7.0` from `7`, but reads `-0` as 0 and loses the order of
/// members. Both accept `[1,]`, and report the place of an error at best inside a sentence. The C++ library of Debian 12
/// (simdjson) would need C++ interoperability in every target that imports this one.
package enum JSONReader {
  /// Reads a document from memory without copying it.
  ///
  /// - Throws: ``JSONError`` with the byte offset, for what is not JSON and what is over the limits.
  package static func read(
    _ bytes: UnsafeRawBufferPointer, limits: JSONLimits = .standard
  ) throws(JSONError) -> RPCValue {
    var parser = JSONParser(bytes: bytes, limits: limits)
    return try parser.readDocument()
  }

  /// Reads a document.
  ///
  /// - Throws: ``JSONError`` with the byte offset, for what is not JSON and what is over the limits.
  package static func read(
    _ bytes: [UInt8], limits: JSONLimits = .standard
  ) throws(JSONError) -> RPCValue {
    try bytes.withUnsafeBufferPointer { (buffer) throws(JSONError) in
      try read(UnsafeRawBufferPointer(buffer), limits: limits)
    }
  }
}

/// One pass over a document.
struct JSONParser {
  private let bytes: UnsafeRawBufferPointer
  private let limits: JSONLimits
  private var position = 0
  private var items = 0

  init(bytes: UnsafeRawBufferPointer, limits: JSONLimits) {
    self.bytes = bytes
    self.limits = limits
  }

  mutating func readDocument() throws(JSONError) -> RPCValue {
    skipWhitespace()
    let value = try readValue(depth: 0)
    skipWhitespace()
    guard position == bytes.count else { throw unexpected(.end) }
    return value
  }

  private mutating func readValue(depth: Int) throws(JSONError) -> RPCValue {
    guard items < limits.maxItems else {
      throw JSONError(kind: .tooManyItems(limit: limits.maxItems), offset: position)
    }
    items += 1
    switch peek() {
    case UInt8(ascii: "\""): return .string(try readString())
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try readNumber()
    case UInt8(ascii: "{"): return .object(try readObject(depth: depth + 1))
    case UInt8(ascii: "["): return .array(try readArray(depth: depth + 1))
    case UInt8(ascii: "t"): return try readLiteral("true", .bool(true))
    case UInt8(ascii: "f"): return try readLiteral("false", .bool(false))
    case UInt8(ascii: "n"): return try readLiteral("null", .null)
    default: throw unexpected(.value)
    }
  }

  private mutating func readArray(depth: Int) throws(JSONError) -> [RPCValue] {
    try enter(depth)
    var elements: [RPCValue] = []
    if peek() == UInt8(ascii: "]") {
      position += 1
      return elements
    }
    while true {
      elements.append(try readValue(depth: depth))
      skipWhitespace()
      switch peek() {
      case UInt8(ascii: ","):
        position += 1
        skipWhitespace()
      case UInt8(ascii: "]"):
        position += 1
        return elements
      default: throw unexpected(.commaOrBracket)
      }
    }
  }

  private mutating func readObject(depth: Int) throws(JSONError) -> RPCObject {
    try enter(depth)
    var object = RPCObject()
    if peek() == UInt8(ascii: "}") {
      position += 1
      return object
    }
    while true {
      guard peek() == UInt8(ascii: "\"") else { throw unexpected(.name) }
      let key = try readString()
      skipWhitespace()
      guard peek() == UInt8(ascii: ":") else { throw unexpected(.colon) }
      position += 1
      skipWhitespace()
      object.updateValue(try readValue(depth: depth), forKey: key)
      skipWhitespace()
      switch peek() {
      case UInt8(ascii: ","):
        position += 1
        skipWhitespace()
      case UInt8(ascii: "}"):
        position += 1
        return object
      default: throw unexpected(.commaOrBrace)
      }
    }
  }

  /// Steps over an opening bracket or brace.
  private mutating func enter(_ depth: Int) throws(JSONError) {
    guard depth <= limits.maxDepth else {
      throw JSONError(kind: .tooDeep(limit: limits.maxDepth), offset: position)
    }
    position += 1
    skipWhitespace()
  }

  private mutating func readLiteral(
    _ text: StaticString, _ value: RPCValue
  ) throws(JSONError) -> RPCValue {
    for index in 0..<text.utf8CodeUnitCount {
      guard peek() == text.utf8Start[index] else { throw unexpected(.literal) }
      position += 1
    }
    return value
  }
}

// MARK: - Numbers

extension JSONParser {
  private mutating func readNumber() throws(JSONError) -> RPCValue {
    let start = position
    let isNegative = peek() == UInt8(ascii: "-")
    if isNegative { position += 1 }
    let magnitude = try readWholePart()
    var isWhole = false
    switch peek() {
    case UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"): break
    default:
      isWhole = true
      guard let magnitude else { break }
      if !isNegative { return .number(magnitude) }
      if magnitude == 0 { return .double(-0.0) }
      if magnitude <= Int64.min.magnitude {
        return .integer(Int64(truncatingIfNeeded: 0 &- magnitude))
      }
    }
    try skipFractionAndExponent()
    // The standard library's conversion rounds correctly and does not depend on a locale.
    let text = String(decoding: slice(from: start), as: UTF8.self)
    guard let number = Double(text), number.isFinite else {
      throw JSONError(kind: .numberOutOfRange, offset: start)
    }
    if isWhole {
      // Whole numbers of more than 128 bits are refused too: nobody writes one of the few doubles among them with all its digits.
      guard let exact = Int128(text), Double(exactly: exact) != nil else {
        throw JSONError(kind: .inexactInteger, offset: start)
      }
    }
    return .double(number)
  }

  /// Reads the digits before the point; nil when the number does not fit `UInt64`, which is not an error.
  private mutating func readWholePart() throws(JSONError) -> UInt64? {
    guard isDigit(peek()) else { throw unexpected(.digit) }
    if peek() == UInt8(ascii: "0") {
      position += 1
      guard !isDigit(peek()) else { throw unexpected(.noDigit) }
      return 0
    }
    var magnitude: UInt64 = 0
    var fits = true
    while isDigit(peek()) {
      let (tenfold, overflow) = magnitude.multipliedReportingOverflow(by: 10)
      let digit = UInt64(peek() &- UInt8(ascii: "0"))
      let (sum, carry) = tenfold.addingReportingOverflow(digit)
      magnitude = sum
      fits = fits && !overflow && !carry
      position += 1
    }
    return fits ? magnitude : nil
  }

  private mutating func skipFractionAndExponent() throws(JSONError) {
    if peek() == UInt8(ascii: ".") {
      position += 1
      try skipDigits()
    }
    if peek() | 0x20 == UInt8(ascii: "e") {
      position += 1
      if peek() == UInt8(ascii: "+") || peek() == UInt8(ascii: "-") { position += 1 }
      try skipDigits()
    }
  }

  private mutating func skipDigits() throws(JSONError) {
    guard isDigit(peek()) else { throw unexpected(.digit) }
    while isDigit(peek()) { position += 1 }
  }

  private func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") <= 9 }
}

// MARK: - Strings

extension JSONParser {
  private mutating func readString() throws(JSONError) -> String {
    position += 1
    let start = position
    try skipUnescaped()
    if peek() == UInt8(ascii: "\"") {
      let text = String(decoding: slice(from: start), as: UTF8.self)
      position += 1
      return text
    }
    // Only strings with escapes are copied twice.
    var unescaped = Array(slice(from: start))
    while peek() == UInt8(ascii: "\\") {
      try readEscape(into: &unescaped)
      let next = position
      try skipUnescaped()
      unescaped.append(contentsOf: slice(from: next))
    }
    position += 1
    return String(decoding: unescaped, as: UTF8.self)
  }

  /// Advances to the next quote or backslash, and throws if there is none.
  private mutating func skipUnescaped() throws(JSONError) {
    while position < bytes.count {
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): return
      case 0..<0x20: throw JSONError(kind: .controlCharacter(byte), offset: position)
      case 0x20..<0x80: position += 1
      default: try skipMultiByteScalar(lead: byte)
      }
    }
    throw unexpected(.quote)
  }

  /// Checks one scalar against the table of RFC 3629 section 4: shortest form, and no surrogate.
  private mutating func skipMultiByteScalar(lead: UInt8) throws(JSONError) {
    let second: ClosedRange<UInt8>
    let length: Int
    switch lead {
    case 0xC2...0xDF: (second, length) = (0x80...0xBF, 2)
    case 0xE0: (second, length) = (0xA0...0xBF, 3)
    case 0xED: (second, length) = (0x80...0x9F, 3)
    case 0xE1...0xEF: (second, length) = (0x80...0xBF, 3)
    case 0xF0: (second, length) = (0x90...0xBF, 4)
    case 0xF1...0xF3: (second, length) = (0x80...0xBF, 4)
    case 0xF4: (second, length) = (0x80...0x8F, 4)
    default: throw JSONError(kind: .invalidUTF8, offset: position)
    }
    let end = position + length
    guard end <= bytes.count, second.contains(bytes[position + 1]),
      bytes[(position + 2)..<end].allSatisfy({ $0 & 0xC0 == 0x80 })
    else { throw JSONError(kind: .invalidUTF8, offset: position) }
    position = end
  }

  private mutating func readEscape(into text: inout [UInt8]) throws(JSONError) {
    let start = position
    position += 1
    let character = peek()
    let scalar: UInt32
    switch character {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): scalar = UInt32(character)
    case UInt8(ascii: "b"): scalar = 0x08
    case UInt8(ascii: "f"): scalar = 0x0C
    case UInt8(ascii: "n"): scalar = 0x0A
    case UInt8(ascii: "r"): scalar = 0x0D
    case UInt8(ascii: "t"): scalar = 0x09
    case UInt8(ascii: "u"):
      position += 1
      text.append(contentsOf: try readUnicodeEscape(start: start).utf8)
      return
    default: throw unexpected(.escape)
    }
    position += 1
    text.append(UInt8(truncatingIfNeeded: scalar))
  }

  /// Reads the digits after `\u`, and the second escape of a surrogate pair.
  private mutating func readUnicodeEscape(start: Int) throws(JSONError) -> Character {
    var code = try readHexDigits()
    if code & 0xFC00 == 0xD800, peek() == UInt8(ascii: "\\"), peek(1) == UInt8(ascii: "u") {
      position += 2
      let low = try readHexDigits()
      if low & 0xFC00 == 0xDC00 {
        code = 0x10000 + (code & 0x3FF) << 10 + low & 0x3FF
      }
    }
    guard let scalar = Unicode.Scalar(code) else {
      throw JSONError(kind: .loneSurrogate, offset: start)
    }
    return Character(scalar)
  }

  private mutating func readHexDigits() throws(JSONError) -> UInt32 {
    var code: UInt32 = 0
    for _ in 0..<4 {
      let byte = peek()
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): code = code << 4 | UInt32(byte - 0x30)
      case UInt8(ascii: "A")...UInt8(ascii: "F"): code = code << 4 | UInt32(byte - 0x37)
      case UInt8(ascii: "a")...UInt8(ascii: "f"): code = code << 4 | UInt32(byte - 0x57)
      default: throw unexpected(.hexDigit)
      }
      position += 1
    }
    return code
  }
}

// MARK: - Bytes

extension JSONParser {
  /// The byte at the current position, or 0 at the end. NUL is not allowed anywhere in a document, so each check for an
  /// allowed byte fails, and ``unexpected(_:)`` distinguishes the two cases.
  private func peek(_ ahead: Int = 0) -> UInt8 {
    position + ahead < bytes.count ? bytes[position + ahead] : 0
  }

  private func slice(from start: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[start..<position])
  }

  private mutating func skipWhitespace() {
    while true {
      switch peek() {
      case 0x20, 0x0A, 0x0D, 0x09: position += 1
      default: return
      }
    }
  }

  private func unexpected(_ expected: JSONError.Expected) -> JSONError {
    let kind: JSONError.Kind =
      position < bytes.count
      ? .unexpectedByte(bytes[position], expected: expected)
      : .unexpectedEnd(expected: expected)
    return JSONError(kind: kind, offset: position)
  }
}
