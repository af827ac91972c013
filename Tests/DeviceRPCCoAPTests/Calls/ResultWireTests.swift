import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// What devices answer, in every form that they may choose.
@Suite struct ResultWireTests {
  static let statuses = Array(0...16) + [99]

  @Test("Each status arrives, as status and as statusCode, in JSON")
  func statusesInJSON() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      for status in Self.statuses {
        for key in ["status", "statusCode"] {
          async let result = server.perform(Call("f"), on: device.name)
          let call = try await device.receiveCall()
          let answer = try await device.post(#"{"id":"\#(call.id)","\#(key)":\#(status),"detail":{}}"#)
          #expect(answer.code == .changed && answer.payload.isEmpty)
          #expect(try await result.status.rawValue == status)
          #expect(try await result.detail == [:])
        }
      }
    }
  }

  @Test("Each status arrives, as status and as statusCode, in CBOR")
  func statusesInCBOR() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address, format: RawDevice.cbor)
      try await device.observe()
      for status in Self.statuses {
        let code = (status < 24 ? [] : [0x18]) + [UInt8(status)]
        for key in ["66737461747573", "6a737461747573436f6465"] {
          async let result = server.perform(Call("f"), on: device.name)
          let call = try await device.receiveCall()
          let id = [0x60 | UInt8(call.id.utf8.count)] + Array(call.id.utf8)
          let payload = [0xa2, 0x62, 0x69, 0x64] + id + [UInt8](hex: key) + code
          #expect(try await device.post(payload).code == .changed)
          #expect(try await result.status.rawValue == status)
          #expect(try await result.detail == nil)
        }
      }
    }
  }

  @Test("A status other than OK is thrown with the device's detail")
  func refusal() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let error = failure { try await server.device(device.name).call("f") }
      let call = try await device.receiveCall()
      _ = try await device.post(#"{"id":"\#(call.id)","statusCode":3,"detail":{"why":"no"}}"#)
      guard case .refused(let result) = await error else {
        Issue.record("not refused")
        return
      }
      #expect(result.status == .invalidArgument && result.detail == ["why": "no"])
    }
  }

  /// The detail as CBOR, and what the caller gets.
  static let details: [(hex: String, value: RPCValue)] = [
    ("bf 6576616c7565 19 0539 ff", ["value": 1_337]),
    ("a1 6576616c7565 fa 44a72000", ["value": .double(1_337)]),
    ("9f 01 f9 3e00 fb 3ff8000000000000 ff", [1, 1.5, 1.5]),
    ("f9 7c00", .double(.infinity)),
    ("fa c7c35000", .double(-100_000)),
    ("7f 62 6162 61 63 ff", "abc"),
    ("5f 42 0102 41 03 ff", .bytes([1, 2, 3])),
    ("c0 74 323031332d30332d32315432303a30343a30305a", "2013-03-21T20:04:00Z"),
    ("d9d9f7 82 20 3903e7", [-1, -1_000]),
    ("c2 49 00ffffffffffffffff", .unsigned(.max)), ("c3 48 7fffffffffffffff", .integer(.min)), ("d9d9f7 c2 40", 0),
    ("3b 7fffffffffffffff", .integer(.min)), ("c1 1a 6553f100", 1_700_000_000), ("d9d9f7 41 07", .bytes([7])),
    ("f6", nil), ("f5", true), ("80", []), ("a0", [:]), ("bf ff", [:]),
    ("1b ffffffffffffffff", .unsigned(.max)),
    ("83 f4 a1 61 61 81 a1 61 62 f6 60", [false, ["a": [["b": nil]]], ""]),
  ]

  @Test("Details arrive in every encoding that CBOR has for them")
  func encodings() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address, format: RawDevice.cbor)
      try await device.observe()
      for (hex, value) in Self.details {
        async let result = server.device(device.name).call("f")
        let call = try await device.receiveCall()
        let id = Array(call.id.utf8)
        // Indefinite maps as the firmware writes them, the id in two chunks of text.
        let payload =
          [UInt8](hex: "bf 6664657461696c") + [UInt8](hex: hex) + [UInt8](hex: "6a737461747573436f6465 f9 0000 62 6964")
          + [0x7f, 0x62] + id.prefix(2) + [0x60 | UInt8(id.count - 2)] + id.dropFirst(2) + [0xff, 0xff]
        #expect(try await device.post(payload).code == .changed, "\(hex)")
        #expect(try await result.detail == value, "\(hex)")
      }
    }
  }

  /// Details whose value has no place in what the caller gets.
  static let unkeepable = [
    "c2 49 010000000000000000", "c3 48 8000000000000000", "3b 8000000000000000", "3b ffffffffffffffff", "f7", "f0", "f8 20", "f8 ff",
    "a1 01 02", "81 f7", "a1 6161 a1 f6 00", "a1 6161 81 c2 49 ffffffffffffffffff", "c2 01", "d9d9f7 c3 f6",
  ]

  @Test("A detail that cannot be kept as it is gets 4.00, and is never another value; what nobody reads is passed over")
  func unkeepable() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address, format: RawDevice.cbor)
      try await device.observe()
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      let id = [UInt8](hex: "62 6964 66") + Array(call.id.utf8)
      for hex in Self.unkeepable {
        let payload = [UInt8](hex: "a3") + id + [UInt8](hex: "66 737461747573 00 66 64657461696c") + [UInt8](hex: hex)
        let answer = try await device.post(payload)
        #expect(answer.code == .badRequest && answer.text.hasPrefix("CBOR: "), "\(hex): \(answer.text)")
      }
      for json in ["18446744073709551617", "-9223372036854775809", "123456789012345678901234567890123456789012345", "[1e999]"] {
        #expect(try await device.post(#"{"id":"\#(call.id)","status":0,"detail":\#(json)}"#).code == .badRequest, "\(json)")
      }
      let extra = [UInt8](hex: "a3") + id + [UInt8](hex: "65 6f74686572 81 a1 01 f7 66 737461747573 00")
      #expect(try await device.post(extra).code == .changed)
      #expect(try await result.detail == nil)
    }
  }

  @Test("A result without Content-Format is looked at, and a device may answer in the other format")
  func formats() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      for format in [nil, RawDevice.cbor, nil] {
        async let result = server.device(device.name).call("f")
        let call = try await device.receiveCall()
        var packet = device.result([])
        packet.options.removeAll { $0.number == 12 }
        if let format {
          packet.options.append((12, Packet.uint(format)))
          packet.payload = [UInt8](hex: "a2 6673746174757300 626964") + [0x60 | UInt8(call.id.utf8.count)] + call.id.utf8
        } else {
          packet.payload = Array(" \n{\"status\":0,\"id\":\"\(call.id)\"}".utf8)
        }
        #expect(try await device.exchange(packet).code == .changed)
        #expect(try await result.status == .ok)
      }
    }
  }

  @Test("An unknown id and a repeated result are answered with 2.04, and nobody is disturbed")
  func strayResults() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      var events = server.events().makeAsyncIterator()
      for id in ["f/ffff", "g/74e4", "74e4", "", "f/74E4", "f/000074e4", #"\u0000/74e4"#] {
        #expect(try await device.post(#"{"id":"\#(id)","status":7}"#).code == .changed)
      }
      #expect(try await device.post(#"{"id":"\#(call.id)","status":0,"detail":1}"#).code == .changed)
      #expect(try await device.post(#"{"id":"\#(call.id)","status":0,"detail":2}"#).code == .changed)
      #expect(try await result.detail == 1)
      var strays: [Bool] = []
      while strays.count < 8, let event = await events.next() {
        if case .strayResult(_, _, let isLate) = event { strays.append(isLate) }
      }
      #expect(strays == Array(repeating: false, count: 7) + [true])
    }
  }

  @Test("A late result is answered with 2.04, and its caller has been told that the device has the call")
  func lateResult() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      var events = server.events().makeAsyncIterator()
      async let error = failure { try await server.device(device.name).call("f", timeout: .seconds(1)) }
      let call = try await device.receiveCall()
      #expect(await error == .unanswered(device: device.name, after: .seconds(1)))
      #expect(try await device.post(#"{"id":"\#(call.id)","status":0}"#).code == .changed)
      while let event = await events.next() {
        guard case .strayResult(let id, let name, let isLate) = event else { continue }
        #expect(id == call.id && name == device.name && isLate)
        break
      }
      async let next: Void = device.serve()
      #expect(try await server.device(device.name).call("g").status == .ok)
      try await next
    }
  }

  @Test("A result is taken by its id from any address, but not from another device")
  func senders() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      let other = try RawDevice(to: address, name: "sensor-2")
      let stranger = try RawDevice(to: address, from: "127.0.0.9")
      try await device.observe()
      try await other.observe()
      for name in [nil, device.name] {
        async let result = server.device(device.name).call("f")
        let call = try await device.receiveCall()
        #expect(try await other.post(#"{"id":"\#(call.id)","status":9}"#).code == .changed)
        var packet = stranger.result(Array(#"{"id":"\#(call.id)","status":0,"detail":5}"#.utf8), format: RawDevice.json)
        // Who says that it is another device has not been called either.
        packet.options.append((15, Array("ep=sensor-3".utf8)))
        #expect(try await stranger.exchange(packet).code == .changed)
        packet.options.removeAll { $0.number == 15 }
        if let name { packet.options.append((15, Array("ep=\(name)".utf8))) }
        packet.messageID = stranger.nextMessageID()
        #expect(try await stranger.exchange(packet).code == .changed)
        #expect(try await result.detail == 5)
      }
    }
  }

  @Test("A one-way call ends with its acknowledgement, and its result is kindly ignored")
  func oneWay() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let done: Void = server.device(device.name).callOneWay("f")
      let call = try await device.receiveCall()
      try await done
      #expect(try await device.post(#"{"id":"\#(call.id)","status":0}"#).code == .changed)
    }
  }

  @Test("A gateway answers from one address for several devices")
  func gateway() async throws {
    try await withServer { server, address in
      let gateway = try RawDevice(to: address)
      for (token, name) in [(UInt8(1), "one"), (2, "two")] {
        var registration = gateway.get(observe: 0, token: [token])
        registration.options = registration.options.map { $0.number == 15 ? (15, Array("ep=\(name)".utf8)) : $0 }
        #expect(try await gateway.exchange(registration).code == .content)
      }
      for name in ["one", "two", "one"] {
        async let result = server.device(name).call("f")
        let call = try await gateway.peer.receiveMessage()
        gateway.peer.send(call.acknowledgement)
        #expect(try await gateway.post(#"{"id":"\#(call.id)","status":0,"detail":"\#(name)"}"#).code == .changed)
        #expect(try await result.detail == .string(name))
      }
    }
  }
}
