import CBOR
import Testing

@testable import DeviceSimulator

@Suite struct ValueTests {
  static let kinds: [SimulatedValue] = [
    .null, .bool(true), .bool(false), .int(0), .int(-1), .int(.max), .int(.min), .double(7), .double(-0.25),
    .double(1e300), .text(""), .text("Grüße \"\\\u{7}"), .bytes([0, 255]), .array([]), .array([.int(1), .array([.null])]),
    .map([]), .map([.init("b", .int(1)), .init("a", .map([.init("", .null)]))]),
  ]

  @Test("CBOR gives back each kind of value, map members in their order", arguments: kinds)
  func cborRoundTrip(_ value: SimulatedValue) throws {
    #expect(try SimulatedValue(cbor: value.cbor) == value)
  }

  @Test("JSON gives back each kind of value that it has")
  func jsonRoundTrip() throws {
    let value: SimulatedValue = [
      "a": [.null, .bool(true), .int(7), .int(.min), .double(-0.25), "é\n"], "b": [:], "c": [],
    ]
    #expect(try SimulatedValue(json: value.json()) == value)
  }

  @Test("JSON is written by name, whole doubles without fraction, bytes as base64")
  func jsonText() throws {
    let value: SimulatedValue = ["value": .double(1_337), "bytes": .bytes([1, 2, 3]), "path": "a/b"]
    #expect(String(decoding: try value.json(), as: UTF8.self) == #"{"bytes":"AQID","path":"a/b","value":1337}"#)
  }

  @Test("Integers beyond Int64, tags, undefined and indefinite lengths are understood")
  func leniency() throws {
    #expect(try SimulatedValue(cbor: [0x1b, 255, 255, 255, 255, 255, 255, 255, 255]) == .double(0x1p64))
    #expect(try SimulatedValue(cbor: [0x3b, 255, 255, 255, 255, 255, 255, 255, 255]) == .double(-0x1p64))
    #expect(try SimulatedValue(cbor: [0xc1, 0xc2, 0x07]) == .int(7))
    #expect(try SimulatedValue(cbor: [0x9f, 0xf7, 0xf9, 0x3c, 0x00, 0xff]) == [.null, .double(1)])
  }

  @Test(
    "Malformed CBOR throws",
    arguments: [[], [0xa1, 0x61], [0xa1, 0x01, 0x02], [0x9f], [0xff], [0x01, 0x02], [0xc1], [UInt8](repeating: 0x81, count: 9_999)])
  func malformedCBOR(_ bytes: [UInt8]) {
    #expect(throws: CBORError.self) { try SimulatedValue(cbor: bytes) }
  }

  @Test(
    "Malformed JSON throws, however deeply it is nested",
    arguments: ["", "{", "[1 2]", "{\"a\" 1}", "nul", String(repeating: "[", count: 100_000), "\u{0}"])
  func malformedJSON(_ text: String) {
    #expect(throws: (any Error).self) { try SimulatedValue(json: Array(text.utf8)) }
  }

  @Test("A value describes itself without control characters")
  func description() {
    let value: SimulatedValue = ["a": [.int(7), .double(7), .bytes([0, 255])], "b": "x\u{1b}[31m\u{9b}\"\\"]
    #expect(value.description == #"{"a":[7,7.0,h'00ff'],"b":"x\u001b[31m\u009b\"\\"}"#)
    #expect(SimulatedValue.array([.double(.nan), .double(-.infinity)]).description == "[NaN,-Infinity]")
  }
}

@Suite struct FunctionTests {
  @Test("multiply takes two numbers of either kind and answers a double")
  func multiply() async {
    for params: [SimulatedValue] in [
      [.double(7), .double(191)], [.int(7), .int(191)], [.int(7), .double(191)],
    ] {
      #expect(await SimulatedFunctions.multiply(params) == SimulatedResult(detail: ["value": .double(1_337)]))
    }
    for params: [SimulatedValue] in [[], [.int(7)], [.int(7), "191"], [.int(1), .int(2), .int(3)]] {
      #expect(await SimulatedFunctions.multiply(params) == SimulatedResult(status: 3))
    }
    #expect(await SimulatedFunctions.multiply([.double(1e300), .double(1e300)]).status == 11)
  }

  @Test("sleep refuses times that are negative, too long or no times")
  func sleep() async {
    for params: [SimulatedValue] in [[], [.int(-1)], [.int(3_601)], [.double(.nan)], ["1"], [.int(0), .int(0)]] {
      #expect(await SimulatedFunctions.sleep(params).status == 3)
    }
    #expect(await SimulatedFunctions.sleep([.int(0)]) == SimulatedResult(detail: ["slept": .int(0)]))
  }

  @Test("fail answers the status and the text that it is given")
  func fail() async {
    #expect(await SimulatedFunctions.fail([]).status == 13)
    #expect(
      await SimulatedFunctions.fail([.double(9), "paper"]) == SimulatedResult(status: 9, detail: ["error": "paper"]))
    #expect(await SimulatedFunctions.fail([.double(1e300)]).status == 3)
    #expect(await SimulatedFunctions.fail(["x"]).status == 3)
  }

  @Test("the panel has pins, a switch, a slider and a lamp")
  func panel() {
    let panel = SimulatedPanel()
    func pins(_ on: Int?) -> SimulatedResult {
      SimulatedResult(detail: .map((1...8).map { (pin: Int) in .init("\(pin)", .bool(pin == on)) }))
    }
    #expect(panel.result("getGpioStatus", ["{}"]) == pins(nil))
    #expect(panel.result("checkStatus", []) == SimulatedResult(detail: ["value": .bool(false)]))
    #expect(panel.result("setGpioStatus", [["pin": .int(8), "enabled": .bool(true)]]) == pins(8))
    #expect(panel.result("checkStatus", []) == SimulatedResult(detail: ["value": .bool(true)]))
    #expect(panel.result("setGpioStatus", [["pin": .double(8), "enabled": .bool(false)]]) == pins(nil))
    for wrong: [SimulatedValue] in [[], [["pin": .int(1)]], [["pin": .int(1), "enabled": .int(1)]], ["1"], [["pin": "1", "enabled": .bool(true)]]] {
      #expect(panel.result("setGpioStatus", wrong)?.status == 3)
    }
    for pin in [-1, 0, 9, Double.nan, 1e300] {
      #expect(panel.result("setGpioStatus", [["pin": .double(pin), "enabled": .bool(true)]])?.status == 11)
    }
    for (get, set, first) in [("getValue", "setValue", SimulatedValue.bool(false)), ("getState", "setState", .int(0))] {
      #expect(panel.result(get, []) == SimulatedResult(detail: ["value": first]))
      #expect(panel.result(set, [.double(21.5)]) == SimulatedResult(detail: ["value": .double(21.5)]))
      for wrong: [SimulatedValue] in [[], ["x"], [.null], [.int(1), .int(2)]] { #expect(panel.result(set, wrong)?.status == 3) }
      #expect(panel.result(get, [.null]) == SimulatedResult(detail: ["value": .double(21.5)]))
    }
    #expect(panel.result("reboot", []) == nil)
  }
}
