import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Calls and results too long for one datagram (RFC 7959), with devices that do it right.
@Suite struct BlockWireTests {
  /// A call whose parameter is this long.
  static let long = String(repeating: "0123456789abcdef", count: 16_384)

  static var configuration: CoAPConfiguration {
    var configuration = CoAPConfiguration.forTests
    configuration.golioth.maximumPayload = 1 << 20
    return configuration
  }

  @Test("Parameters of 256 KiB are fetched in blocks of 1,024 bytes", arguments: [6, 5, 2])
  func longCall(_ exponent: Int) async throws {
    try await withServer(Self.configuration) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let result = server.device(device.name).call("f", Self.long)
      let first = try await device.receiveCall()
      #expect(first.uint(23) == 0 << 4 | 8 | 6 && first.payload.count == 1_024)
      #expect(first.uint(28) ?? 0 > 262_144 && first.uint(6) != nil && first.uint(12) == 50)
      // The rest in blocks of the device's choice, which count from the start of the body.
      var body = first.payload
      let size = 16 << exponent
      while true {
        let answer = try await device.exchange(
          device.get(observe: nil, token: [9], more: [(23, Packet.block(body.count / size, more: false, exponent: exponent))]))
        #expect(answer.code == .content && answer.token == [9] && answer.uint(6) == nil && answer.uint(28) == nil)
        #expect(answer.options.first { $0.number == 4 }?.value == first.options.first { $0.number == 4 }?.value)
        #expect(answer.uint(23).map { $0 >> 4 } == body.count / size)
        body += answer.payload
        guard answer.uint(23).map({ $0 & 8 != 0 }) == true else { break }
        try #require(answer.payload.count == size)
      }
      #expect(String(decoding: body, as: UTF8.self) == #"{"id":"f/74e4","method":"f","params":["\#(Self.long)"]}"#)
      _ = try await device.post(#"{"id":"f/74e4","status":0}"#)
      _ = try await result
    }
  }

