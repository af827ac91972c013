import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// How devices come, come again and go.
@Suite struct ListenWireTests {
  @Test("The first answer is the text OK in the accepted format, JSON where none is named")
  func firstAnswer() async throws {
    try await withServer { _, address in
      for (accept, format, payload) in [(50, 50, "224f4b22"), (60, 60, "624f4b"), (nil, 50, "224f4b22")] {
        let device = try RawDevice(to: address, name: "accept \(accept ?? 0)")
        var packet = device.get(observe: 0)
        packet.options.removeAll { $0.number == 17 }
        if let accept { packet.options.append((17, Packet.uint(accept))) }
        let answer = try await device.exchange(packet)
        #expect(answer.type == 2 && answer.code == .content && answer.messageID == packet.messageID)
        #expect(answer.payload.hex == payload && answer.uint(12) == format && answer.uint(6) == 2)
      }
    }
  }

  @Test("Tokens of any length observe, an empty one too")
  func tokens() async throws {
    try await withServer { server, address in
      for length in 0...8 {
        let device = try RawDevice(to: address, name: "t\(length)", token: [UInt8](repeating: 0, count: length))
        try await device.observe()
        async let result = server.device(device.name).call("f")
        try await device.serve()
        _ = try await result
      }
      // Nine bytes are a format error (RFC 7252 §3).
      let device = try RawDevice(to: address)
      device.peer.send(hex: "4901 0001 000000000000000000 60 54 2e727063")
      #expect(try await device.peer.receiveHex() == "70000001")
    }
  }

