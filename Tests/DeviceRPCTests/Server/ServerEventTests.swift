import DeviceRPCTesting
import FoundationEssentials
import Synchronization
import Testing

@testable import DeviceRPC

@Suite(.timeLimit(.minutes(1))) struct ServerEventTests {
  @Test func `a device's life is told in order`() async throws {
    try await withServer { server, transport in
      let events = server.events()
      let link = await transport.scripted()
      let call = server.launch(Call("m", params: [1]))
      let sent = await link.next()
      await link.acknowledge(sent)
      await link.answer(sent, .ok, 2)
      let result = try await call.value.get()
      await link.answer(sent, .ok, 2)
      await transport.directory?.home(of: "x").received(id: "n/0001", status: .ok, detail: nil, from: nil)
      await transport.directory?.home(of: "x").received(id: "m/74e4", status: .ok, detail: nil, from: "x")
      await transport.disconnect("sensor-1", reason: "battery")
      await server.shutdown()
      var told: [DeviceEvent] = []
      for await event in events { told.append(event) }
      try #require(told.count == 8)
      guard case .online(let online) = told[0], case .offline(let offline, "battery") = told[7] else {
        Issue.record("\(told)")
        return
      }
      #expect(online.name == "sensor-1" && online.isOnline && !offline.isOnline)
      guard case .callSent(let sentInfo) = told[1], case .callAcknowledged(let acknowledgedInfo) = told[2],
        case .callEnded(let endedInfo) = told[3]
      else {
        Issue.record("\(told)")
        return
      }
      #expect(sentInfo.wireID == "m/74e4" && sentInfo.device == "sensor-1" && sentInfo.call == Call("m", params: [1]))
      #expect([sentInfo, acknowledgedInfo, endedInfo].map(\.state) == [.sent, .acknowledged, .ended])
      #expect(sentInfo.id == acknowledgedInfo.id && sentInfo.id == endedInfo.id)
      let acknowledged = CallEvidence(.delivered, sentAfter: .zero, acknowledgedAfter: .zero)
      #expect(acknowledgedInfo.evidence == acknowledged)
      let evidence = CallEvidence(.delivered, sentAfter: .zero, acknowledgedAfter: .zero, resultAfter: .zero)
      #expect(result.evidence == evidence)
      #expect(endedInfo.outcome == .result(result) && endedInfo.evidence == evidence)
      #expect(told[4] == .strayResult(id: "m/74e4", device: "sensor-1", isLate: true))
      #expect(told[5] == .strayResult(id: "n/0001", device: nil, isLate: false))
      #expect(told[6] == .strayResult(id: "m/74e4", device: "x", isLate: false))
    }
  }

  @Test func `a call that ends without a result tells its error`() async throws {
    try await withServer { server, transport in
      let events = server.events()
      let link = await transport.scripted()
      let call = server.launch(Call("m"))
      await link.fail(await link.next(), .lost("gone"))
      let error = try #require(await call.value.error)
      await server.shutdown()
      var ends: [CallInfo] = []
      for await event in events { if case .callEnded(let info) = event { ends.append(info) } }
      let evidence = CallEvidence(.sentNoAck, sentAfter: .zero)
      #expect(ends.map(\.outcome) == [.error(error)] && ends.map(\.evidence) == [evidence])
    }
  }

  @Test func `of what a subscriber does not read the oldest is dropped`() async throws {
    try await withServer(limits: .testing { $0.bufferedEvents = 3 }) { server, transport in
      let lost = Atomic(0)
      let caller: any DeviceCaller = server
      let (slow, quick) = (caller.events(onLoss: { lost.add(1, ordering: .relaxed) }), server.events())
      var reader = quick.makeAsyncIterator()
      for number in 0..<10 {
        _ = await transport.scripted("\(number)")
        guard case .online(let info) = await reader.next() else { break }
        #expect(info.name == "\(number)")
      }
      for name in 0..<10 { await transport.disconnect("\(name)") }
      await server.shutdown()
      var names: [String] = []
      for await case .offline(let info, _) in slow { names.append(info.name) }
      #expect(names == ["7", "8", "9"] && lost.load(ordering: .relaxed) == 17)
    }
  }

  @Test func `a stream that is asked for after the end ends at once`() async throws {
    try await withServer { server, _ in
      await server.shutdown()
      for await event in server.events() { Issue.record("\(event)") }
    }
  }

  @Test func `without a subscriber no event is made, also when there were some`() async throws {
    let hub = Hub<DeviceEvent>(buffered: 10)
    for _ in 0..<100 { _ = hub.subscribe() }
    let subscriber = Task { for await _ in hub.subscribe() {} }
    subscriber.cancel()
    await subscriber.value
    var made = 0
    func event() -> DeviceEvent {
      made += 1
      return .strayResult(id: "m/0001", device: nil, isLate: false)
    }
    hub.send(event())
    #expect(made == 0)
    let stream = hub.subscribe()
    hub.send(event())
    #expect(made == 1)
    hub.finish()
    for await event in stream { #expect(event == .strayResult(id: "m/0001", device: nil, isLate: false)) }
  }

  // MARK: Presence

  @Test func `behind its name no error names the device again`() {
    let result = CallResult(
      id: "f/74e4", device: "pump", method: "f", status: .unknown, detail: nil, evidence: CallEvidence(.refused))
    let errors: [CallError] = [
      .unknownDevice("pump"), .offline("pump"), .notSent(device: "pump", reason: "r"), .undelivered(device: "pump", reason: "r"),
      .unconfirmed(device: "pump", after: .seconds(1)), .unanswered(device: "pump", after: .seconds(1)),
      .rejected(device: "pump", reason: "r"), .garbled(device: "pump", reason: "r"), .refused(result),
      .unreadableResult(result, reason: "r"),
    ]
    for error in errors {
      #expect(error.description.contains("pump"))
      #expect(!error.text(naming: false).contains("pump"))
    }
  }

  @Test func `a device that has proved its name is known before it observes, and what becomes of it then`() async throws {
    try await withServer { server, transport in
      let home = try #require(transport.directory).home(of: "sensor-1")
      await home.proved(try .ofDevice("sensor-1"), at: "here")
      let known = try #require(await server.devices().first)
      #expect(!known.isOnline && known.address == "here" && known.evidence == "it has proved its name, and does not observe")
      #expect(await server.heard(within: .zero).keys.sorted() == ["sensor-1"])
      await transport.advance(by: .seconds(5))
      #expect(await server.heard(within: .seconds(4)).isEmpty)
      await home.provedNoMore("sensor-1", at: "there")
      #expect(await server.devices().first?.evidence == "it has proved its name, and does not observe")
      await home.provedNoMore("sensor-1", at: "here")
      #expect(await server.devices().first?.evidence == "its session was closed")
      // One that observes is left alone.
      _ = await transport.scripted()
      await home.proved(try .ofDevice("sensor-1"), at: "here")
      await home.provedNoMore("sensor-1", at: "here")
      #expect(await server.devices().first?.isOnline == true)
    }
  }

  @Test(arguments: [3_600.0, -3_600])
  func `a clock that is set moves all times of day, and the times since then are right`(step: Double) async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      await transport.advance(by: .seconds(5))
      let before = try #require(await server.device("sensor-1").info)
      #expect(abs(before.since.timeIntervalSince(transport.loops[0].date) + 5) < 0.001)
      transport.loops[0].setWallClock(forward: step)
      await transport.advance(by: .seconds(10))
      let after = try #require(await server.device("sensor-1").info)
      #expect(abs(after.since.timeIntervalSince(transport.loops[0].date) + 15) < 0.001)
      #expect(after.firstSeen == after.since && after.lastHeard == after.since)
      // In between nothing changes by itself, if only by the time between a look at one clock and at the other.
      transport.loops[0].setWallClock(forward: 0.1)
      #expect(await server.device("sensor-1").info?.since == after.since)
      var events = server.events().makeAsyncIterator()
      await transport.disconnect("sensor-1")
      guard case .offline(let info, _)? = await events.next() else { throw CancellationError() }
      #expect(abs(info.since.timeIntervalSince(transport.loops[0].date)) < 0.2)
      _ = link
    }
  }

  @Test func `presence tells when a device was first seen and last heard`() async throws {
    try await withServer { server, transport in
      #expect(await server.device("sensor-1").info == nil)
      // The time that somebody waited for it does not count.
      let call = server.launch(Call("m", wait: .seconds(60)))
      await until { await transport.stored("pending", "entries") == 1 }
      await transport.advance(by: .seconds(30))
      let before = transport.loops[0].date
      let link = await transport.scripted()
      let sent = await link.next()
      let first = try #require(await server.device("sensor-1").info)
      #expect(first.isOnline && first.openCalls == 1)
      #expect(first.address == "memory:sensor-1" && first.dialect == "scripted")
      #expect(first.firstSeen == first.lastHeard)
      #expect(abs(first.firstSeen.timeIntervalSince(before)) < 0.001)
      await transport.advance(by: .seconds(5))
      await link.answer(sent)
      _ = await call.value
      await transport.advance(by: .seconds(7))
      await transport.disconnect("sensor-1")
      let last = try #require(await server.device("sensor-1").info)
      #expect(!last.isOnline && last.openCalls == 0)
      #expect(last.address == "memory:sensor-1")
      #expect(last.firstSeen == first.firstSeen)
      #expect(abs(last.lastHeard.timeIntervalSince(first.firstSeen) - 5) < 0.001)
    }
  }
}