  @Test("A result of 256 KiB arrives in blocks", arguments: [6, 4])
  func longResult(_ exponent: Int) async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      let body = Array(#"{"id":"\#(call.id)","status":0,"detail":"\#(Self.long)"}"#.utf8)
      let answer = try await device.upload(body, exponent: exponent)
      #expect(answer.code == .changed && answer.uint(27).map { $0 & 8 } == 0)
      #expect(try await result.detail?.stringValue == Self.long)
    }
  }

  @Test("A block that is repeated is answered from memory, one that is missing gets 4.08 and the body starts again")
  func lostBlocks() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      let body = Array(#"{"id":"\#(call.id)","status":0,"detail":"\#(Self.long.prefix(3_000))"}"#.utf8)
      func block(_ number: Int, more: Bool = true, exponent: Int = 6, format: Int = 50) -> Packet {
        let size = 16 << exponent
        var packet = device.result(Array(body[number * size..<min(body.count, (number + 1) * size)]), format: format)
        packet.options.append((27, Packet.block(number, more: more, exponent: exponent)))
        return packet
      }
      let first = block(0)
      for _ in 0..<3 { #expect(try await device.exchange(first).code == .continue) }
      // 2 before 1, then 1 to a body that has been forgotten.
      #expect(try await device.exchange(block(2)).code == .requestEntityIncomplete)
      #expect(try await device.exchange(block(1)).code == .requestEntityIncomplete)
      // Another format is another body.
      #expect(try await device.exchange(block(0)).code == .continue)
      #expect(try await device.exchange(block(1, format: 60)).code == .requestEntityIncomplete)
      // A block that is shorter than it says, and one that is longer.
      var short = block(0)
      short.payload.removeLast()
      #expect(try await device.exchange(short).code == .requestEntityIncomplete)
      var long = block(0)
      long.payload.append(0x20)
      #expect(try await device.exchange(long).code == .requestEntityIncomplete)
      // The sender starts again, and makes its blocks smaller on the way.
      #expect(try await device.exchange(block(0)).code == .continue)
      #expect(try await device.exchange(block(2, exponent: 5)).code == .continue)
      let rest = 3 * 512
      let answer = try await device.upload(body, from: rest, exponent: 5)
      #expect(answer.code == .changed)
      #expect(try await result.detail?.stringValue?.count == 3_000)
    }
  }

  @Test("Transfers of two devices do not mix, though paths, tokens and message ids are the same")
  func interleaved() async throws {
    try await withServer(Self.configuration) { server, address in
      let devices = try [RawDevice(to: address, name: "a"), RawDevice(to: address, name: "b")]
      for device in devices { try await device.observe() }
      async let first = server.device("a").call("f", String(repeating: "a", count: 5_000)).detail
      async let second = server.device("b").call("f", String(repeating: "b", count: 5_000)).detail
      var bodies: [[UInt8]] = []
      for device in devices { bodies.append(try await device.receiveCall().payload) }
      for number in 1..<5 {
        for (index, device) in devices.enumerated() {
          let more = [(number: 23, value: Packet.block(number, more: false, exponent: 6))]
          bodies[index] += try await device.exchange(device.get(observe: nil, more: more)).payload
        }
      }
      var results: [[UInt8]] = []
      for (device, body) in zip(devices, bodies) {
        let text = String(decoding: body, as: UTF8.self)
        #expect(text.contains(String(repeating: device.name, count: 5_000)))
        let id = String(text.dropFirst(7).prefix { $0 != "\"" })
        results.append(Array(#"{"id":"\#(id)","status":0,"detail":"\#(String(repeating: device.name, count: 3_000))"}"#.utf8))
      }
      for number in 0..<3 {
        for (device, result) in zip(devices, results) {
          let end = min(result.count, (number + 1) * 1_024)
          var packet = device.result(Array(result[number * 1_024..<end]))
          packet.options.append((27, Packet.block(number, more: end < result.count, exponent: 6)))
          #expect(try await device.exchange(packet).code == (end < result.count ? .continue : .changed))
        }
      }
      #expect(try await first == .string(String(repeating: "a", count: 3_000)))
      #expect(try await second == .string(String(repeating: "b", count: 3_000)))
    }
  }

  @Test("A device that asks for small blocks with its observation gets its calls in them")
  func smallBlocks() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe(more: [(23, Packet.block(0, more: false, exponent: 1))])
      for _ in 0..<2 {
        async let result = server.device(device.name).call("multiply", 7, 191)
        let first = try await device.receiveCall()
        #expect(first.payload.count == 32 && first.uint(23) == 9)
        var body = first.payload
        for number in 1...1 {
          let more = [(number: 23, value: Packet.block(number, more: false, exponent: 1))]
          let answer = try await device.exchange(device.get(observe: nil, more: more))
          #expect(answer.uint(23) == number << 4 | 1)
          body += answer.payload
        }
        let text = String(decoding: body, as: UTF8.self)
        #expect(text.hasSuffix(#","method":"multiply","params":[7,191]}"#))
        _ = try await device.post(#"{"id":"\#(text.dropFirst(7).prefix { $0 != "\"" })","status":0}"#)
        _ = try await result
      }
    }
  }

  @Test("The call behind a long one leaves when its last block is asked for; that it has arrived only its result says")
  func lastBlock() async throws {
    try await withServer(Self.configuration) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let first: Void = server.device(device.name).callOneWay("f", String(repeating: "x", count: 2_000))
      await server.entered(1, for: device.name)
      async let second: Void = server.device(device.name).callOneWay("g")
      await server.entered(2, for: device.name)
      let long = try await device.receiveCall()
      #expect(long.uint(23) == 14)
      try await device.expectNothingElse()
      device.peer.send(device.get(block: 1).bytes)
      var tokens: Set<[UInt8]> = []
      for _ in 0..<2 {
        let message = try await device.peer.receiveMessage()
        tokens.insert(message.token)
        if message.type == 0 { device.peer.send(message.acknowledgement) }
      }
      #expect(tokens == [[9], device.token])
      try await second
      #expect(await server.device(device.name).info?.openCalls == 1)
      #expect(try await device.post(#"{"id":"\#(long.id)","status":0}"#).code == .changed)
      try await first
    }
  }

  @Test("A device that knows no blocks holds up nobody for long, and its call is told to have begun to arrive")
  func knowsNoBlocks() async throws {
    try await withServer(Self.configuration, transmission: CoAPTransmission(ackTimeout: 1, ackRandomFactor: 1)) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      let long = String(repeating: "x", count: 2_000)
      async let first = failure { try await server.device(device.name).call("f", long, timeout: .seconds(3)) }
      await server.entered(1, for: device.name)
      async let second = server.device(device.name).call("g")
      await server.entered(2, for: device.name)
      #expect(try await device.receiveCall().uint(23) == 14)
      // Two seconds later.
      let next = try await device.receiveCall()
      #expect(next.id == "g/74e5")
      _ = try await device.post(#"{"id":"\#(next.id)","status":0}"#)
      _ = try await second
      #expect(
        await first == .undelivered(device: device.name, reason: "its first block was acknowledged, the others were not fetched"))
      // The same where the deadline comes first.
      async let third = failure { try await server.device(device.name).call("f", long, timeout: .milliseconds(500)) }
      _ = try await device.receiveCall()
      #expect(
        await third == .undelivered(device: device.name, reason: "its first block was acknowledged, the others were not fetched"))
    }
  }

  @Test("Of a call of which blocks are missing the last one is not the end, and it is not delivered")
  func skippedBlocks() async throws {
    try await withServer(Self.configuration) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      let events = server.events()
      async let first = failure {
        try await server.device(device.name).callOneWay("f", String(repeating: "x", count: 2_900), timeout: .seconds(1))
      }
      #expect(try await device.receiveCall().uint(23) == 14)
      // The last one before the one in the middle, and all of them after it.
      #expect(try await device.exchange(device.get(block: 2)).uint(23) == 2 << 4 | 6)
      guard case .undelivered = await first else {
        Issue.record("not undelivered")
        return
      }
      async let second: Void = server.device(device.name).callOneWay("g")
      await server.entered(1, for: device.name)
      try await device.expectNothingElse()
      #expect(try await device.exchange(device.get(block: 1)).uint(23) == 1 << 4 | 8 | 6)
      device.peer.send(device.get(block: 2).bytes)
      for _ in 0..<2 {
        let message = try await device.peer.receiveMessage()
        if message.type == 0 { device.peer.send(message.acknowledgement) }
      }
      try await second
      for await event in events {
        if case .callAcknowledged(let info) = event { #expect(info.wireID == "g/74e5") }
        if case .callEnded(let info) = event, info.wireID == "g/74e5" { break }
      }
    }
  }

  @Test("A long answer to something else does not disturb a call that is being fetched")
  func otherBody() async throws {
    try await withServer(Self.configuration) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let result = server.device(device.name).call("f", String(repeating: "x", count: 2_000))
      let call = try await device.receiveCall()
      #expect(call.uint(23) == 14)
      func discovery(_ block: Int) async throws -> RawMessage {
        var packet = Packet(code: .get, messageID: device.nextMessageID(), token: [9])
        packet.options = Packet.path(".well-known", "core") + [(23, Packet.block(block, more: false, exponent: 0))]
        return try await device.exchange(packet)
      }
      #expect(try await discovery(0).uint(23) == 8)
      #expect(try await device.exchange(device.get(block: 1)).uint(23) == 1 << 4 | 6)
      #expect(try await discovery(1).uint(23) == 1 << 4 | 8)
      _ = try await device.post(#"{"id":"\#(call.id)","status":0}"#)
      _ = try await result
    }
  }
}

extension RawDevice {
  /// Asks for a later block of a call.
  func get(block: Int) -> Packet {
    get(observe: nil, token: [9], more: [(number: 23, value: Packet.block(block, more: false, exponent: 6))])
  }

  /// POSTs a body block by block and returns the answer to the last one, or the first that is no 2.31.
  func upload(_ body: [UInt8], from start: Int = 0, exponent: Int) async throws -> RawMessage {
    let size = 16 << exponent
    var offset = start
    while true {
      let end = min(offset + size, body.count)
      var packet = result(Array(body[offset..<end]))
      packet.options.append((27, Packet.block(offset / size, more: end < body.count, exponent: exponent)))
      let answer = try await exchange(packet)
      guard answer.code == .continue, end < body.count else { return answer }
      #expect(answer.uint(27) == packet.options.last?.value.reduce(0) { $0 << 8 | Int($1) })
      offset = end
    }
  }
}
