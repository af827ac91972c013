import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Several bodies under way in blocks from one address: a gateway, or a client that does two things at once.
@Suite struct ParallelTransferTests {
  /// A block of a result, of a device that is named in the query.
  private func block(
    _ number: Int, of body: [UInt8], ep: String? = nil, more options: [(number: Int, value: [UInt8])] = [],
    from device: RawDevice
  ) -> Packet {
    let end = min(body.count, (number + 1) * 64)
    var packet = device.result(Array(body[number * 64..<end]))
    if let ep { packet.options.append((15, Array("ep=\(ep)".utf8))) }
    packet.options += [(27, Packet.block(number, more: end < body.count, exponent: 2))] + options
    return packet
  }

  private func result(_ id: String, _ letter: String) -> [UInt8] {
    Array(#"{"id":"\#(id)","status":0,"detail":"\#(String(repeating: letter, count: 150))"}"#.utf8)
  }

  @Test("Results in blocks of two devices at one address are put together apart, however they are mixed")
  func gateway() async throws {
    try await withServer { server, address in
      let gateway = try RawDevice(to: address, name: "a", token: [1])
      try await gateway.observe()
      let other = gateway.get(observe: 0, token: [2])
      var packet = other
      packet.options = Packet.path(".rpc") + [(15, Array("ep=b".utf8)), (17, [50]), (6, [])]
      #expect(try await gateway.exchange(packet).code == .content)
      async let first = server.device("a").call("f").detail
      let one = try await gateway.receiveCall()
      async let second = server.device("b").call("f").detail
      let two = try await gateway.peer.receiveMessage()
      gateway.peer.send(two.acknowledgement)
      let bodies = [("a", result(one.id, "A")), ("b", result(two.id, "B"))]
      let count = (bodies[0].1.count + 63) / 64
      for number in 0..<count {
        for (name, body) in bodies {
          let answer = try await gateway.exchange(block(number, of: body, ep: name, from: gateway))
          #expect(answer.code == (number == count - 1 ? .changed : .continue), "\(name) \(number)")
        }
      }
      #expect(try await first == .string(String(repeating: "A", count: 150)))
      #expect(try await second == .string(String(repeating: "B", count: 150)))
    }
  }

  @Test("The last block of a body that another one was begun beside ends that body, and says nothing of the other's")
  func mixedInOne() async throws {
    try await withServer { _, address in
      let peer = try RawPeer(to: address)
      // From a report: two first blocks that differ in ep, and the last block of the first.
      let head = "b42e7270630673746174757311323465703d"
      let text = "22" + String(repeating: "41", count: 53)
      peer.send(hex: "41021003 01" + head + "61c10aff 7b2264657461696c223a" + text)
      #expect(try RawMessage(await peer.receive())?.code == .continue)
      peer.send(hex: "41021004 02" + head + "62c10aff 7b2264657461696c223a22" + String(repeating: "42", count: 53))
      #expect(try RawMessage(await peer.receive())?.code == .continue)
      peer.send(hex: "41021005 03" + head + "61c112ff 222c226964223a22662f303030302c22737461747573223a307d")
      let answer = try #require(RawMessage(await peer.receive()))
      // Put together of a's blocks alone, it is not JSON at the same place.
      #expect(answer.code == .badRequest && !answer.text.contains("B"))
    }
  }

  @Test("Bodies that differ in Request-Tag, in their format or in any other option of the cache key are different ones")
  func requestTag() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let outcome = server.device(device.name).call("f").detail
      let call = try await device.receiveCall()
      let body = result(call.id, "r")
      let junk = [UInt8](repeating: 0x78, count: body.count)
      // Request-Tag, also without a value, and an unknown option that is safe to forward; Size1 belongs to no cache key.
      let apart: [[(number: Int, value: [UInt8])]] = [[(292, [1])], [(292, [])], [(292, [1]), (292, [2])], [(2_048, [7])]]
      #expect(try await device.exchange(block(0, of: body, more: [(60, [200])], from: device)).code == .continue)
      for options in apart {
        #expect(try await device.exchange(block(0, of: junk, more: options, from: device)).code == .continue)
      }
      var number = 1
      while number * 64 + 64 < body.count {
        #expect(try await device.exchange(block(number, of: body, from: device)).code == .continue)
        number += 1
      }
      #expect(try await device.exchange(block(number, of: body, more: [(60, [201])], from: device)).code == .changed)
      #expect(try await outcome == .string(String(repeating: "r", count: 150)))
    }
  }

  @Test("A block that comes again with a new message id is answered as before, the last one too")
  func repeatedBlocks() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let outcome = server.device(device.name).call("f").detail
      let call = try await device.receiveCall()
      let body = result(call.id, "r")
      let last = (body.count - 1) / 64
      for number in 0..<last {
        for again in 0...number {
          #expect(try await device.exchange(block(again, of: body, from: device)).code == .continue)
        }
        #expect(try await device.exchange(block(number, of: body, from: device)).code == .continue)
      }
      for _ in 0..<3 {
        let answer = try await device.exchange(block(last, of: body, from: device))
        #expect(answer.code == .changed && answer.uint(27).map { $0 >> 4 } == last)
      }
      #expect(try await outcome == .string(String(repeating: "r", count: 150)))
      // Another block of the body that is over is none of it.
      #expect(try await device.exchange(block(1, of: body, from: device)).code == .requestEntityIncomplete)
    }
  }

  @Test("A sender that begins again with other bytes gets what it has sent last")
  func beginningAgain() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let outcome = server.device(device.name).call("f").detail
      let call = try await device.receiveCall()
      let (old, new) = (result(call.id, "o"), result(call.id, "n"))
      for number in 0..<2 { _ = try await device.exchange(block(number, of: old, from: device)) }
      for number in 0...(new.count - 1) / 64 { _ = try await device.exchange(block(number, of: new, from: device)) }
      #expect(try await outcome == .string(String(repeating: "n", count: 150)))
    }
  }

  @Test("Two polls from one address whose answers go in blocks get each its own call")
  func polls() async throws {
    try await withServer(BlockWireTests.configuration) { server, address in
      let gateway = try RawDevice(to: address, name: "a")
      let devices = ["a", "b"]
      async let first = failure { try await server.device("a").call("f", String(repeating: "a", count: 3_000), timeout: .seconds(1), wait: .seconds(9)) }
      await server.entered(1, for: "a")
      async let second = failure { try await server.device("b").call("f", String(repeating: "b", count: 3_000), timeout: .seconds(1), wait: .seconds(9)) }
      await server.entered(1, for: "b")
      var bodies: [String: [UInt8]] = [:]
      for number in 0..<3 {
        for name in devices {
          var packet = Packet(code: .get, messageID: gateway.nextMessageID(), token: [9])
          packet.options = Packet.path(".rpc") + [(15, Array("ep=\(name)".utf8)), (17, [50])]
          if number > 0 { packet.options.append((23, Packet.block(number, more: false, exponent: 6))) }
          let answer = try await gateway.exchange(packet)
          #expect(answer.code == .content && answer.uint(23).map { $0 >> 4 } == number)
          bodies[name, default: []] += answer.payload
        }
      }
      for name in devices {
        let text = String(decoding: bodies[name] ?? [], as: UTF8.self)
        #expect(text.contains(String(repeating: name, count: 3_000)) && text.hasSuffix(#""]}"#))
      }
      _ = await (first, second)
    }
  }

  @Test("Of more bodies than a session may have under way, the one that was touched longest ago makes room")
  func bounded() async throws {
    try await withServer { _, address in
      let device = try RawDevice(to: address)
      let body = [UInt8](repeating: 0x78, count: 256)
      func send(_ number: Int, _ tag: UInt8) async throws -> CoAPCode {
        try await device.exchange(block(number, of: body, more: [(292, [tag])], from: device)).code
      }
      for tag in UInt8(0)..<8 { #expect(try await send(0, tag) == .continue) }
      #expect(try await send(1, 0) == .continue)
      #expect(try await send(0, 8) == .continue)
      #expect(try await send(1, 1) == .requestEntityIncomplete)
      #expect(try await send(2, 0) == .continue)
      #expect(try await send(1, 2) == .continue)
    }
  }
}
