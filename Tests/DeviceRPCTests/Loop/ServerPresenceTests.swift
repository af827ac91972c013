import DeviceRPCTesting
import FoundationEssentials
import Testing

@testable import DeviceRPC

/// Whether a device is there: only what it says counts. The interval is 30 s, and three of them in a row are too many.
@Suite(.timeLimit(.minutes(1))) struct ServerPresenceTests {
  private func presence(_ server: DeviceRPCServer, _ name: String = "sensor-1") async -> String {
    guard let info = await server.device(name).info else { return "unknown" }
    return "\(info.state.rawValue): \(info.evidence)"
  }

  private func told(_ events: AsyncStream<DeviceEvent>) async -> [String] {
    var told: [String] = []
    for await event in events {
      switch event {
      case .online: told.append("online")
      case .offline(_, let reason): told.append("offline: \(reason)")
      case .quiet(let info): told.append("quiet: \(info.evidence)")
      case .heardAgain(let info): told.append("heard again: \(info.state.rawValue)")
      default: break
      }
    }
    return told
  }

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
        let call = server.begin(Call("m", timeout: .seconds(5)))
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
      let call = server.begin(Call("m", timeout: .seconds(60)))
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
      let call = server.begin(Call("m"))
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
      let call = server.begin(Call("m", timeout: .seconds(600)))
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
      let late = server.begin(Call("late", timeout: .seconds(2)))
      let patient = server.begin(Call("patient"))
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
      let sent = server.begin(Call("sent", timeout: .seconds(300)))
      _ = await link.next()
      await transport.advance(by: .seconds(31))
      let calls = [Duration.zero, .seconds(600)].map { server.begin(Call("m", timeout: .seconds(300), wait: $0)) }
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

  // MARK: Out of reach

  @Test func `a device that was given up is online again with its first word, and gets what waits`() async throws {
    try await withServer { server, transport in
      let events = server.events()
      let link = await transport.scripted(answersProbes: false)
      await transport.advance(by: .seconds(121))
      #expect(await server.onlineDevices() == 0)
      let call = server.begin(Call("m", wait: .seconds(600)))
      await until { await server.openCalls() == 1 }
      #expect(link.transmissions.isEmpty)
      link.heard()
      await link.answer(await link.next())
      #expect(await call.value.isOK)
      #expect(await presence(server) == "observing: observation open, heard 0 us ago")
      // And again, for as long as it comes and goes.
      for _ in 0..<3 {
        await transport.advance(by: .seconds(151))
        #expect(await server.onlineDevices() == 0)
        link.heard()
        await until { await server.onlineDevices() == 1 }
      }
      #expect(link.endings.isEmpty)
      await server.shutdown()
      #expect(await told(events).filter { $0 == "online" }.count == 5)
    }
  }

  @Test func `an observation that is kept ends after its time, or for want of room, the oldest first`() async throws {
    try await withServer(limits: .testing { ($0.unreachableObservations, $0.unreachableTime) = (2, .seconds(3_600)) }) {
      server, transport in
      var links: [ScriptedLink] = []
      for name in ["a", "b", "c"] {
        links.append(await transport.scripted(name, answersProbes: false))
        await transport.advance(by: .seconds(1))
      }
      await transport.advance(by: .seconds(130))
      #expect(links.map(\.endings.count) == [1, 0, 0])
      // What is over is over.
      links[0].heard()
      links[1].heard()
      await until { await server.onlineDevices() == 1 }
      await transport.advance(by: .seconds(3_600))
      #expect(links.map(\.endings.count) == [1, 0, 1])
      await transport.advance(by: .seconds(200))
      #expect(links.map(\.endings.count) == [1, 1, 1])
      #expect(await server.onlineDevices() == 0)
      #expect(await transport.loops[0].alarmCount == 0)
    }
  }

  @Test func `a kept observation is replaced by a newer one, ends with its session, and hears of the end of the server`() async throws {
    try await withServer { server, transport in
      let links = [
        await transport.scripted("a", answersProbes: false), await transport.scripted("b", answersProbes: false),
        await transport.scripted("c", answersProbes: false),
      ]
      await transport.advance(by: .seconds(121))
      // That it has proved its name elsewhere does not let go of what is kept.
      let first = try #require(transport.directory).home(of: "a")
      await first.proved(try .ofDevice("a"), at: "192.0.2.1:5684")
      _ = await transport.scripted("a")
      #expect(links[0].isReplaced)
      links[0].heard()
      let home = try #require(transport.directory).home(of: "b")
      await home.unobserved(links[1], reason: "its session was closed")
      links[1].heard()
      await transport.settle()
      #expect(await server.onlineDevices() == 1)
      await server.shutdown()
      #expect(links.map(\.endings) == [[], [], ["the server is shutting down"]])
    }
  }

  @Test func `a message that is never acknowledged makes a device unreachable, and not gone`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.begin(Call("m"))
      let sent = await link.next()
      let home = try #require(transport.directory).home(of: "sensor-1")
      await home.unreachable(link, reason: "not acknowledged after all retransmissions")
      await link.fail(sent, .lost("not acknowledged after all retransmissions"))
      #expect(await call.value.error?.delivery == .sentNoAck)
      #expect(await presence(server) == "offline: not acknowledged after all retransmissions")
      link.heard()
      await until { await server.onlineDevices() == 1 }
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

@Suite struct PresenceTests {
  private let interval = Duration.seconds(30)
  private var presence = Presence(since: .seconds(100))

  private mutating func look(_ heard: Int, at now: Int) -> Presence.Action {
    presence.look(heard: .seconds(heard), now: .seconds(now), interval: interval, limit: 2)
  }

  @Test mutating func `it asks after an interval of silence, and gives up after two more`() {
    #expect(look(100, at: 110) == .wait(until: .seconds(130)))
    #expect(look(100, at: 130) == .probe(until: .seconds(160)))
    #expect(!presence.isQuiet && presence.since == .seconds(100))
    #expect(look(100, at: 140) == .wait(until: .seconds(160)))
    #expect(look(100, at: 160) == .probe(until: .seconds(190)))
    #expect(presence.isQuiet && presence.since == .seconds(160))
    #expect(look(100, at: 190) == .giveUp)
  }

  @Test mutating func `only what came after the question answers it`() {
    _ = look(100, at: 130)
    #expect(presence.wasHeard(.seconds(129)) == false)
    #expect(look(129, at: 160) == .probe(until: .seconds(190)))
    #expect(presence.isQuiet)
    #expect(presence.wasHeard(.seconds(160)) == true)
    #expect(!presence.isQuiet && presence.since == .seconds(160))
    #expect(presence.wasHeard(.seconds(161)) == false)
    // The count begins anew.
    #expect(look(160, at: 190) == .probe(until: .seconds(220)))
    #expect(look(160, at: 220) == .probe(until: .seconds(250)))
    #expect(look(160, at: 250) == .giveUp)
  }

  @Test mutating func `a failure counts once, and not when the interval has counted it`() {
    #expect(presence.probeFailed(.seconds(120)) == false)
    _ = look(100, at: 130)
    #expect(presence.probeFailed(.seconds(135)) == true)
    #expect(presence.probeFailed(.seconds(136)) == false)
    #expect(presence.isQuiet && !presence.hasGivenUp(2) && presence.hasGivenUp(1))
  }
}
