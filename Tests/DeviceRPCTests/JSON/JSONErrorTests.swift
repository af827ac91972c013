import Testing

@testable import DeviceRPC

@Suite struct JSONErrorTests {
  @Test(
    arguments: [
      ("", 0, .unexpectedEnd(expected: .value)), (" \n", 2, .unexpectedEnd(expected: .value)),
      ("\0", 0, .unexpectedByte(0, expected: .value)),
      ("\u{FEFF}1", 0, .unexpectedByte(0xEF, expected: .value)),
      ("1 2", 2, .unexpectedByte(0x32, expected: .end)),
      ("[]]", 2, .unexpectedByte(0x5D, expected: .end)),
      ("1\0", 1, .unexpectedByte(0, expected: .end)),
      ("\u{A0}1", 0, .unexpectedByte(0xC2, expected: .value)),
      ("1 // c", 2, .unexpectedByte(0x2F, expected: .end)),
      ("'a'", 0, .unexpectedByte(0x27, expected: .value)),
      ("]", 0, .unexpectedByte(0x5D, expected: .value)),
      ("NaN", 0, .unexpectedByte(0x4E, expected: .value)),
      ("Infinity", 0, .unexpectedByte(0x49, expected: .value)),
    ] as [(String, Int, JSONError.Kind)])
  func `refuses what is no document`(text: String, offset: Int, kind: JSONError.Kind) {
    #expect(throws: JSONError(kind: kind, offset: offset)) { try readJSON(text) }
  }

  @Test(
    arguments: [
      ("[", 1, .unexpectedEnd(expected: .value)),
      ("[1", 2, .unexpectedEnd(expected: .commaOrBracket)),
      ("[1,", 3, .unexpectedEnd(expected: .value)),
      ("[1,]", 3, .unexpectedByte(0x5D, expected: .value)),
      ("[,1]", 1, .unexpectedByte(0x2C, expected: .value)),
      ("[1,,2]", 3, .unexpectedByte(0x2C, expected: .value)),
      ("[1 2]", 3, .unexpectedByte(0x32, expected: .commaOrBracket)),
      ("[1}", 2, .unexpectedByte(0x7D, expected: .commaOrBracket)),
      ("[1\u{C}]", 2, .unexpectedByte(0x0C, expected: .commaOrBracket)),
      ("[1\0]", 2, .unexpectedByte(0, expected: .commaOrBracket)),
      ("{", 1, .unexpectedEnd(expected: .name)),
      ("{1:2}", 1, .unexpectedByte(0x31, expected: .name)),
      ("{a:1}", 1, .unexpectedByte(0x61, expected: .name)),
      ("{,}", 1, .unexpectedByte(0x2C, expected: .name)),
      ("{\"a\"", 4, .unexpectedEnd(expected: .colon)),
      ("{\"a\",1}", 4, .unexpectedByte(0x2C, expected: .colon)),
      ("{\"a\"1}", 4, .unexpectedByte(0x31, expected: .colon)),
      ("{\"a\":", 5, .unexpectedEnd(expected: .value)),
      ("{\"a\":}", 5, .unexpectedByte(0x7D, expected: .value)),
      ("{\"a\"::1}", 5, .unexpectedByte(0x3A, expected: .value)),
      ("{\"a\":1", 6, .unexpectedEnd(expected: .commaOrBrace)),
      ("{\"a\":1,}", 7, .unexpectedByte(0x7D, expected: .name)),
      ("{\"a\":1 \"b\":2}", 7, .unexpectedByte(0x22, expected: .commaOrBrace)),
      ("{\"a\":1]", 6, .unexpectedByte(0x5D, expected: .commaOrBrace)),
      ("[{\"id\":1},", 10, .unexpectedEnd(expected: .value)),
    ] as [(String, Int, JSONError.Kind)])
  func `refuses malformed arrays and objects`(text: String, offset: Int, kind: JSONError.Kind) {
    #expect(throws: JSONError(kind: kind, offset: offset)) { try readJSON(text) }
  }

