import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// How a server takes leave of its devices (RFC 7641 §4.2).
@Suite(.timeLimit(.minutes(1))) struct EndWireTests {
  private static func expectGoodbye(_ message: RawMessage, _ token: [UInt8]) throws {
    // Not confirmable, since nobody is there to take the acknowledgement; an error ends the observation without Observe.
    #expect(message.type == 1 && message.code == .serviceUnavailable && message.token == token)
    #expect(message.uint(6) == nil && message.text == "the server is shutting down")
    let comeBack = try #require(message.uint(14))
    #expect((5...30).contains(comeBack))
  }

  @Test("Open calls have their time, then each observer gets a last notification and nothing more")
  func graceful() async throws {
    var limits = Limits()
    limits.grace = .seconds(20)
    try await withServer(limits: limits) { server, address in
      let device = try RawDevice(to: address)
      let idle = try RawDevice(to: address, name: "sensor-2", format: RawDevice.cbor, token: [])
      try await device.observe()
      try await idle.observe()
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      async let end: Void = server.shutdown()
      // No new calls from now on.
      while await failure({ try await server.device("nobody").call("g") }) != .shuttingDown(.notSent) { await Task.yield() }
      try await idle.expectNothingElse()
      let answer = try await device.post(#"{"id":"\#(call.id)","status":0,"detail":1}"#)
      #expect(answer.code == .changed)
      #expect(try await result.detail == 1)
      try Self.expectGoodbye(try await device.peer.receiveMessage(), device.token)
      try Self.expectGoodbye(try await idle.peer.receiveMessage(), [])
      await end
      #expect(await server.onlineDevices() == 0)
    }
  }

  @Test("A call without a result ends with the grace, and says how far it was")
  func abandoned() async throws {
    var limits = Limits()
    limits.grace = .milliseconds(100)
    try await withServer(limits: limits) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let first = failure { try await server.device(device.name).call("f") }
      await server.entered(1, for: device.name)
      async let second = failure { try await server.device(device.name).call("g") }
      await server.entered(2, for: device.name)
      let call = try await device.peer.receiveMessage()
      await server.shutdown()
      #expect(await first == .shuttingDown(.sentNoAck))
      #expect(await second == .shuttingDown(.notSent))
      // Its notification is taken back, and the last one is not held up by it.
      #expect(call.type == 0)
      try Self.expectGoodbye(try await device.peer.receiveMessage(), device.token)
    }
  }

  @Test("Devices of another loop than that of their session are told, too")
  func twoLoops() async throws {
    try await withServer(TwoLoopTests.configuration) { server, address in
      let devices = try (0..<20).map { try RawDevice(to: address, name: "d\($0)") }
      for device in devices { try await device.observe() }
      await server.shutdown()
      for device in devices { try Self.expectGoodbye(try await device.peer.receiveMessage(), device.token) }
    }
  }
}
