import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Logging
import Metrics
import MetricsTestKit
import TestSupport
import Testing

@Suite struct RequestLimitTests {
  private func limits(_ requests: Int) -> Limits {
    var limits = Limits.forTests
    limits.requestsPerSecond = requests
    return limits
  }

  @Test func `a device that asks too often gets 4_29 with the time to wait, and others do not notice`() async throws {
    try await withServer(limits: limits(5)) { _, address in
      let loop = try EventLoop(name: "client")
      let client = try await CoAPClient(loop: loop)
      let peer = try await client.connect(to: address)
      var codes: [CoAPCode] = []
      var refusal: CoAPResponse?
      for _ in 0..<50 {
        let response = try await peer.request(CoAPClientRequest(.delete, []))
        codes.append(response.code)
        if response.code == .tooManyRequests { refusal = response }
      }
      #expect(codes.prefix(5) == [.deleted, .deleted, .deleted, .deleted, .deleted])
      #expect(codes.contains(.tooManyRequests))
      #expect(refusal?.maxAge == 1)
      let diagnostic = String(decoding: refusal?.payload ?? [], as: UTF8.self)
      #expect(diagnostic == "at most 5 requests a second, and one for each call")
      let other = try await client.connect(to: address)
      #expect(try await other.request(CoAPClientRequest(.delete, [])).code == .deleted)
      await client.close()
      await loop.stop()
    }
  }

  @Test(arguments: [(UInt16(27), UInt8(0x0e)), (23, 0x16)])
  func `beginnings of bodies count, and so do blocks of none`(
    option: UInt16, value: UInt8
  ) async throws {
    try await withServer(limits: limits(5)) { _, address in
      let device = try RawDevice(to: address)
      var codes: Set<CoAPCode> = []
      for _ in 0..<20 {
        var packet = device.result([UInt8](repeating: 1, count: 1_024))
        // Results are taken all the same, if they are awaited; a later block of nothing is asked for with GET.
        if option == 23 { packet.code = .get } else { packet.options = Packet.path("log") }
        packet.options.append((Int(option), [value]))
        codes.insert(try await device.exchange(packet).code)
      }
      #expect(codes.count == 2 && codes.contains(.tooManyRequests), "\(codes)")
    }
  }