  @Test(
    arguments: [
      ("t", 1, .unexpectedEnd(expected: .literal)), ("tru", 3, .unexpectedEnd(expected: .literal)),
      ("True", 0, .unexpectedByte(0x54, expected: .value)),
      ("trUe", 2, .unexpectedByte(0x55, expected: .literal)),
      ("nul]", 3, .unexpectedByte(0x5D, expected: .literal)),
      ("truee", 4, .unexpectedByte(0x65, expected: .end)),
      ("[fals]", 5, .unexpectedByte(0x5D, expected: .literal)),
      ("nul\0", 3, .unexpectedByte(0, expected: .literal)),
    ] as [(String, Int, JSONError.Kind)])
  func `refuses malformed literals`(text: String, offset: Int, kind: JSONError.Kind) {
    #expect(throws: JSONError(kind: kind, offset: offset)) { try readJSON(text) }
  }

  @Test(
    arguments: [
      ("-", 1, .unexpectedEnd(expected: .digit)),
      ("+1", 0, .unexpectedByte(0x2B, expected: .value)),
      ("--1", 1, .unexpectedByte(0x2D, expected: .digit)),
      ("-a", 1, .unexpectedByte(0x61, expected: .digit)),
      (".5", 0, .unexpectedByte(0x2E, expected: .value)),
      ("-.5", 1, .unexpectedByte(0x2E, expected: .digit)),
      ("1.", 2, .unexpectedEnd(expected: .digit)),
      ("1.e5", 2, .unexpectedByte(0x65, expected: .digit)),
      ("01", 1, .unexpectedByte(0x31, expected: .noDigit)),
      ("-00", 2, .unexpectedByte(0x30, expected: .noDigit)),
      ("1e", 2, .unexpectedEnd(expected: .digit)), ("1e+", 3, .unexpectedEnd(expected: .digit)),
      ("[1e-]", 4, .unexpectedByte(0x5D, expected: .digit)),
      ("1.5.2", 3, .unexpectedByte(0x2E, expected: .end)),
      ("1e2.5", 3, .unexpectedByte(0x2E, expected: .end)),
      ("0x10", 1, .unexpectedByte(0x78, expected: .end)),
      ("1_000", 1, .unexpectedByte(0x5F, expected: .end)),
      ("1e5e5", 3, .unexpectedByte(0x65, expected: .end)),
      ("-Infinity", 1, .unexpectedByte(0x49, expected: .digit)),
      ("１", 0, .unexpectedByte(0xEF, expected: .value)),
      ("1e999", 0, .numberOutOfRange), ("[0,-1e400]", 3, .numberOutOfRange),
      ("99999999999999999999", 0, .inexactInteger), ("[18446744073709551617]", 1, .inexactInteger),
      ("-9223372036854775809", 0, .inexactInteger), ("1.8e308", 0, .numberOutOfRange), ("1e99999999999999999999", 0, .numberOutOfRange),
    ] as [(String, Int, JSONError.Kind)])
  func `refuses malformed numbers`(text: String, offset: Int, kind: JSONError.Kind) {
    #expect(throws: JSONError(kind: kind, offset: offset)) { try readJSON(text) }
  }

