import Testing

@testable import DeviceRPC

func writeJSON(_ value: RPCValue) throws(JSONWriteError) -> String {
  var bytes: [UInt8] = []
  try JSONWriter.write(value, to: &bytes)
  return String(decoding: bytes, as: UTF8.self)
}

@Suite struct JSONWriterTests {
  @Test func `writes a call in the order of its members`() throws {
    let call: RPCValue = ["id": "multiply/74e4", "method": "multiply", "params": [7, 191]]
    #expect(try writeJSON(call) == #"{"id":"multiply/74e4","method":"multiply","params":[7,191]}"#)
  }

  @Test func `appends to what is there`() throws {
    var bytes: [UInt8] = [0x41]
    try JSONWriter.write([1], to: &bytes)
    #expect(bytes == Array("A[1]".utf8))
  }

  @Test(
    arguments: [
      (.null, "null"), (true, "true"), (false, "false"), ([], "[]"), ([:], "{}"), ("", "\"\""),
      (.integer(.min), "-9223372036854775808"), (.integer(.max), "9223372036854775807"),
      (.unsigned(1 << 63), "9223372036854775808"), (.unsigned(.max), "18446744073709551615"),
      (7, "7"), (7.0, "7.0"), (.double(-0.0), "-0.0"), (0.1, "0.1"), (1e20, "1e+20"),
      (1e-7, "1e-07"), (.double(.leastNonzeroMagnitude), "5e-324"),
      (.double(.greatestFiniteMagnitude), "1.7976931348623157e+308"), (1337.25, "1337.25"),
      ([nil, [[:]], ["a": []]], "[null,[{}],{\"a\":[]}]"),
    ] as [(RPCValue, String)])
  func `writes compactly`(value: RPCValue, expected: String) throws {
    #expect(try writeJSON(value) == expected)
  }

  @Test(arguments: [
    ("\"\\/", #""\"\\/""#), ("\u{8}\t\n\u{C}\r", #""\b\t\n\f\r""#),
    ("\0\u{1F}", #""\u0000\u001f""#),
    ("\u{7F}\u{80}\u{9B}\u{9F}\u{A0}", #""\u007f\u0080\u009b\u009f"# + "\u{A0}\""),
    ("é€😀", "\"é€😀\""), ("a\nb\u{85}c", #""a\nb\u0085c""#), ("Â", "\"Â\""),
    ("a long text without anything to escape", "\"a long text without anything to escape\""),
  ])
  func `escapes control characters only`(text: String, expected: String) throws {
    #expect(try writeJSON(.string(text)) == expected)
    #expect(try writeJSON([text: 1].value) == "{\(expected):1}")
    #expect(try readJSON(expected) == .string(text))
  }

  @Test func `refuses byte strings and says where`() {
    let error = #expect(throws: JSONWriteError.self) { try writeJSON(["params": [.bytes([1])]]) }
    #expect(error?.description == "JSON cannot express a byte string, at params[0]")
  }

  @Test func `what JSON does not have is shown in a notation of its own`() {
    let value: RPCValue = [.bytes([0, 1, 255]), .bytes([]), .double(.nan), .double(.infinity), .double(-.infinity), "NaN"]
    #expect(value.description == #"[h'0001ff',h'',NaN,Infinity,-Infinity,"NaN"]"#)
  }

  @Test(arguments: [Double.nan, .signalingNaN, .infinity, -.infinity])
  func `refuses NaN and infinities and says where`(number: Double) {
    #expect(throws: JSONWriteError(kind: .notFinite, path: "")) { try writeJSON(.double(number)) }
    let value: RPCValue = ["id": "x", "params": [1, ["gain": [[.double(number)]]]]]
    let error = #expect(throws: JSONWriteError.self) { try writeJSON(value) }
    #expect(error?.description == "JSON cannot express NaN or infinity, at params[1].gain[0][0]")
  }

  @Test func `writes 32 levels and refuses more`() throws {
    let value = (0..<31).reduce(RPCValue.array([])) { inner, _ in [inner] }
    #expect(try writeJSON(value) == nested(32))
    let error = #expect(throws: JSONWriteError.self) { try writeJSON([value]) }
    #expect(error?.kind == .tooDeep(limit: 32))
    #expect(error?.path == String(repeating: "[0]", count: 32))
  }

  @Test func `the form for people is indented`() throws {
    let value: RPCValue = ["value": 1337, "list": [1, ["a": nil]], "none": [], "empty": [:]]
    let expected = """
      {
        "value": 1337,
        "list": [
          1,
          {
            "a": null
          }
        ],
        "none": [],
        "empty": {}
      }
      """
    #expect(try JSONWriter.pretty(value) == expected)
    #expect(try readJSON(expected) == value)
    #expect(try JSONWriter.pretty(7.0) == "7.0")
    #expect(throws: JSONWriteError.self) { try JSONWriter.pretty(.double(.nan)) }
  }
}

extension [String: RPCValue] {
  fileprivate var value: RPCValue { .object(RPCObject(map { ($0.key, $0.value) })) }
}