  @Test func `a call pays for its result`() async throws {
    try await withServer(limits: limits(1)) { server, address in
      let loop = try EventLoop(name: "client")
      let client = try await CoAPClient(loop: loop)
      let peer = try await client.connect(to: address)
      var observe = CoAPClientRequest(.get, [".rpc"])
      observe.query = ["ep=sensor-1"]
      let ids = AsyncStream.makeStream(of: String.self)
      _ = try await peer.observe(observe) { call in
        let text = String(decoding: call.payload, as: UTF8.self)
        ids.continuation.yield(String(text.split(separator: "\"")[3]))
      }
      var iterator = ids.stream.makeAsyncIterator()
      for number in 1...20 {
        async let result = server.device("sensor-1").call("count", number)
        let id = try #require(await iterator.next())
        let post = CoAPClientRequest(
          .post, [".rpc", "status"], contentFormat: .json,
          payload: Array(#"{"id":"\#(id)","status":0,"detail":\#(number)}"#.utf8))
        #expect(try await peer.request(post).code == .changed)
        #expect(try await result.detail?.intValue == number)
      }
      await client.close()
      await loop.stop()
    }
  }

  /// A device that may send one request a second, with a call under way for each of `calls`, and nothing left to ask.
  private func withBusyDevices(
    _ count: Int = 1, calls: Int, configuration: CoAPConfiguration = .forTests, log: Logger = silentLog,
    _ body: (DeviceRPCServer, [(device: RawDevice, ids: [String])]) async throws -> Void
  ) async throws {
    try await withServer(configuration, limits: limits(1), log: log) { server, address in
      try await withThrowingTaskGroup(of: Void.self) { group in
        var busy: [(RawDevice, [String])] = []
        for number in 1...count {
          let device = try RawDevice(to: address, name: "sensor-\(number)")
          try await device.observe()
          for index in 0..<calls {
            group.addTask { _ = try await server.device(device.name).call("f", index, timeout: .seconds(60)) }
          }
          var ids: [String] = []
          for _ in 0..<calls { ids.append(try await device.receiveCall().id) }
          busy.append((device, ids))
        }
        try await body(server, busy)
        group.cancelAll()
      }
    }
  }

  private func keepAlives(_ count: Int, of device: RawDevice) -> [Packet] {
    (0..<count).map { _ in
      let mid = device.nextMessageID()
      return Packet(code: .delete, messageID: mid, token: [0xdd, UInt8(mid >> 8), UInt8(mid & 0xff)])
    }
  }

  private func log(_ device: RawDevice, _ payload: [UInt8] = [0xff]) -> Packet {
    var packet = device.result(payload, format: RawDevice.cbor)
    packet.options = Packet.path(".s", "logs") + [(12, Packet.uint(RawDevice.cbor))]
    return packet
  }

  /// The codes that packets are answered with that are sent at once, in their order.
  private func burst(_ packets: [Packet], from device: RawDevice) async throws -> [CoAPCode] {
    for packet in packets { device.peer.send(packet.bytes) }
    var codes: [[UInt8]: CoAPCode] = [:]
    while codes.count < packets.count {
      let message = try await device.peer.receiveMessage()
      // An empty acknowledgement goes before a separate response.
      guard message.code.rawValue != 0 else { continue }
      if message.type == 0 { device.peer.send(message.acknowledgement) }
      codes[message.token] = message.code
    }
    return packets.compactMap { codes[$0.token] }
  }

  @Test func `over the rate the results of open calls are taken, logs are dropped, and all else gets 4_29`() async throws {
    let metrics = TestMetrics()
    try await withMetricsFactory(metrics) {
      try await withBusyDevices(calls: 2) { server, busy in
        let (device, ids) = busy[0]
        var events = server.events().makeAsyncIterator()
        // Whether the acknowledgements came before them does not matter.
        func next() async -> DeviceEvent? {
          while let event = await events.next() {
            if case .callAcknowledged = event { continue }
            return event
          }
          return nil
        }
        // Two calls have paid for two of these.
        var packets = keepAlives(5, of: device)
        packets.append(device.result(Array(#"{"id":"\#(ids[0])","status":0}"#.utf8)))
        packets.append(log(device))
        packets.append(device.result(Array(#"{"id":"\#(ids[0])","status":0}"#.utf8)))
        packets.append(device.result(Array(#"{"id":"\#(ids[1])","status":"?"}"#.utf8)))
        packets.append(device.result([1, 2, 3], format: 0))
        packets.append(device.result(Array(#"{"id":"f/ffff","status":0}"#.utf8)))
        packets += keepAlives(1, of: device)
        let codes = try await burst(packets, from: device)
        #expect(codes.prefix(5).filter { $0 == .tooManyRequests }.count >= 2)
        #expect(codes[5...6] == [.changed, .changed])
        #expect(codes[7...] == [.tooManyRequests, .tooManyRequests, .tooManyRequests, .tooManyRequests, .tooManyRequests])
        let refused = codes.count { $0 == .tooManyRequests }
        #expect(try metrics.expectCounter("device_rpc_rate_limited_requests_total").totalValue == Int64(refused))
        #expect(try metrics.expectCounter("device_rpc_dropped_logs_total").totalValue == 1)
        #expect(await server.device("sensor-1").info?.openCalls == 1)
        // Of what was refused nobody is told.
        guard case .callEnded(let ended0) = await next(), ended0.wireID == ids[0], case .result = ended0.outcome else {
          Issue.record("something else has happened")
          return
        }
        let last = device.result(Array(#"{"id":"\#(ids[1])","status":0}"#.utf8))
        #expect(try await burst(keepAlives(2, of: device) + [last], from: device).last == .changed)
        guard case .callEnded(let ended1) = await next(), ended1.wireID == ids[1], case .result = ended1.outcome else {
          Issue.record("something else has happened")
          return
        }
      }
    }
  }

  @Test func `over the rate results are taken in blocks too, those that answer nothing get 4_29 at their end`() async throws {
    try await withBusyDevices(calls: 1) { server, busy in
      let (device, ids) = busy[0]
      for (id, answer) in [(ids[0], CoAPCode.changed), ("f/ffff", .tooManyRequests)] {
        let text = #"{"id":"\#(id)","status":0,"detail":""# + String(repeating: "a", count: 100) + #""}"#
        let body = Array(text.utf8)
        var blocks: [Packet] = []
        for start in stride(from: 0, to: body.count, by: 64) {
          let end = min(start + 64, body.count)
          var block = device.result(Array(body[start..<end]))
          block.options.append((27, Packet.block(start / 64, more: end < body.count, exponent: 2)))
          blocks.append(block)
        }
        var codes = try await burst(keepAlives(3, of: device) + blocks, from: device)
        #expect(codes[2] == .tooManyRequests)
        codes.removeFirst(3)
        #expect(codes == Array(repeating: .continue, count: blocks.count - 1) + [answer])
      }
      #expect(await server.device("sensor-1").info?.openCalls == 0)
    }
  }

  @Test func `over the rate results are taken on whichever thread they arrive`() async throws {
    try await withBusyDevices(8, calls: 1, configuration: TwoLoopTests.configuration) { server, busy in
      for (device, ids) in busy {
        let result = device.result(Array(#"{"id":"\#(ids[0])","status":0}"#.utf8))
        let again = device.result(Array(#"{"id":"\#(ids[0])","status":0}"#.utf8))
        let codes = try await burst(keepAlives(3, of: device) + [result, again], from: device)
        #expect(codes[2...] == [.tooManyRequests, .changed, .tooManyRequests])
      }
      #expect(await server.devices().allSatisfy { $0.openCalls == 0 })
    }
  }

  @Test func `the log tells once of a session that it asks too often, and whose it is`() async throws {
    let recorded = RecordedLog()
    try await withBusyDevices(2, calls: 0, log: recorded.logger) { _, busy in
      for (device, _) in busy {
        for _ in 0..<2 {
          let codes = try await burst(keepAlives(5, of: device), from: device)
          #expect(codes.contains(.tooManyRequests))
        }
      }
      let expected = busy.map { device, _ in
        [
          "device": device.name, "address": "127.0.0.1:\(device.peer.port)", "requests-per-second": "1",
        ]
      }
      let lines = recorded.lines.filter { $0.message == "more requests than it may send" }
      #expect(lines.map(\.metadata) == expected)
      #expect(lines.allSatisfy { $0.level == .notice })
    }
  }
}