  @Test(
    arguments: [
      ("\"", 1, .unexpectedEnd(expected: .quote)), ("\"abc", 4, .unexpectedEnd(expected: .quote)),
      ("\"a\nb\"", 2, .controlCharacter(0x0A)), ("\"\0\"", 1, .controlCharacter(0)),
      ("\"\u{1F}\"", 1, .controlCharacter(0x1F)), ("\"\\n\t\"", 3, .controlCharacter(9)),
      ("\"\\", 2, .unexpectedEnd(expected: .escape)),
      ("\"\\x\"", 2, .unexpectedByte(0x78, expected: .escape)),
      ("\"\\'\"", 2, .unexpectedByte(0x27, expected: .escape)),
      ("\"\\\0\"", 2, .unexpectedByte(0, expected: .escape)),
      ("\"\\u12\"", 5, .unexpectedByte(0x22, expected: .hexDigit)),
      ("\"\\u12G4\"", 5, .unexpectedByte(0x47, expected: .hexDigit)),
      ("\"\\u", 3, .unexpectedEnd(expected: .hexDigit)),
      ("\"\\n", 3, .unexpectedEnd(expected: .quote)),
      ("\"\\U0041\"", 2, .unexpectedByte(0x55, expected: .escape)),
      ("\"\\u-123\"", 3, .unexpectedByte(0x2D, expected: .hexDigit)),
      (#""\uD800""#, 1, .loneSurrogate), (#""x\uDC00""#, 2, .loneSurrogate),
      (#""\uD800\n""#, 1, .loneSurrogate), (#""\uD800\u0041""#, 1, .loneSurrogate),
      (#""\uD800\uD800\uDC00""#, 1, .loneSurrogate), (#""\uD83Dx\uDE00""#, 1, .loneSurrogate),
      (#""\uD800\u12""#, 11, .unexpectedByte(0x22, expected: .hexDigit)),
      ("{\"a\\q\":1}", 4, .unexpectedByte(0x71, expected: .escape)),
    ] as [(String, Int, JSONError.Kind)])
  func `refuses malformed strings`(text: String, offset: Int, kind: JSONError.Kind) {
    #expect(throws: JSONError(kind: kind, offset: offset)) { try readJSON(text) }
  }

  @Test(
    arguments: [
      [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC3], [0xC3, 0x28], [0xE0, 0x80, 0x80],
      [0xE0, 0x9F, 0xBF], [0xE2, 0x82], [0xE2, 0x28, 0xA1], [0xE2, 0x82, 0x28], [0xED, 0xA0, 0x80],
      [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80], [0xF0, 0x8F, 0xBF, 0xBF], [0xF0, 0x9F, 0x98],
      [0xF0, 0x9F, 0x98, 0x28], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFE], [0xFF],
      [0xF8, 0x88, 0x80, 0x80, 0x80],
    ] as [[UInt8]])
  func `refuses what is not UTF-8`(sequence: [UInt8]) {
    let error = JSONError(kind: .invalidUTF8, offset: 3)
    #expect(throws: error) {
      try JSONReader.read(Array("[\"a".utf8) + sequence + Array("\"]".utf8))
    }
    #expect(throws: error) { try JSONReader.read(Array("[\"a".utf8) + sequence) }
    #expect(throws: JSONError(kind: .invalidUTF8, offset: 4)) {
      try JSONReader.read(Array("{\"\\n".utf8) + sequence + Array("\":1}".utf8))
    }
  }

  @Test func `accepts every scalar and no other code`() throws {
    let scalars = (UInt32(0x80)...0x10_FFFF).compactMap { Unicode.Scalar($0) }
    let text = String(String.UnicodeScalarView(scalars))
    #expect(try Array(readJSON("\"\(text)\"").stringValue?.utf8 ?? "".utf8) == Array(text.utf8))
    for code in Array(UInt32(0xD800)...0xDFFF)
      + Array(stride(from: 0x11_0000, to: 0x20_0000, by: 997))
    {
      let low = [0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F]
      let high =
        code < 0x10000 ? [0xE0 | code >> 12] : [0xF0 | code >> 18, 0x80 | code >> 12 & 0x3F]
      let bytes = (high + low).map { UInt8($0) }
      #expect(throws: JSONError(kind: .invalidUTF8, offset: 1)) {
        try JSONReader.read([0x22] + bytes + [0x22])
      }
    }
  }

  @Test func `errors are readable`() {
    func text(_ document: String) -> String {
      do { return "\(try readJSON(document))" } catch { return "\(error)" }
    }
    #expect(text("{\"a\":}") == "JSON: expected a value, found '}' at byte 5")
    #expect(text("[1") == "JSON: expected ',' or ']', found the end at byte 2")
    #expect(text("[\u{B}") == "JSON: expected a value, found byte 0x0B at byte 1")
    #expect(text("\"\n") == "JSON: control character byte 0x0A in a string at byte 1")
    #expect(text("\"\\uD800\"") == "JSON: half of a surrogate pair at byte 1")
    #expect(text("1e999") == "JSON: number out of range at byte 0")
    #expect(text(nested(33)) == "JSON: more than 32 levels at byte 32")
  }
}
