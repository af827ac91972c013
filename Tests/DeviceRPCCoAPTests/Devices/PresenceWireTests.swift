import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// How the server finds out on the wire whether a device is still there.
@Suite(.timeLimit(.minutes(1))) struct PresenceWireTests {
  static func limits(interval: Duration, unanswered: Int = 1) -> Limits {
    var limits = Limits.forTests
    limits.probeInterval = interval
    limits.unansweredProbes = unanswered
    return limits
  }

  @Test("A silent device is pinged, stays while it answers with a Reset, and is offline when it does not")
  func ping() async throws {
    try await withServer(limits: Self.limits(interval: .milliseconds(200))) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      var events = server.events().makeAsyncIterator()
      for _ in 0..<3 {
        let before = try #require(await server.device(device.name).info).lastHeard
        // An empty confirmable message (RFC 7252 §4.3).
        let ping = try await device.peer.receive()
        try #require(ping.count == 4 && ping[0] == 0x40 && ping[1] == 0)
        device.peer.send([0x70, 0, ping[2], ping[3]])
        // Results are answered behind what came before them.
        try await device.expectNothingElse()
        let info = try #require(await server.device(device.name).info)
        #expect(info.state == .observing && info.lastHeard > before)
      }
      let last = try await device.peer.receive()
      #expect(last.count == 4 && last[0] == 0x40)
      while let event = await events.next() {
        guard case .offline(let info, let reason) = event else { continue }
        #expect(info.name == device.name && info.state == .offline && info.evidence == reason)
        #expect(reason.hasPrefix("not heard for ") && reason.hasSuffix("ping unanswered"))
        break
      }
      #expect(await failure { try await server.device(device.name).call("f") } == .offline(device.name))
      // Nothing has been sent to it, and its observation has not ended: with its keep-alive it is back, and gets what waits.
      async let result = server.device(device.name).call("f", wait: .seconds(10))
      await server.entered(1, for: device.name)
      try await device.expectNothingElse()
      let call = try await device.receiveCall()
      #expect(try await device.post(#"{"id":"\#(call.id)","status":0}"#).code == .changed)
      #expect(try await result.status == .ok)
    }
  }

  @Test("A device whose observation has ended while it was out of reach is told so when it comes back", arguments: [false, true])
  func farewell(_ observesAgain: Bool) async throws {
    var limits = Self.limits(interval: .milliseconds(200))
    limits.unreachableObservations = 0
    try await withServer(limits: limits) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      #expect(try await device.peer.receive().count == 4)
      func expectEnd() async throws {
        // It is no answer to anything: it is not confirmable and has the token of the observation.
        let end = try await device.peer.receiveMessage()
        #expect(end.type == 1 && end.code == .serviceUnavailable && end.token == device.token && end.uint(6) == nil)
        #expect(end.text.hasPrefix("not heard for ") && end.text.hasSuffix("ping unanswered"))
        let comeBack = try #require(end.uint(14))
        #expect((5...30).contains(comeBack))
      }
      // Now, which may be lost, and when it is heard again, once.
      try await expectEnd()
      if observesAgain {
        try await device.observe()
      } else {
        try await device.expectNothingElse()
        try await expectEnd()
      }
      try await device.expectNothingElse()
    }
  }

  @Test("A ping that is answered with an acknowledgement, of which libcoap says nothing, holds calls up for a while only")
  func acknowledgedPing() async throws {
    let limits = Self.limits(interval: .milliseconds(200), unanswered: 200)
    try await withServer(limits: limits, transmission: DeliveryWireTests.impatient) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      let ping = try await device.peer.receive()
      try #require(ping.count == 4 && ping[0] == 0x40)
      device.peer.send([0x60, 0, ping[2], ping[3]])
      async let result = server.device(device.name).call("f", timeout: .seconds(30))
      try await device.serve()
      _ = try await result
    }
  }

  @Test("An empty message of a device counts, as Zephyr's port sends it to stay connected", arguments: [UInt8(0x40), 0x50])
  func emptyMessage(_ type: UInt8) async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      let before = try #require(await server.device(device.name).info).lastHeard
      device.peer.send([type, 0, 0x12, 0x34])
      #expect(try await device.peer.receiveHex() == "70001234")
      #expect(try #require(await server.device(device.name).info).lastHeard > before)
    }
  }

  @Test("A message that happens to have the id of a ping is a sign of life, and calls go on")
  func sameMessageID() async throws {
    try await withServer(limits: Self.limits(interval: .milliseconds(200), unanswered: 100)) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      let ping = try await device.peer.receive()
      try #require(ping.count == 4 && ping[0] == 0x40)
      device.peer.send([0x50, 0, ping[2], ping[3]])
      async let call: Void = server.device(device.name).callOneWay("f")
      while true {
        let message = try await device.peer.receiveMessage()
        guard message.type == 0 else { continue }
        if message.code == .content {
          device.peer.send(message.acknowledgement)
          break
        }
        device.peer.send([0x70, 0, UInt8(message.messageID >> 8), UInt8(message.messageID & 0xff)])
      }
      try await call
    }
  }

  @Test("A keep-alive moves the time at which a device was last heard, a call does not", arguments: [UInt8(0), 1])
  func keepAlive(_ type: UInt8) async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      var before = try #require(await server.device(device.name).info).lastHeard
      for _ in 0..<5 {
        let packet = Packet(type: type, code: .delete, messageID: device.nextMessageID(), token: [8])
        #expect(try await device.exchange(packet).code == .deleted)
        let heard = try #require(await server.device(device.name).info).lastHeard
        #expect(heard > before)
        async let call = failure { try await server.device(device.name).call("f", timeout: .milliseconds(20)) }
        #expect(await call?.delivery == .sentNoAck)
        #expect(await server.device(device.name).info?.lastHeard == heard)
        before = heard
        device.peer.send(try await device.peer.receiveMessage().acknowledgement)
      }
    }
  }

  @Test("A quiet device that is back is heard again, and gets the call that waited for its word")
  func heardAgain() async throws {
    try await withServer(limits: Self.limits(interval: .milliseconds(200), unanswered: 1_000)) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      var events = server.events().makeAsyncIterator()
      let ping = try await device.peer.receive()
      while let event = await events.next() {
        guard case .quiet(let info) = event else { continue }
        #expect(info.state == .quiet && info.evidence.hasSuffix("ping unanswered"))
        break
      }
      async let late = failure { try await server.device(device.name).call("late", timeout: .milliseconds(100)) }
      #expect(await late?.delivery == .notSent)
      async let result = server.device(device.name).call("f")
      await server.entered(1, for: device.name)
      device.peer.send([0x70, 0, ping[2], ping[3]])
      while let event = await events.next() {
        guard case .heardAgain(let info) = event else { continue }
        #expect(info.name == device.name && info.state == .observing)
        break
      }
      try await device.serve()
      #expect(try await result.status == .ok)
    }
  }

  @Test("The observation of a device that is pinged over two loops ends on the loop of its session")
  func twoLoops() async throws {
    var configuration = TwoLoopTests.configuration
    configuration.shards = 1
    var limits = Self.limits(interval: .milliseconds(200))
    limits.unreachableObservations = 0
    try await withServer(configuration, limits: limits) { server, address in
      let devices = try (0..<8).map { try RawDevice(to: address, name: "d\($0)") }
      for device in devices { try await device.observe() }
      for device in devices {
        let ping = try await device.peer.receive()
        #expect(ping.count == 4)
        #expect(try await device.peer.receiveMessage().code == .serviceUnavailable)
      }
      #expect(await server.onlineDevices() == 0)
    }
  }
}
