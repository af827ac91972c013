import CoAP
import Testing

/// What is known of the arrival of notifications over DTLS, as over UDP: each acknowledgement and Reset, and nothing else.
@Suite(.timeLimit(.minutes(1))) struct ArrivalTests {
  private typealias Secured = SecureEndpointTests.Secured

  private func withDevice(
    _ transmission: CoAPTransmission = CoAPTransmission(ackTimeout: 30), _ body: (Secured, KeyedPeer) async throws -> Void
  ) async throws {
    try await SecureEndpointTests().withSecured(transmission: transmission, shards: 1) { secured in
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
      }
    }.get()
  }

  private func log(_ secured: Secured) -> [String] { secured.handler.log.withLock { $0 } }

  @Test func `an acknowledgement is seen, and only that of the message`() async throws {
    try await withDevice { secured, device in
      for number in UInt32(1)...20 {
        try await notify(number, secured)
        let notification = try await device.receive()
        #expect(notification[0] == 0x41 && notification[1] == 0x45)
        // Of another one, one with a token, a Reset for nothing.
        device.send([0x60, 0, notification[2], notification[3] ^ 0x80])
        device.send([0x61, 0, notification[2], notification[3], 9])
        device.send([0x70, 0, notification[2] ^ 0x80, notification[3]])
        try await device.barrier()
        #expect(!log(secured).contains("ack \(number)"))
        device.send([0x60, 0, notification[2], notification[3]])
        await secured.handler.noted("ack \(number)")
      }
      #expect(!log(secured).contains { $0.hasPrefix("failed") })
    }
  }

  @Test func `a Reset ends the observation`() async throws {
    try await withDevice { secured, device in
      try await notify(1, secured)
      let notification = try await device.receive()
      device.send([0x70, 0, notification[2], notification[3]])
      await secured.handler.noted("failed 1: rejected with a Reset")
    }
  }

  @Test(arguments: [false, true])
  func `a non-confirmable message with the id of a notification says nothing of it`(isRequest: Bool) async throws {
    try await withDevice { secured, device in
      try await notify(1, secured)
      let notification = try await device.receive()
      let id = notification[2...3]
      device.send((isRequest ? [0x51, 1] : [0x50, 0]) + id + (isRequest ? [0x79] : []))
      // A request is answered. An empty message is ignored or rejected with a Reset (RFC 7252 §4.3), as libcoap likes.
      if isRequest {
        let answer = try await device.receive()
        #expect(answer[0] == 0x51 && answer[4] == 0x79)
      } else {
        try await device.barrier()
      }
      #expect(!log(secured).contains("ack 1"))
      device.send([0x60, 0] + id)
      await secured.handler.noted("ack 1")
    }
  }

  @Test func `a notification is sent again until it is acknowledged, with the same bytes`() async throws {
    try await withDevice(CoAPTransmission(ackTimeout: 1, ackRandomFactor: 1, maxRetransmit: 1)) { secured, device in
      try await notify(1, secured)
      let notification = try await device.receive()
      #expect(try await device.receive() == notification)
      device.send([0x60, 0, notification[2], notification[3]])
      await secured.handler.noted("ack 1")
    }
  }

  @Test func `a notification that has arrived is not sent again, and the next one leaves`() async throws {
    try await withDevice(CoAPTransmission(ackTimeout: 1, ackRandomFactor: 1, maxRetransmit: 4)) { secured, device in
      try await notify(1, secured)
      let first = try await device.receive()
      await secured.loop.perform { secured.handler.observations.first?.hasArrived(1) }
      try await notify(2, secured)
      let second = try await device.receive()
      #expect(second[2...3] != first[2...3])
      // One second later: it is the second that comes again, not the first.
      #expect(try await device.receive() == second)
      device.send([0x60, 0, first[2], first[3]])
      device.send([0x60, 0, second[2], second[3]])
      await secured.handler.noted("ack 2")
      #expect(!log(secured).contains("ack 1"))
    }
  }
}
