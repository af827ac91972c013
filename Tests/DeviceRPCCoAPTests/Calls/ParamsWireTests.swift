import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Calls as they go over the wire, byte for byte.
@Suite struct ParamsWireTests {
  struct Sample {
    let params: RPCValue
    let json: String
    let floats: String
    let asWritten: String

    init(_ params: RPCValue, _ json: String, _ floats: String, asWritten: String? = nil) {
      self.params = params
      self.json = json
      self.floats = floats.filter { $0 != " " }
      self.asWritten = (asWritten ?? floats).filter { $0 != " " }
    }
  }

  static let samples = [
    Sample([], "[]", "80"),
    Sample([7], "[7]", "81 fb401c000000000000", asWritten: "81 07"),
    Sample([-1, 500], "[-1,500]", "82 fbbff0000000000000 fb407f400000000000", asWritten: "82 20 1901f4"),
    Sample([1.5], "[1.5]", "81 fb3ff8000000000000"),
    Sample([9_007_199_254_740_992], "[9007199254740992]", "81 fb4340000000000000", asWritten: "81 1b0020000000000000"),
    Sample([.unsigned(1 << 63)], "[9223372036854775808]", "81 fb43e0000000000000", asWritten: "81 1b8000000000000000"),
    Sample([.integer(.min)], "[-9223372036854775808]", "81 fbc3e0000000000000", asWritten: "81 3b7fffffffffffffff"),
    Sample(["héllo\n"], #"["héllo\n"]"#, "81 6768c3a96c6c6f0a"),
    Sample([true, false, nil], "[true,false,null]", "83 f5 f4 f6"),
    Sample([""], #"[""]"#, "81 60"),
    Sample([[], [:]], "[[],{}]", "82 80 a0"),
    Sample(
      [[1, ["a": ["b", nil]]]], #"[[1,{"a":["b",null]}]]"#,
      "81 82 fb3ff0000000000000 a1 6161 82 6162 f6", asWritten: "81 82 01 a1 6161 82 6162 f6"),
  ]

  @Test("Numbers, strings, booleans, null and what they nest in leave in JSON as they are written")
  func json() async throws {
    try await expect(format: RawDevice.json, .forTests) { sample, id in
      Array(#"{"id":"\#(id)","method":"f","params":\#(sample.json)}"#.utf8)
    }
  }

  @Test("They leave in CBOR with every number a double")
  func cbor() async throws {
    try await expect(format: RawDevice.cbor, .forTests) { sample, id in
      [UInt8](hex: "a3 626964 66") + Array(id.utf8) + [UInt8](hex: "666d6574686f64 6166 66706172616d73" + sample.floats)
    }
  }

  @Test("A device that is set to numbers as they are written gets integers in CBOR, the others do not")
  func asWritten() async throws {
    var configuration = CoAPConfiguration.forTests
    configuration.devices["sensor-1"] = GoliothSettings()
    configuration.devices["sensor-1"]?.numbers = .asWritten
    try await expect(format: RawDevice.cbor, configuration) { sample, id in
      [UInt8](hex: "a3 626964 66") + Array(id.utf8) + [UInt8](hex: "666d6574686f64 6166 66706172616d73" + sample.asWritten)
    }
    try await withServer(configuration) { server, address in
      let other = try RawDevice(to: address, name: "sensor-2", format: RawDevice.cbor)
      try await other.observe()
      async let result = server.device(other.name).call("f", 7)
      let call = try await other.receiveCall()
      #expect(call.payload.hex.hasSuffix("81fb401c000000000000"))
      _ = try await other.post(#"{"id":"\#(call.id)","status":0}"#)
      _ = try await result
    }
  }

  private func expect(
    format: Int, _ configuration: CoAPConfiguration, _ payload: (Sample, String) -> [UInt8]
  ) async throws {
    try await withServer(configuration) { server, address in
      let device = try RawDevice(to: address, format: format)
      try await device.observe()
      for (number, sample) in Self.samples.enumerated() {
        let id = "f/" + String(0x74e4 + number, radix: 16)
        async let result = server.perform(Call("f", params: sample.params), on: device.name)
        let call = try await device.receiveCall()
        #expect(call.payload.hex == payload(sample, id).hex, "\(sample.params)")
        #expect(call.id == id)
        #expect(call.options.map(\.number) == [6, 12])
        _ = try await device.post(#"{"id":"\#(id)","status":0}"#)
        _ = try await result
      }
    }
  }

  @Test("What a format cannot carry as it is gets refused, with the setting that helps, and what it can goes out")
  func inexact() async throws {
    var configuration = CoAPConfiguration.forTests
    configuration.devices["integers"] = GoliothSettings()
    configuration.devices["integers"]?.numbers = .asWritten
    try await withServer(configuration) { server, address in
      let all = [("json", RawDevice.json), ("floats", RawDevice.cbor), ("integers", RawDevice.cbor)]
      let devices = try all.map { try RawDevice(to: address, name: $0.0, format: $0.1) }
      for device in devices { try await device.observe() }
      // The value, the devices that can have it and what it looks like there; what is said elsewhere.
      let cases: [(value: RPCValue, sent: [String: String], reason: String)] = [
        (9_007_199_254_740_993, ["json": "5b393030373139393235343734303939335d", "integers": "811b0020000000000001"], "--numbers as-written"),
        (-9_007_199_254_740_993, ["json": "5b2d393030373139393235343734303939335d", "integers": "813b0020000000000000"], "--numbers as-written"),
        (.unsigned(.max), ["json": "5b31383434363734343037333730393535313631355d", "integers": "811bffffffffffffffff"], "--numbers as-written"),
        ([["a": 9_007_199_254_740_993]], ["json": "", "integers": ""], "--numbers as-written"),
        (.double(.infinity), ["floats": "81fb7ff0000000000000", "integers": "81fb7ff0000000000000"], "NaN or infinity"),
        (.bytes([1, 2, 255]), ["floats": "81430102ff", "integers": "81430102ff"], "byte string"),
      ]
      for (value, sent, reason) in cases {
        for device in devices {
          guard let hex = sent[device.name] else {
            guard case .invalidCall(let text) = await failure({ try await server.device(device.name).call("f", value) }) else {
              Issue.record("\(value) went to \(device.name)")
              continue
            }
            #expect(text.contains(reason))
            continue
          }
          async let result = server.device(device.name).call("f", value)
          let call = try await device.receiveCall()
          #expect(call.payload.hex.contains(hex), "\(value) to \(device.name)")
          _ = try await device.post(#"{"id":"\#(call.id)","status":0}"#)
          _ = try await result
        }
      }
    }
  }

  @Test("What firmware would drop without a word is refused before it is sent")
  func refusals() async throws {
    try await withServer { server, address in
      let json = try RawDevice(to: address, name: "json")
      let cbor = try RawDevice(to: address, name: "cbor", format: RawDevice.cbor)
      try await json.observe()
      try await cbor.observe()
      for params: RPCValue in [["a": 1], nil, 7, [.string(String(repeating: "x", count: 1_200))]] {
        for name in ["json", "cbor"] {
          let error = await failure { try await server.perform(Call("f", params: params), on: name) }
          guard case .invalidCall = error else {
            Issue.record("\(params) to \(name): \(String(describing: error))")
            continue
          }
        }
      }
      try await json.expectNothingElse()
      try await cbor.expectNothingElse()
    }
  }
}
