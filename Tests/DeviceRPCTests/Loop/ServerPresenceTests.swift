import DeviceRPCTesting
import FoundationEssentials
import Testing

@testable import DeviceRPC

/// Whether a device is there: only what it says counts. The interval is 30 s, and three of them in a row are too many.
@Suite(.timeLimit(.minutes(1))) struct ServerPresenceTests {
  @Test func `a device that says something in time is not asked`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(answersProbes: false)
      for _ in 0..<100 {
        await transport.advance(by: .milliseconds(29_900))
        link.heard()
      }
      #expect(link.probes == 0)
      #expect(await presence(server) == "observing: observation open, heard 0 us ago")
    }
  }

  @Test func `a silent device that answers when it is asked is just silent`() async throws {
    try await withServer { server, transport in
      let events = server.events()
      let link = await transport.scripted()
      await transport.advance(by: .seconds(29))
      #expect(link.probes == 0)
      await transport.advance(by: .seconds(3_571))
      #expect((110...120).contains(link.probes))
      #expect(await server.device("sensor-1").info?.state == .observing)
      await server.shutdown()
      #expect(await told(events).dropLast() == ["online"])
    }
  }

  @Test func `a device that does not answer is quiet, then offline, with the evidence`() async throws {
    try await withServer { server, transport in
      let events = server.events()
      let link = await transport.scripted(answersProbes: false)
      await transport.advance(by: .seconds(31))
      #expect(link.probes == 1)
      #expect(await presence(server) == "observing: observation open, not heard for 31 s, ping under way")
      await transport.advance(by: .seconds(30))
      #expect(await presence(server) == "quiet: not heard for 61 s, ping unanswered")
      // One at a time.
      #expect(link.probes == 1)
      let since = try #require(await server.device("sensor-1").info).since
      await transport.advance(by: .seconds(34))
      let later = try #require(await server.device("sensor-1").info)
      #expect(later.evidence == "not heard for 95 s, ping unanswered")
      #expect(later.since == since && later.isOnline)
      #expect(abs(later.since.timeIntervalSince(later.lastHeard) - 60) < 0.1)
      await transport.advance(by: .seconds(26))
      #expect(await presence(server) == "offline: not heard for 120 s, ping unanswered")
      #expect(link.endings.isEmpty)
      #expect(await server.onlineDevices() == 0)
      #expect(await server.outcome(Call("m")).error == .offline("sensor-1"))
      // It is back with its next registration.
      _ = await transport.scripted()
      #expect(await server.onlineDevices() == 1)
      await server.shutdown()
      #expect(
        await told(events).prefix(4) == [
          "online", "quiet: not heard for 60 s, ping unanswered", "offline: not heard for 120 s, ping unanswered", "online",
        ])
    }
  }

  @Test func `what is sent to a device does not make it heard`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(window: 9, answersProbes: false)
      for _ in 0..<6 {
        let call = server.launch(Call("m", timeout: .seconds(5)))
        await until { await server.openCalls() == 1 }
        await transport.advance(by: .seconds(5))
        #expect(await call.value.error?.delivery == .sentNoAck)
      }
      #expect(link.transmissions.count == 6)
      #expect(link.probes == 1)
    }
  }

  @Test func `nor does an acknowledgement that is only concluded`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(answersProbes: false)
      let call = server.launch(Call("m", timeout: .seconds(60)))
      let sent = await link.next()
      await transport.advance(by: .seconds(20))
      let home = try #require(transport.directory).home(of: "sensor-1")
      await home.acknowledged(sent.serial, on: link)
      await transport.advance(by: .seconds(10))
      #expect(link.probes == 1)
      await transport.advance(by: .seconds(30))
      #expect(await call.value.error?.delivery == .delivered)
    }
  }

  @Test func `nor does a result that anybody may have sent`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(answersProbes: false)
      let call = server.launch(Call("m"))
      let sent = await link.next()
      await transport.advance(by: .seconds(5))
      let home = try #require(transport.directory).home(of: "sensor-1")
      await home.received(id: sent.id, status: .ok, detail: nil, from: nil)
      #expect(await call.value.isOK)
      await transport.advance(by: .seconds(25))
      #expect(link.probes == 1)
    }
  }

  @Test(arguments: ["acknowledgement", "Reset", "result", "garbled result", "answer to the ping", "keep-alive"])
  func `a quiet device that says anything is heard again`(_ sign: String) async throws {
    try await withServer { server, transport in
      let events = server.events()
      let link = await transport.scripted(acknowledgement: .ping, answersProbes: false)
      let call = server.launch(Call("m", timeout: .seconds(600)))
      let sent = await link.next()
      await transport.advance(by: .seconds(70))
      #expect(await server.device("sensor-1").info?.state == .quiet)
      switch sign {
      case "acknowledgement": await link.acknowledge(sent)
      case "Reset": await link.fail(sent, .rejected("a Reset"))
      case "result": await link.answer(sent)
      case "garbled result": await link.garble(nil, "torn")
      case "answer to the ping": await link.endProbe(isAnswered: true)
      default:
        link.heard()
        await transport.settle()
      }
      let info = try #require(await server.device("sensor-1").info)
      #expect(info.state == .observing && info.evidence == "observation open, heard 0 us ago" || info.evidence.contains("ping under way"))
      #expect(info.since == info.lastHeard)
      // From now on it has all its time again.
      await link.endProbe(isAnswered: false)
      await transport.advance(by: .seconds(50))
      #expect(await server.device("sensor-1").info?.state == .observing)
      call.cancel()
      _ = await call.value
      await server.shutdown()
      #expect(await told(events).prefix(3) == ["online", "quiet: not heard for 60 s, ping unanswered", "heard again: observing"])
    }
  }

  @Test func `a probe that the transport gives up makes a device quiet at once, and it is asked again`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(answersProbes: false)
      await transport.advance(by: .seconds(31))
      await link.endProbe(isAnswered: false)
      #expect(await presence(server) == "quiet: not heard for 31 s, ping unanswered")
      await transport.advance(by: .seconds(30))
      #expect(link.probes == 2)
      await link.endProbe(isAnswered: true)
      #expect(await server.device("sensor-1").info?.state == .observing)
    }
  }

  @Test func `with a single interval allowed a device that does not answer is offline with the first`() async throws {
    try await withServer(limits: .testing { $0.unansweredProbes = 0 }) { server, transport in
      let links = [await transport.scripted("a", answersProbes: false), await transport.scripted("b", answersProbes: false)]
      await transport.advance(by: .seconds(31))
      await links[0].endProbe(isAnswered: false)
      #expect(await server.onlineDevices() == 1)
      await transport.advance(by: .seconds(30))
      #expect(await server.onlineDevices() == 0)
    }
  }

  @Test(arguments: [nil, .zero, .seconds(-5)] as [Duration?])
  func `asking can be switched off`(_ interval: Duration?) async throws {
    try await withServer(limits: .testing { $0.probeInterval = interval }) { server, transport in
      let link = await transport.scripted(answersProbes: false)
      await transport.advance(by: .seconds(86_400))
      #expect(link.probes == 0)
      #expect(await server.onlineDevices() == 1)
      #expect(await transport.loops[0].alarmCount == 0)
    }
  }

  @Test func `the end of a probe of a link that was replaced means nothing`() async throws {
    try await withServer { server, transport in
      let old = await transport.scripted(answersProbes: false)
      await transport.advance(by: .seconds(31))
      let new = await transport.scripted(answersProbes: false)
      await old.endProbe(isAnswered: false)
      #expect(await server.device("sensor-1").info?.state == .observing)
      await transport.advance(by: .seconds(29))
      #expect(new.probes == 0)
      await transport.advance(by: .seconds(1))
      #expect(new.probes == 1)
    }
  }

  // MARK: Calls

  @Test func `a call waits for the end of a probe, and leaves with it`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(answersProbes: false)
      await transport.advance(by: .seconds(31))
      let late = server.launch(Call("late", timeout: .seconds(2)))
      let patient = server.launch(Call("patient"))
      await until { await server.openCalls() == 2 }
      await transport.advance(by: .seconds(2))
      // It has certainly not left, whatever becomes of the ping.
      #expect(
        await late.value.error
          == .notSent(device: "sensor-1", reason: "it has not answered a ping that was sent before for 2 s"))
      #expect(link.transmissions.isEmpty)
      await link.endProbe(isAnswered: true)
      await link.answer(await link.next())
      #expect(await patient.value.isOK)
    }
  }

  @Test func `calls to a device that is given up end, or wait for its return`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(answersProbes: false)
      let sent = server.launch(Call("sent", timeout: .seconds(300)))
      _ = await link.next()
      await transport.advance(by: .seconds(31))
      let calls = [Duration.zero, .seconds(600)].map { server.launch(Call("m", timeout: .seconds(300), wait: $0)) }
      await until { await server.openCalls() == 3 }
      await transport.advance(by: .seconds(90))
      #expect(await calls[0].value.error == .offline("sensor-1"))
      let back = await transport.scripted()
      await back.answer(await back.next())
      #expect(await calls[1].value.isOK)
      await transport.advance(by: .seconds(200))
      #expect(await sent.value.error?.delivery == .sentNoAck)
    }
  }

  @Test func `no more probes are under way than there may be, however many devices are silent`() async throws {
    try await withServer(limits: .testing { $0.probesUnderWay = 10 }) { server, transport in
      var links: [ScriptedLink] = []
      for number in 0..<50 { links.append(await transport.scripted("d\(number)", answersProbes: false)) }
      await transport.advance(by: .seconds(40))
      #expect(links.reduce(0) { $0 + $1.probes } == 10)
      for link in links where link.probes == 1 { await link.endProbe(isAnswered: false) }
      await transport.advance(by: .seconds(1))
      #expect(links.reduce(0) { $0 + $1.probes } == 20)
    }
  }

  // MARK: Many

  @Test func `a fleet that falls silent at once is asked by and by, each device once in an interval`() async throws {
    try await withServer { server, transport in
      var links: [ScriptedLink] = []
      for number in 0..<3_000 { links.append(await transport.scripted("d\(number)")) }
      func probes() -> Int { links.reduce(0) { $0 + $1.probes } }
      await transport.advance(by: .milliseconds(29_999))
      #expect(probes() == 0)
      var asked = 0
      for _ in 0..<32 {
        await transport.advance(by: .milliseconds(50))
        #expect((0...200).contains(probes() - asked))
        asked = probes()
      }
      #expect(asked == 3_000)
      #expect(links.allSatisfy { $0.probes == 1 })
      #expect(await transport.loops[0].alarmCount == 1)
    }
  }

  @Test func `devices that come and go have one place in the queue at most`() async throws {
    try await withServer { server, transport in
      for number in 0..<2_000 {
        _ = await transport.scripted("d\(number % 10)")
        if number % 3 == 0 { await transport.disconnect("d\(number % 10)") }
      }
      #expect(await transport.stored("watched", "places", "_storage") == 10)
      for number in 0..<10 { await transport.disconnect("d\(number)") }
      await transport.advance(by: .seconds(61))
      #expect(await transport.stored("watched", "places", "_storage") == 0)
      #expect(await transport.loops[0].alarmCount == 0)
    }
  }
}
