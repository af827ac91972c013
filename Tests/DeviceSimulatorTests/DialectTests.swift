import CoAP
import Testing

@testable import DeviceSimulator

extension CoAPResponse {
  fileprivate init(json text: String, format: ContentFormat? = .json) {
    self.init(.content, contentFormat: format, payload: Array(text.utf8))
    observe = 1
  }
}

extension CoAPClientRequest {
  fileprivate var text: String { String(decoding: payload, as: UTF8.self) }
}

@Suite struct GoliothDialectTests {
  private let cbor = GoliothDialect(SimulatedDevice(name: "sensor-1"))
  private let json = GoliothDialect(SimulatedDevice(name: "sensor-1", format: .json))

  @Test("The observe request has the name only without credentials, and asks for the format")
  func observeRequest() {
    let request = cbor.observeRequest
    #expect(request.method == .get && request.path == [".rpc"] && request.query == ["ep=sensor-1"])
    #expect(request.accept == .cbor && request.isConfirmable && request.payload.isEmpty)
    var device = SimulatedDevice(name: "sensor-1", format: .json)
    device.credentials = .preSharedKey(identity: "sensor-1@lab", key: "secret")
    #expect(GoliothDialect(device).observeRequest.query == [])
    #expect(GoliothDialect(device).observeRequest.accept == .json)
    #expect(cbor.keepAliveRequest?.method == .delete && cbor.keepAliveRequest?.path == [])
  }

  @Test("The first answer is the text OK, byte for byte")
  func firstAnswer() {
    #expect(cbor.problem(withFirst: CoAPResponse(.content, payload: [0x62, 0x4f, 0x4b])) == nil)
    #expect(json.problem(withFirst: CoAPResponse(json: #""OK""#)) == nil)
    #expect(json.problem(withFirst: CoAPResponse(json: "OK")) == "the server's first answer is not \"OK\": 2.05 OK")
    #expect(cbor.problem(withFirst: CoAPResponse(.valid)) != nil)
  }

