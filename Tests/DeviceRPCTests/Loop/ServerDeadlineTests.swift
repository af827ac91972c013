import DeviceRPC
import DeviceRPCTesting
import Testing

@Suite(.timeLimit(.minutes(1))) struct ServerDeadlineTests {
  @Test func `a call that waits behind another for too long was not sent`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let first = server.launch(Call("first", timeout: .seconds(60)))
      let sent = await link.next()
      let second = server.launch(Call("second", timeout: .seconds(3)))
      await until { await server.openCalls() == 2 }
      await transport.advance(by: .seconds(3))
      let error = await second.value.error
      #expect(error == .notSent(device: "sensor-1", reason: "its turn behind other calls did not come within 3 s"))
      #expect(error?.delivery == .notSent)
      await link.answer(sent)
      #expect(await first.value.isOK)
      #expect(link.methods == ["first"])
    }
  }

  @Test func `a call that nobody acknowledges is undelivered`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m", timeout: .seconds(3)))
      let sent = await link.next()
      await transport.advance(by: .milliseconds(2_999))
      #expect(await server.openCalls() == 1)
      await transport.advance(by: .milliseconds(1))
      let error = await call.value.error
      #expect(error == .undelivered(device: "sensor-1", reason: "no acknowledgement seen within 3 s"))
      #expect(error?.delivery == .sentNoAck)
      await link.acknowledge(sent)
    }
  }

  @Test func `a call that is acknowledged and not answered is unanswered`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m"))
      await link.acknowledge(await link.next())
      await transport.advance(by: .seconds(10))
      let error = await call.value.error
      #expect(error == .unanswered(device: "sensor-1", after: .seconds(10)))
      #expect(error?.delivery == .delivered)
    }
  }

  @Test func `a call waits for a device that appears`() async throws {
    try await withServer { server, transport in
      let call = server.launch(Call("m", timeout: .seconds(3), wait: .seconds(60)), on: "new")
      await transport.settle()
      await transport.advance(by: .seconds(59))
      let link = await transport.scripted("new")
      let sent = await link.next()
      await transport.advance(by: .seconds(2))
      await link.answer(sent, .ok, 1)
      let result = try await call.value.get()
      #expect(result.detail == 1)
      // The time without the device is no part of the round trip.
      #expect(result.roundTrip == .seconds(2))
    }
  }

  @Test func `a device that does not appear is unknown, one that does not return is offline`() async throws {
    try await withServer { server, transport in
      _ = await transport.scripted("old")
      await transport.disconnect("old")
      let calls = ["new", "old"].map { server.launch(Call("m", wait: .seconds(60)), on: $0) }
      await until { await transport.stored("pending", "entries") == 2 }
      await transport.advance(by: .seconds(60))
      #expect(await calls[0].value.error == .unknownDevice("new"))
      #expect(await calls[1].value.error == .offline("old"))
    }
  }

  @Test func `a name that was only waited for is no device`() async throws {
    try await withServer { server, transport in
      let call = server.launch(Call("m", wait: .seconds(60)), on: "new")
      await until { await transport.stored("pending", "entries") == 1 }
      let info = try #require(await server.device("new").info)
      #expect(!info.isOnline && info.address == nil && info.openCalls == 1)
      #expect(await server.devices().isEmpty)
      #expect(await server.outcome(Call("m"), on: "new").error == .unknownDevice("new"))
      await transport.advance(by: .seconds(60))
      #expect(await call.value.error == .unknownDevice("new"))
      #expect(await server.device("new").info == nil)
      #expect(await server.devices().isEmpty)
    }
  }

  @Test func `a call that can wait outlives a break`() async throws {
    try await withServer { server, transport in
      let first = await transport.scripted()
      let busy = server.launch(Call("busy"))
      _ = await first.next()
      let calls = [Duration.zero, .seconds(60)].map { server.launch(Call("m", wait: $0)) }
      await until { await server.openCalls() == 3 }
      await transport.disconnect("sensor-1")
      #expect(await calls[0].value.error == .offline("sensor-1"))
      let second = await transport.scripted()
      await second.answer(await second.next())
      #expect(await calls[1].value.isOK)
      #expect(second.methods == ["m"])
      await transport.advance(by: .seconds(10))
      #expect(await busy.value.error?.delivery == .sentNoAck)
    }
  }

  @Test(arguments: [Duration.seconds(Int64.max), .seconds(Int64.max) * 10, .seconds(-1), .seconds(Int64.min), .zero])
  func `extreme durations are clamped`(duration: Duration) async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m", timeout: duration, wait: duration))
      let absent = server.launch(Call("m", timeout: duration, wait: duration), on: "absent")
      if duration > .zero { await until { await transport.stored("pending", "entries") == 2 } }
      await transport.advance(by: .seconds(86_400))
      #expect(await call.value.error?.delivery == .sentNoAck)
      #expect(await absent.value.error == .unknownDevice("absent"))
      #expect(link.transmissions.count == 1)
    }
  }

  @Test(arguments: [Duration.seconds(Int64.max) * 15, .seconds(Int64.max), .seconds(-5), .zero])
  func `extreme limits are clamped`(duration: Duration) async throws {
    let limits = Limits.testing {
      $0.longestTimeout = duration
      $0.defaultTimeout = duration
      $0.grace = duration
    }
    try await withServer(limits: limits) { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m", wait: duration))
      let absent = server.launch(Call("m", wait: duration), on: "absent")
      let sent = await link.next()
      await transport.settle()
      await link.acknowledge(sent)
      await link.answer(sent)
      _ = await call.value
      absent.cancel()
      _ = await absent.value
      let last = server.launch(Call("m"))
      _ = await link.next()
      let end = Task { await server.shutdown() }
      await transport.settle()
      last.cancel()
      _ = await last.value
      await end.value
    }
  }

  @Test func `the alarm is set to the earliest deadline, and anew after it has fired`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(window: 9)
      let timeouts = [5, 2, 9, 2, 7]
      let calls = timeouts.map { server.launch(Call("m", timeout: .seconds($0))) }
      for _ in timeouts { _ = await link.next() }
      for (second, left) in [(1, 5), (2, 3), (5, 2), (7, 1), (8, 1), (9, 0)] {
        let now = transport.loops[0].now
        await transport.advance(by: .seconds(1_000 + second) - now)
        #expect(await server.openCalls() == left, "\(second) s")
      }
      for call in calls { #expect(await call.value.error != nil) }
    }
  }
}
