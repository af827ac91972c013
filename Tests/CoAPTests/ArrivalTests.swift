import CoAP
import Testing

/// What is said over DTLS of the arrival of notifications, to devices that answer in unusual ways.
@Suite(.timeLimit(.minutes(1))) struct ArrivalTests {
  private typealias Secured = SecureEndpointTests.Secured

  private func withDevice(_ body: (Secured, KeyedPeer) async throws -> Void) async throws {
    try await SecureEndpointTests().withSecured(transmission: CoAPTransmission(ackTimeout: 30), shards: 1) { secured in
      let device = try KeyedPeer(
        to: try #require(secured.address(.coaps)), identity: "sensor-1", key: try #require(TestAuthority.keys["sensor-1"]))
      try await device.observe()
      try await body(secured, device)
    }
  }

  private func notify(_ number: UInt32, _ secured: Secured) async throws {
    try await secured.loop.perform { () -> Swift.Result<Void, any Error> in
      Swift.Result {
        let observation = try #require(secured.handler.observations.first)
        try observation.notify(CoAPResponse(.content), number: number)
        observation.session.confirm()
      }
    }.get()
  }

  private func log(_ secured: Secured) -> [String] { secured.handler.log.withLock { $0 } }

  @Test(arguments: [false, true])
  func `a non-confirmable message with the id of a notification ends the session, and proves nothing`(
    isRequest: Bool
  ) async throws {
    try await withDevice { secured, device in
      try await notify(1, secured)
      let notification = try await device.receive()
      let id = notification[2...3]
      device.send((isRequest ? [0x51, 1] : [0x50, 0]) + id + (isRequest ? [0x79] : []))
      // What was asked is answered; libcoap resets an empty message.
      let answer = try await device.receive()
      #expect(isRequest ? answer[0] == 0x51 && answer[4] == 0x79 : answer == [0x70, 0] + id)
      await secured.handler.noted("session ended")
      #expect(log(secured).contains { $0.hasPrefix("failed 1") } && !log(secured).contains("ack 1"))
    }
  }
}
