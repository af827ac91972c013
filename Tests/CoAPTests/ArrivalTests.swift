import CoAP
import Testing

/// What is said over DTLS of the arrival of notifications, to devices that answer in unusual ways.
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
        observation.session.confirm()
      }
    }.get()
  }

  private func log(_ secured: Secured) -> [String] { secured.handler.log.withLock { $0 } }

  @Test func `a Reset for nothing makes no proof of a ping that has overtaken the notification`() async throws {
    try await withDevice { secured, device in
      try await notify(1, secured)
      let notification = try await device.receive()
      #expect(notification[0] == 0x41 && notification[1] == 0x45)
      // The ping waits behind the notification, and the Reset lets it go.
      while await secured.loop.perform({ secured.handler.observations.first?.session.secured?.lastBarrier ?? 0 }) == 0 {}
      device.send([0x70, 0, notification[2], notification[3] ^ 0x80])
      let ping = try await device.receive()
      try #require(ping.count == 4 && ping[0] == 0x40)
      device.send([0x70, 0, ping[2], ping[3]])
      try await device.barrier()
      #expect(!log(secured).contains("ack 1"))
      // Nothing is claimed afterwards either, but the next one can leave, and is seen to arrive.
      device.send([0x60, 0, notification[2], notification[3]])
      await secured.handler.noted("settled 1")
      try await notify(2, secured)
      let second = try await device.receive()
      device.send([0x60, 0, second[2], second[3]])
      await secured.handler.noted("ack 2")
      #expect(!log(secured).contains("ack 1"))
    }
  }

  @Test func `a session in which nothing can be known ends, when libcoap always waits for somebody else`() async throws {
    try await withDevice(CoAPTransmission(ackTimeout: 1, ackRandomFactor: 1, maxRetransmit: 1)) { secured, device in
      try await notify(1, secured)
      let notification = try await device.receive()
      // Two notifications one behind the other, each of which libcoap tries to deliver for three seconds.
      let silent = try KeyedPeer(
        to: try #require(secured.address(.coaps)), identity: "sensor-2", key: try #require(TestAuthority.keys["sensor-2"]))
      try await silent.observe()
      try await silent.observe(token: 0x7a, messageID: 3)
      try await secured.loop.perform { () -> Swift.Result<Void, any Error> in
        Swift.Result {
          for observation in secured.handler.observations.dropFirst() {
            try observation.notify(CoAPResponse(.content), number: 9)
          }
        }
      }.get()
      device.send([0x70, 0, notification[2], notification[3] ^ 0x80])
      device.send([0x60, 0, notification[2], notification[3]])
      await secured.handler.noted("session ended")
      #expect(log(secured).contains { $0.hasPrefix("failed 1") } && !log(secured).contains("ack 1"))
      #expect(!log(secured).contains("settled 1"))
    }
  }

  @Test func `a Reset for nothing while nothing is under way does no harm`() async throws {
    try await withDevice { secured, device in
      device.send([0x70, 0, 0x12, 0x34])
      try await device.barrier()
      try await notify(1, secured)
      let notification = try await device.receive()
      device.send([0x60, 0, notification[2], notification[3]])
      await secured.handler.noted("ack 1")
    }
  }

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