  @Test("A device without a name is called by its address, and its results are taken from it")
  func namelessDevice() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      device.peer.send(hex: "4101 0001 01 60 54 2e727063")
      _ = try await device.peer.receiveMessage()
      async let result = server.device("127.0.0.1:\(device.peer.port)").call("f")
      try await device.serve()
      _ = try await result
    }
  }

  @Test("Observe 1 ends an observation: calls fail, those that may wait are sent when it is back")
  func deregistration() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      let bye = try await device.exchange(device.get(observe: 1))
      #expect(bye.code == .content && bye.uint(6) == nil && bye.payload.hex == "224f4b22")
      #expect(await failure { try await server.device(device.name).call("f") } == .offline(device.name))
      async let result = server.device(device.name).call("f", wait: .seconds(10))
      await server.entered(1, for: device.name)
      try await device.expectNothingElse()
      try await device.observe()
      try await device.serve()
      _ = try await result
      // A token that observes nothing is no error.
      #expect(try await device.exchange(device.get(observe: 1, token: [9])).code == .content)
    }
  }

  @Test(
    "What is no name for a device gets 4.00, which says why",
    arguments: [
      ("", "is empty"), ("cafe\u{301}", "is not in Unicode's Normalization Form C"),
      ("a\u{200b}", "has an invisible character, U+200B"), ("a\u{61c}", "has an invisible character, U+061C"),
      ("a ", "ends with a space"), ("a\u{2028}b", "has a line separator, U+2028"), ("a\0", "has a control character, U+0000"),
    ])
  func noName(_ name: String, _ problem: String) async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address, name: name)
      for observe in [0, nil] {
        let answer = try await device.exchange(device.get(observe: observe))
        #expect(answer.code == .badRequest && answer.text.contains("ep, the name of the device, \(problem)"))
      }
      #expect(await server.devices().isEmpty)
    }
  }

  @Test("A GET without Observe takes the oldest waiting call, or OK when there is none")
  func polling() async throws {
    for format in [RawDevice.json, RawDevice.cbor] {
      try await withServer { server, address in
        let device = try RawDevice(to: address, format: format)
        let empty = try await device.exchange(device.get(observe: nil))
        #expect(empty.text.contains("OK") && empty.uint(12) == format && empty.uint(6) == nil)
        async let first = server.device(device.name).call("f", 1, wait: .seconds(10))
        await server.entered(1, for: device.name)
        async let second = server.device(device.name).call("g", 2, wait: .seconds(10))
        await server.entered(2, for: device.name)
        let poll = device.get(observe: nil)
        let call = try await device.exchange(poll)
        #expect(call.id == "f/74e4" && call.type == 2 && call.token == device.token)
        // The answer got lost: the same call again, not the next one.
        #expect(try await device.exchange(poll).payload == call.payload)
        // Also when it comes again behind more requests than are remembered for themselves.
        for _ in 0..<9 { try await device.expectNothingElse() }
        #expect(try await device.exchange(poll).payload == call.payload)
        #expect(try await device.exchange(device.get(observe: nil, type: 1)).id == "g/74e5")
        #expect(try await device.exchange(device.get(observe: nil)).text.contains("OK"))
        _ = try await device.post(#"{"id":"g/74e5","status":0,"detail":"b"}"#)
        _ = try await device.post(#"{"id":"f/74e4","status":0,"detail":"a"}"#)
        #expect(try await first.detail == "a")
        #expect(try await second.detail == "b")
      }
    }
  }

  @Test("A registration that is renewed with the same token goes on, its sequence too")
  func renewal() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      var sequence = try #require(try await device.observe().uint(6))
      for _ in 0..<3 {
        let answer = try await device.observe()
        #expect(answer.uint(6) == sequence + 1)
        async let result = server.device(device.name).call("f")
        let call = try await device.receiveCall()
        #expect(call.uint(6) == sequence + 2)
        sequence += 2
        _ = try await device.post(#"{"id":"\#(call.id)","status":0}"#)
        _ = try await result
      }
      #expect(await server.onlineDevices() == 1)
    }
  }

  @Test("A registration with another token from the same address takes the place of the first")
  func anotherToken() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      let again = try await device.exchange(device.get(observe: 0, token: [2]))
      #expect(again.code == .content && again.token == [2])
      async let result = server.device(device.name).call("f")
      let call = try await device.peer.receiveMessage()
      #expect(call.token == [2])
      device.peer.send(call.acknowledgement)
      _ = try await device.post(#"{"id":"\#(call.id)","status":0}"#)
      _ = try await result
    }
  }

  @Test("A registration with the same token under another name is another device")
  func anotherName() async throws {
    try await withServer { server, address in
      let old = try RawDevice(to: address, name: "old")
      try await old.observe()
      var packet = old.get(observe: 0)
      packet.options.removeAll { $0.number == 15 }
      packet.options.append((15, Array("ep=new".utf8)))
      #expect(try await old.exchange(packet).code == .content)
      #expect(await failure { try await server.device("old").call("f") } == .offline("old"))
      async let result = server.device("new").call("f")
      try await old.serve()
      _ = try await result
    }
  }

  @Test("Of two devices behind one address, the one whose token the other takes over is offline")
  func tokenTakenOver() async throws {
    try await withServer { server, address in
      let gateway = try RawDevice(to: address)
      for (name, token) in [("a", UInt8(1)), ("b", 2), ("b", 1)] {
        var packet = gateway.get(observe: 0, token: [token])
        packet.options.removeAll { $0.number == 15 }
        packet.options.append((15, Array("ep=\(name)".utf8)))
        #expect(try await gateway.exchange(packet).code == .content)
      }
      #expect(await failure { try await server.device("a").call("f") } == .offline("a"))
      async let result = server.device("b").call("f")
      try await gateway.serve()
      _ = try await result
    }
  }

  @Test("One observation more than an address may have gets 5.03, and the others are served on", arguments: [nil, 1, 6])
  func observationsPerAddress(_ limit: Int?) async throws {
    var limits = Limits.forTests
    if let limit { limits.observationsPerAddress = limit }
    let count = UInt8(limit ?? 4)
    try await withServer(limits: limits) { server, address in
      let peer = try RawDevice(to: address)
      func packet(_ number: UInt8) -> Packet {
        var packet = peer.get(observe: 0, token: [number])
        packet.options.removeAll { $0.number == 15 }
        packet.options.append((15, Array("ep=d\(number)".utf8)))
        return packet
      }
      for number in 1...count { #expect(try await peer.exchange(packet(number)).code == .content) }
      let next = try await peer.exchange(packet(count + 1))
      #expect(next.code == .serviceUnavailable && next.uint(6) == nil)
      #expect(await server.onlineDevices() == Int(count))
    }
  }

  @Test("A server without room for another device answers 5.03 and does not keep the observation")
  func deviceLimit() async throws {
    var limits = Limits.forTests
    limits.devices = 1
    try await withServer(limits: limits) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      let other = try RawDevice(to: address, name: "sensor-2")
      let answer = try await other.exchange(other.get(observe: 0))
      #expect(answer.code == .serviceUnavailable && answer.uint(6) == nil && !answer.text.isEmpty)
      async let result = server.device(device.name).call("f")
      try await device.serve()
      _ = try await result
    }
  }

  @Test("Non-confirmable observations and results are answered non-confirmably; calls stay confirmable")
  func nonConfirmable() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      let packet = device.get(observe: 0, type: 1)
      let answer = try await device.exchange(packet)
      #expect(answer.type == 1 && answer.code == .content && answer.uint(6) == 2)
      // The same message again is the same registration.
      let again = try await device.exchange(packet)
      #expect(again.type == 1 && again.uint(6) == 2)
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      let post = device.result(Array(#"{"id":"\#(call.id)","status":0,"detail":[1]}"#.utf8), type: 1)
      let changed = try await device.exchange(post)
      #expect(changed.type == 1 && changed.code == .changed && changed.token == post.token)
      #expect(try await result.detail == [1])
    }
  }
}
