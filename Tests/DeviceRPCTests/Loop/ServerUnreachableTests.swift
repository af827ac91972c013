import DeviceRPC
import DeviceRPCTesting
import Testing

/// Devices that cannot be reached, and whose observations are kept.
@Suite(.timeLimit(.minutes(1))) struct ServerUnreachableTests {
  @Test func `a device that was given up is online again with its first word, and gets what waits`() async throws {
    try await withServer { server, transport in
      let events = server.events()
      let link = await transport.scripted(answersProbes: false)
      await transport.advance(by: .seconds(121))
      #expect(await server.onlineDevices() == 0)
      let call = server.launch(Call("m", wait: .seconds(600)))
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
      let call = server.launch(Call("m"))
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
}