  @Test("A result in CBOR is the firmware's, byte for byte")
  func goldenResult() throws {
    let push = CoAPResponse(
      .content, contentFormat: .cbor,
      payload: (["id": "multiply/74e4", "method": "multiply", "params": [.double(7), .double(191)]] as SimulatedValue).cbor)
    let call = try cbor.call(in: push)
    #expect(call == SimulatedCall(id: "multiply/74e4", method: "multiply", params: [.double(7), .double(191)]))
    let request = cbor.request(SimulatedResult(detail: ["value": .double(1_337)]), of: call)
    // As seen of golioth-firmware-sdk 0.22.0.
    #expect(
      request.payload == [0xbf, 0x62] + Array("id".utf8) + [0x6d] + Array("multiply/74e4".utf8)
        + [0x66] + Array("detail".utf8) + [0xbf, 0x65] + Array("value".utf8)
        + [0xfb, 0x40, 0x94, 0xe4, 0, 0, 0, 0, 0, 0xff, 0x6a] + Array("statusCode".utf8) + [0x00, 0xff])
    #expect(request.path == [".rpc", "status"])
    #expect(request.contentFormat == .cbor)
  }

  @Test("A result in JSON is the documentation's; what JSON cannot express becomes INTERNAL")
  func jsonResult() throws {
    let call = try json.call(in: CoAPResponse(json: #"{"id":"f/1","method":"f","params":[]}"#))
    #expect(json.request(SimulatedResult(status: 5), of: call).text == #"{"id":"f/1","status":5}"#)
    #expect(json.request(SimulatedResult(detail: .double(.nan)), of: call).text == #"{"id":"f/1","status":13}"#)
  }

  @Test(
    "What the firmware would drop is no call",
    arguments: [
      "{}", "null", #"{"id":1,"method":"f","params":[]}"#, #"{"id":"f/1","params":[]}"#, #"{"id":"f/1","method":"f"}"#,
      #"{"id":"f/1","method":"f","params":{}}"#,
    ])
  func noCall(_ text: String) {
    #expect(throws: NoCall("it has not an id, a method and a list of params")) { try json.call(in: CoAPResponse(json: text)) }
  }

  @Test("A call in another format, or in none, is dropped")
  func otherFormat() {
    let text = #"{"id":"f/1","method":"f","params":[]}"#
    #expect(throws: NoCall("it is not application/cbor (60)")) { try cbor.call(in: CoAPResponse(json: text)) }
    #expect(throws: NoCall("it is not application/json (50)")) { try json.call(in: CoAPResponse(json: text, format: nil)) }
    #expect(throws: NoCall("it is not well-formed")) { try json.call(in: CoAPResponse(json: "{")) }
  }
}

@Suite struct ThingsBoardDialectTests {
  private static func device(token: String? = "A1_TEST_TOKEN") -> SimulatedDevice {
    var device = SimulatedDevice(name: "sensor-1")
    device.dialect = .thingsboard
    device.accessToken = token
    return device
  }

  private let dialect = ThingsBoardDialect(device())

  /// The body of the answer to call 12.
  private func body(_ result: SimulatedResult) -> String {
    dialect.request(result, of: SimulatedCall(id: "12", method: "f", params: [])).text
  }

  @Test("A device has the dialect that it is given, Golioth's by default")
  func choice() {
    #expect(SimulatedDevice(name: "sensor-1").messages is GoliothDialect)
    #expect(Self.device().messages is ThingsBoardDialect)
  }

  @Test("The observe request is a bare confirmable GET of the token's path, and there is no keep-alive")
  func observeRequest() {
    let request = dialect.observeRequest
    #expect(request.method == .get && request.path == ["api", "v1", "A1_TEST_TOKEN", "rpc"] && request.isConfirmable)
    #expect(request.query.isEmpty && request.accept == nil && request.contentFormat == nil && request.payload.isEmpty)
    #expect(dialect.keepAliveRequest == nil)
  }

  @Test("Without token the name is the token, and with credentials there is none")
  func paths() {
    let call = SimulatedCall(id: "12", method: "f", params: [])
    var device = Self.device(token: nil)
    #expect(ThingsBoardDialect(device).observeRequest.path == ["api", "v1", "sensor-1", "rpc"])
    device.credentials = .preSharedKey(identity: "sensor-1@lab", key: "secret")
    #expect(ThingsBoardDialect(device).observeRequest.path == ["api", "v1", "rpc"])
    #expect(ThingsBoardDialect(device).request(SimulatedResult(), of: call).path == ["api", "v1", "rpc", "12"])
    device.accessToken = "T"
    #expect(ThingsBoardDialect(device).observeRequest.path == ["api", "v1", "T", "rpc"])
    #expect(ThingsBoardDialect(device).request(SimulatedResult(), of: call).path == ["api", "v1", "T", "rpc", "12"])
  }

  @Test("The first answer is 2.03 without payload; others that succeed do as well")
  func firstAnswer() {
    #expect(dialect.problem(withFirst: CoAPResponse(.valid)) == nil)
    #expect(dialect.problem(withFirst: CoAPResponse(.content, payload: [0x7b, 0x7d])) == nil)
  }

  @Test("The documented call is read, with Content-Format 50 and without", arguments: [ContentFormat.json, nil])
  func goldenCall(_ format: ContentFormat?) throws {
    let push = CoAPResponse(json: #"{"id":0,"method":"setGpio","params":{"pin":"26","value":1}}"#, format: format)
    #expect(
      try dialect.call(in: push)
        == SimulatedCall(id: "0", method: "setGpio", params: [["pin": "26", "value": .int(1)]]))
  }

  @Test(
    "A list of params is taken as it is, null as none, anything else as the only one",
    arguments: [
      ("null", []), ("[]", []), ("[7,191]", [.int(7), .int(191)]), ("[[1]]", [[.int(1)]]), ("[null]", [.null]), ("{}", [[:]]),
      (#""{}""#, ["{}"]), ("true", [.bool(true)]), ("0", [.int(0)]), ("21.5", [.double(21.5)]), (#""""#, [""]),
    ] as [(String, [SimulatedValue])])
  func params(_ text: String, _ params: [SimulatedValue]) throws {
    #expect(try dialect.call(in: CoAPResponse(json: #"{"id":12,"method":"f","params":\#(text)}"#)).params == params)
  }

  @Test(
    "What is not a call is dropped",
    arguments: [
      "{}", "[]", "null", "12", #"{"id":"12","method":"f","params":null}"#, #"{"id":1.5,"method":"f","params":null}"#,
      #"{"id":true,"method":"f","params":null}"#, #"{"id":null,"method":"f","params":null}"#, #"{"id":12,"params":null}"#,
      #"{"id":12,"method":7,"params":null}"#, #"{"id":12,"method":"f"}"#, #"{"method":"f","params":null}"#,
      #"{"id":1e300,"method":"f","params":null}"#,
    ])
  func noCall(_ text: String) {
    #expect(throws: NoCall("it has not an id that is a whole number, a method and params")) {
      try dialect.call(in: CoAPResponse(json: text))
    }
  }

  @Test(
    "Malformed JSON is dropped", arguments: ["", "{", #"{"id":12,"method":"f","params":}"#, "\u{0}", String(repeating: "[", count: 100_000)])
  func malformed(_ text: String) {
    #expect(throws: NoCall("it is not well-formed")) { try dialect.call(in: CoAPResponse(json: text)) }
  }

  @Test("A call in another format or with another code is dropped")
  func otherFormat() {
    let text = #"{"id":12,"method":"f","params":null}"#
    #expect(throws: NoCall("it is not application/json (50)")) {
      try dialect.call(in: CoAPResponse(json: text, format: .octetStream))
    }
    var push = CoAPResponse(json: text)
    push.code = .valid
    #expect(throws: NoCall("it is not 2.05 but 2.03")) { try dialect.call(in: push) }
  }

  @Test("A result is a JSON object, POSTed to the path of its call")
  func results() {
    let request = dialect.request(
      SimulatedResult(detail: ["value": .double(1_337)]), of: SimulatedCall(id: "12", method: "multiply", params: []))
    #expect(request.method == .post && request.path == ["api", "v1", "A1_TEST_TOKEN", "rpc", "12"])
    #expect(request.contentFormat == .json && request.query.isEmpty && request.observe == nil)
    #expect(request.text == #"{"value":1337}"#)
    #expect(body(SimulatedResult()) == "{}")
    #expect(body(SimulatedResult(detail: .null)) == #"{"value":null}"#)
    #expect(body(SimulatedResult(detail: [.int(1)])) == #"{"value":[1]}"#)
    #expect(body(SimulatedResult(detail: "a")) == #"{"value":"a"}"#)
    #expect(body(SimulatedResult(detail: [:])) == "{}")
  }

  @Test("A failure tells its error and its status in the object")
  func failures() {
    #expect(body(SimulatedResult(status: 9, detail: ["error": "out of paper"])) == #"{"error":"out of paper","status":9}"#)
    #expect(body(SimulatedResult(status: 9, detail: "out of paper")) == #"{"error":"out of paper","status":9}"#)
    #expect(body(SimulatedResult(status: 9, detail: ["error": "a", "at": .int(1)])) == #"{"error":{"at":1,"error":"a"},"status":9}"#)
    #expect(body(.notFound) == #"{"error":"NOT_FOUND","status":5}"#)
    #expect(body(SimulatedResult(status: -1)) == #"{"error":"status -1","status":-1}"#)
    // JSON has no number that is not finite.
    #expect(body(SimulatedResult(detail: .double(.nan))) == #"{"error":"INTERNAL","status":13}"#)
    #expect(body(SimulatedResult(status: 9, detail: .double(.nan))) == #"{"error":"INTERNAL","status":13}"#)
  }

  @Test(
    "The panel understands what ThingsBoard's widgets send",
    arguments: [
      ("getGpioStatus", #""{}""#, #"{"1":false,"2":false,"3":false,"4":false,"5":false,"6":false,"7":false,"8":false}"#),
      (
        "setGpioStatus", #"{"pin":1,"enabled":true}"#,
        #"{"1":true,"2":false,"3":false,"4":false,"5":false,"6":false,"7":false,"8":false}"#
      ),
      ("getValue", "null", #"{"value":false}"#), ("setValue", "true", #"{"value":true}"#), ("setValue", "21.5", #"{"value":21.5}"#),
      ("getState", "null", #"{"value":0}"#), ("setState", "40", #"{"value":40}"#), ("checkStatus", "null", #"{"value":false}"#),
    ])
  func widgets(_ method: String, _ params: String, _ reply: String) throws {
    let call = try dialect.call(in: CoAPResponse(json: #"{"id":12,"method":"\#(method)","params":\#(params)}"#))
    let result = try #require(SimulatedPanel().result(call.method, call.params))
    #expect(dialect.request(result, of: call).text == reply)
  }

  @Test("An access token has 1 to 255 bytes", arguments: [("", 0), (String(repeating: "é", count: 128), 256)])
  func accessToken(_ token: String, _ bytes: Int) {
    #expect(throws: SimulatorError.notAnAccessToken(bytes: bytes)) { try Self.device(token: token).address() }
    #expect(throws: Never.self) { try Self.device(token: String(repeating: "a", count: 255)).address() }
  }
}
