import CoAP
import DeviceRPC
import DeviceRPCCoAP
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
        // A later block of nothing is asked for with GET.
        if option == 23 { packet.code = .get }
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
}
