import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Synchronization
import Testing

/// The limits of transfers in blocks, on a CoAP endpoint without a dialect.
@Suite struct TransferWireTests {
  /// Answers POST with 2.04, `big` with 3,000 bytes, and lets `observed` be observed.
  private final class Handler: CoAPHandler, CoAPObservationOwner, @unchecked Sendable {
    // Unchecked because observations are touched on the loop's thread only.
    var observations: [CoAPObservation] = []
    let log = Mutex<[String]>([])

    func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
      switch (request.method, request.path) {
      case (.get, "observed"):
        guard request.observe == 0, let observation = session.observe(request, owner: self) else {
          return CoAPResponse(.content)
        }
        observations.append(observation)
        var response = CoAPResponse(.content)
        response.observe = observation.sequence
        return response
      case (.get, _): return CoAPResponse(.content, payload: [UInt8](repeating: 7, count: 3_000))
      default: return CoAPResponse(.changed, payload: Array("\(request.payload.count)".utf8))
      }
    }

    func heard(from session: CoAPSession) {}
    func sessionBegan(_ session: CoAPSession) {}
    func sessionEnded(_ session: CoAPSession) {}
    func notificationAcknowledged(_ number: UInt32, on observation: CoAPObservation) { note("ack \(number)") }
    func notificationSettled(_ number: UInt32, on observation: CoAPObservation) { note("settled \(number)") }
    func notification(_ number: UInt32, failed failure: CoAPFailure, on observation: CoAPObservation) {
      note("failed \(number)")
    }
    func observationEnded(_ observation: CoAPObservation, reason: CoAPObservation.End) { note("ended") }
    private func note(_ line: String) { log.withLock { $0.append(line) } }
  }

  private func withEndpoint(
    _ limits: CoAPLimits, _ body: (CoAPAddress, EventLoop, Handler) async throws -> Void
  ) async throws {
    let loop = try EventLoop(name: "test")
    let handler = Handler()
    var configuration = CoAPEndpoint.Configuration(
      addresses: [try #require(CoAPAddress(host: "127.0.0.1", port: 0))], shardsPerLoop: 2)
    configuration.limits = limits
    let endpoint = try await CoAPEndpoint(configuration, loops: [loop], handlers: [handler])
    do {
      try await body(endpoint.addresses[0], loop, handler)
    } catch {
      await endpoint.close()
      await loop.stop()
      throw error
    }
    await endpoint.close()
    await loop.stop()
  }

  /// Two jobs one after the other: in between the loop's timers have fired.
  private func fireTimers(of loop: EventLoop) async {
    await loop.perform {}
    await loop.perform {}
  }

  private func post(_ device: RawDevice, _ block: Int, more: Bool, count: Int = 1_024, exponent: Int = 6) async throws -> RawMessage {
    var packet = Packet(
      code: .post, messageID: device.nextMessageID(), token: [1], payload: [UInt8](repeating: 1, count: count))
    packet.options = Packet.path("x") + [(27, Packet.block(block, more: more, exponent: exponent))]
    return try await device.exchange(packet)
  }

  private func get(_ device: RawDevice, _ path: String, block: Int? = nil, observe: Bool = false) async throws -> RawMessage {
    var packet = Packet(code: .get, messageID: device.nextMessageID(), token: [1])
    packet.options = Packet.path(path)
    if observe { packet.options.append((6, [])) }
    if let block { packet.options.append((23, Packet.block(block, more: false, exponent: 6))) }
    return try await device.exchange(packet)
  }

  @Test("Transfers beyond the budget get 5.03, and those that end give it back")
  func budget() async throws {
    var limits = CoAPLimits()
    limits.transferBytes = 4_096
    try await withEndpoint(limits) { address, _, _ in
      let one = try RawDevice(to: address)
      let two = try RawDevice(to: address)
      for block in 0..<3 { #expect(try await post(one, block, more: true).code == .continue) }
      #expect(try await get(two, "big").code == .serviceUnavailable)
      #expect(try await post(two, 0, more: true).code == .continue)
      #expect(try await post(two, 1, more: true).code == .serviceUnavailable)
      // The refused transfer has given its bytes back.
      #expect(try await post(one, 3, more: true).code == .continue)
      #expect(try await post(two, 0, more: true).code == .serviceUnavailable)
      // What fits one datagram needs no budget.
      #expect(try await post(two, 0, more: false).code == .changed)
      #expect(try await post(one, 4, more: false, count: 0).text == "4096")
      #expect(try await get(two, "big").payload.count == 1_024)
      #expect(try await get(one, "big").code == .serviceUnavailable)
      // A new body takes the place of the old one.
      #expect(try await get(two, "big").code == .content)
      #expect(try await get(two, "big", block: 2).payload.count == 952)
      // A body that has been fetched stays until another comes or its time is over: an answer may get lost.
      #expect(try await post(one, 0, more: true).code == .continue)
      #expect(try await post(one, 1, more: true).code == .serviceUnavailable)
    }
  }

  @Test("A block size of 7 gets 4.00 in either direction, an option that is too long 4.02")
  func reservedSize() async throws {
    try await withEndpoint(CoAPLimits()) { address, _, _ in
      let device = try RawDevice(to: address)
      for option in [23, 27] {
        for (value, code) in [([UInt8(0x07)], CoAPCode.badRequest), ([0xff, 0xff, 0xf7], .badRequest), ([0x0f], .badRequest), ([0x01, 0, 0, 0x06], .badOption)] {
          var packet = Packet(code: option == 23 ? .get : .post, messageID: device.nextMessageID(), token: [1])
          packet.options = Packet.path("x") + [(option, value)]
          #expect(try await device.exchange(packet).code == code, "\(option) \(value)")
        }
      }
    }
  }

  @Test("Blocks beyond the end or of nothing get 4.00")
  func beyondTheEnd() async throws {
    try await withEndpoint(CoAPLimits()) { address, _, _ in
      let device = try RawDevice(to: address)
      #expect(try await get(device, "big", block: 1).code == .badRequest)
      #expect(try await get(device, "big").code == .content)
      #expect(try await get(device, "big", block: 3).code == .badRequest)
      #expect(try await get(device, "big", block: 0xf_ffff).code == .badRequest)
      #expect(try await get(device, "other", block: 1).code == .badRequest)
      #expect(try await get(device, "big", block: 2).payload.count == 952)
      #expect(try await post(device, 0xf_ffff, more: true).code == .requestEntityIncomplete)
      #expect(try await post(device, 0, more: true, count: 0).code == .requestEntityIncomplete)
    }
  }

  @Test("A notification whose blocks nobody fetches fails when its time is over, and the observation goes on")
  func abandonedNotification() async throws {
    var limits = CoAPLimits()
    // Forgotten as soon as the loop's timers fire.
    limits.transferTimeout = 0
    try await withEndpoint(limits) { address, loop, handler in
      let device = try RawDevice(to: address)
      #expect(try await get(device, "observed", observe: true).uint(6) == 2)
      for number in UInt32(1)...2 {
        await loop.perform {
          #expect(throws: Never.self) {
            try handler.observations[0].notify(
              CoAPResponse(.content, payload: [UInt8](repeating: 7, count: 3_000)), number: number)
          }
        }
        let notification = try await device.peer.receiveMessage()
        #expect(notification.uint(23) == 14)
        device.peer.send(notification.acknowledgement)
        await fireTimers(of: loop)
        #expect(try await get(device, "observed", block: 1).code == .badRequest)
        #expect(handler.log.withLock { $0.last } == "failed \(number)")
      }
    }
  }

  @Test("A body that its sender gave up is forgotten when its time is over, and its bytes are free again")
  func abandonedBody() async throws {
    var limits = CoAPLimits()
    limits.transferTimeout = 0
    limits.transferBytes = 1_024
    try await withEndpoint(limits) { address, loop, _ in
      for _ in 0..<3 {
        let device = try RawDevice(to: address)
        #expect(try await post(device, 0, more: true).code == .continue)
        await fireTimers(of: loop)
        #expect(try await post(device, 1, more: true).code == .requestEntityIncomplete)
      }
    }
  }
}
