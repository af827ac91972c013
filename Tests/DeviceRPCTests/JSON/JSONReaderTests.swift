import Testing

@testable import DeviceRPC

func readJSON(_ text: String, limits: JSONLimits = .standard) throws(JSONError) -> RPCValue {
  try JSONReader.read(Array(text.utf8), limits: limits)
}

func nested(_ depth: Int) -> String {
  String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
}

@Suite struct JSONReaderTests {
  @Test func `reads a result`() throws {
    let value = try readJSON(#"{"id":"multiply/74e4","status":0,"detail":{"value":1337}}"#)
    #expect(value == ["id": "multiply/74e4", "status": 0, "detail": ["value": 1337]])
    #expect(value.objectValue?.keys == ["id", "status", "detail"])
  }

  @Test(
    arguments: [
      ("null", .null), ("true", true), ("false", false), ("\"\"", ""), ("[]", []), ("{}", [:]),
      (" \t\r\n[ 1 , 2 ] \n", [1, 2]), ("{ \"a\" : { \"b\" : [ ] } }", ["a": ["b": []]]),
      ("[[],{},\"\",null]", [[], [:], "", nil]), ("{\"\":0}", ["": 0]),
      ("{\"a\":1,\"a\":2}", ["a": 2]), ("{\"a\":1,\"b\":2,\"\\u0061\":3}", ["a": 3, "b": 2]),
      ("[\"a\",\"b\"]", ["a", "b"]), ("\"\u{7F}\"", "\u{7F}"),
    ] as [(String, RPCValue)])
  func `reads well-formed documents`(text: String, expected: RPCValue) throws {
    #expect(try readJSON(text) == expected)
  }

  @Test(
    arguments: [
      ("7", .integer(7)), ("7.0", .double(7)), ("7e0", .double(7)), ("0", .integer(0)),
      ("-7", .integer(-7)), ("1E2", .double(100)), ("1e+2", .double(100)),
      ("1.5e-3", .double(0.0015)),
      ("9223372036854775807", .integer(.max)), ("9223372036854775808", .unsigned(1 << 63)),
      ("18446744073709551615", .unsigned(.max)), ("18446744073709551616", .double(0x1p64)),
      ("-9223372036854775808", .integer(.min)), ("-18446744073709551616", .double(-0x1p64)),
      ("100000000000000000000", .double(1e20)), ("100000000000000000000000000.0", .double(1e26)),
      ("0.1", .double(0.1)),
      ("123456789012345678901234567890e-10", .double(12345678901234567890.0)),
      ("1.7976931348623157e308", .double(.greatestFiniteMagnitude)),
      ("5e-324", .double(.leastNonzeroMagnitude)), ("1e-999", .double(0)),
      ("0e999999999999", .double(0)),
      ("2.2250738585072011e-308", .double(.leastNormalMagnitude.nextDown)),
    ] as [(String, RPCValue)])
  func `reads numbers as they were written`(text: String, expected: RPCValue) throws {
    #expect(try readJSON(text) == expected)
    #expect(try readJSON("[\(text)]") == [expected])
    #expect(try readJSON("{\"a\":\(text)}") == ["a": expected])
  }

  @Test(arguments: ["-0", "-0.0", "-0e1", "-1e-999"])
  func `negative zero keeps its sign`(text: String) throws {
    let number = try #require(readJSON(text).doubleValue)
    #expect(number.bitPattern == (-0.0).bitPattern)
  }

  @Test func `a number of a million digits is read or refused, not trapped on`() throws {
    let digits = String(repeating: "1", count: 1_000_000)
    #expect(throws: JSONError(kind: .numberOutOfRange, offset: 0)) { try readJSON(digits) }
    #expect(try readJSON("0." + digits).doubleValue == 0.1111111111111111111)
    #expect(try readJSON(digits + "e-999999").doubleValue == 1.1111111111111111111)
  }

  @Test(arguments: [
    (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{C}\n\r\t"), (#""\u0000""#, "\0"), (#""\u00e9""#, "é"),
    (#""\uD83D\uDE00""#, "😀"), (#""\ud83d\ude00x""#, "😀x"),
    (#""\uFFFF\uFFFE""#, "\u{FFFF}\u{FFFE}"),
    (#""a\u20ACb\u0041""#, "a€bA"), (#""\uDBFF\uDFFF""#, "\u{10FFFF}"),
    (#""\u005C\u0022""#, "\\\""),
    ("\"é€😀\u{10FFFF}\u{FEFF}\u{2028}\"", "é€😀\u{10FFFF}\u{FEFF}\u{2028}"),
    (#""é\né""#, "é\né"), (#""\u005c/""#, "\\/"),
  ])
  func `reads escapes and Unicode`(text: String, expected: String) throws {
    #expect(try readJSON(text).stringValue.map { Array($0.utf8) } == Array(expected.utf8))
    let member = try readJSON("{\(text):\(text)}").objectValue?.first { _ in true }
    #expect(member?.key == expected)
  }

  @Test func `reads memory in place, of any alignment`() throws {
    let bytes = Array(#"xx[{"a":1}]xx"#.utf8)
    let value = try bytes.withUnsafeBytes { whole in
      try JSONReader.read(UnsafeRawBufferPointer(rebasing: whole[2..<11]))
    }
    #expect(value == [["a": 1]])
    #expect(throws: JSONError(kind: .unexpectedEnd(expected: .value), offset: 0)) {
      try JSONReader.read(UnsafeRawBufferPointer(start: nil, count: 0))
    }
  }

  @Test func `reads 50,000 members`() throws {
    let members = (0..<50_000).map { "\"key\($0)\":\($0)" }.joined(separator: ",")
    let value = try readJSON("{\(members)}")
    #expect(value.objectValue?.count == 50_000)
    #expect(value["key49999"] == 49_999)
    var bytes: [UInt8] = []
    try JSONWriter.write(value, to: &bytes)
    #expect(try JSONReader.read(bytes) == value)
  }
}

@Suite struct JSONReaderLimitTests {
  @Test func `32 levels are read, 33 are not`() throws {
    #expect(try readJSON(nested(32)).arrayValue?.count == 1)
    #expect(throws: JSONError(kind: .tooDeep(limit: 32), offset: 32)) { try readJSON(nested(33)) }
    let objects = String(repeating: "{\"a\":", count: 100_000)
    #expect(throws: JSONError(kind: .tooDeep(limit: 32), offset: 160)) { try readJSON(objects) }
  }

  @Test func `a limit that would exhaust the stack is lowered`() {
    #expect(JSONLimits(maxDepth: .max).maxDepth == 128)
    #expect(JSONLimits(maxDepth: -1).maxDepth == 0)
    #expect(throws: JSONError(kind: .tooDeep(limit: 128), offset: 128)) {
      try readJSON(nested(1_000_000), limits: JSONLimits(maxDepth: .max))
    }
  }

  @Test func `no level at all still allows a scalar`() throws {
    let limits = JSONLimits(maxDepth: 0)
    #expect(try readJSON("1", limits: limits) == 1)
    #expect(throws: JSONError(kind: .tooDeep(limit: 0), offset: 1)) {
      try readJSON(" []", limits: limits)
    }
  }

  @Test func `65,536 values are read, one more is not`() throws {
    let numbers = String(repeating: "0,", count: 65_534)
    #expect(try readJSON("[\(numbers)0]").arrayValue?.count == 65_535)
    #expect(throws: JSONError(kind: .tooManyItems(limit: 65_536), offset: 131_071)) {
      try readJSON("[\(numbers)0,0]")
    }
  }

  @Test func `every value counts against the limit of values`() throws {
    let limits = JSONLimits(maxItems: 3)
    #expect(try readJSON("{\"a\":[1]}", limits: limits) == ["a": [1]])
    #expect(throws: JSONError(kind: .tooManyItems(limit: 3), offset: 8)) {
      try readJSON("{\"a\":[1,2]}", limits: limits)
    }
    #expect(throws: JSONError(kind: .tooManyItems(limit: 0), offset: 0)) {
      try readJSON("1", limits: JSONLimits(maxItems: 0))
    }
  }
}
