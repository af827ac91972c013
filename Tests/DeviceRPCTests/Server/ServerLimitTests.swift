import DeviceRPC
import DeviceRPCTesting
import Testing

@Suite(.timeLimit(.minutes(1))) struct ServerLimitTests {
  @Test func `a device takes as many calls as it may have, others are not affected`() async throws {
    try await withServer(limits: .testing { $0.callsPerDevice = 2 }) { server, transport in
      let link = await transport.scripted("a")
      let other = await transport.scripted("b")
      let calls = (0..<2).map { _ in server.launch(Call("m"), on: "a") }
      await until { await server.openCalls(of: "a") == 2 }
      let error = await server.outcome(Call("m"), on: "a").error
      #expect(error == .limitExceeded("2 calls to a are under way, as many as it may have"))
      let elsewhere = server.launch(Call("m"), on: "b")
      await other.answer(await other.next())
      #expect(await elsewhere.value.isOK)
      await link.answer(await link.next())
      await link.answer(await link.next())
      for call in calls { #expect(await call.value.isOK) }
      let again = server.launch(Call("m"), on: "a")
      await link.answer(await link.next())
      #expect(await again.value.isOK)
    }
  }

  @Test func `a loop takes as many calls as it may have`() async throws {
    try await withServer(limits: .testing { $0.calls = 2 }) { server, transport in
      let links = [await transport.scripted("a"), await transport.scripted("b"), await transport.scripted("c")]
      let calls = [server.launch(Call("m"), on: "a"), server.launch(Call("m"), on: "b")]
      let sent = [await links[0].next(), await links[1].next()]
      guard case .limitExceeded = await server.outcome(Call("m"), on: "c").error else {
        Issue.record("a third call was taken")
        return
      }
      for number in 0..<2 { await links[number].answer(sent[number]) }
      for call in calls { #expect(await call.value.isOK) }
    }
  }

  @Test func `a server with no calls or devices to spare says so`() async throws {
    try await withServer(limits: .testing { $0.calls = 0 }) { server, transport in
      _ = await transport.scripted()
      #expect(await server.outcome(Call("m")).error?.delivery == .notSent)
    }
    try await withServer(limits: .testing { $0.devices = 0 }) { server, transport in
      #expect(await transport.connect("a", ScriptedLink("a")) == false)
      guard case .limitExceeded = await server.outcome(Call("m", wait: .seconds(1)), on: "a").error else {
        Issue.record("the call was taken")
        return
      }
    }
  }

  @Test func `the device that is away for longest makes room for a new one`() async throws {
    try await withServer(limits: .testing { $0.devices = 3 }) { server, transport in
      for name in ["a", "b", "c"] {
        _ = await transport.scripted(name)
        await transport.advance(by: .seconds(1))
      }
      #expect(await transport.connect("d", ScriptedLink("d")) == false)
      await transport.disconnect("b")
      await transport.advance(by: .seconds(1))
      await transport.disconnect("a")
      #expect(await transport.connect("d", ScriptedLink("d")))
      #expect(await server.devices().map(\.name) == ["a", "c", "d"])
      // One that has returned is not away, whatever it was before.
      _ = await transport.scripted("a")
      #expect(await transport.connect("e", ScriptedLink("e")) == false)
    }
  }

  @Test func `an absent device for which a call waits is not forgotten`() async throws {
    try await withServer(limits: .testing { $0.devices = 2 }) { server, transport in
      for name in ["a", "b"] {
        _ = await transport.scripted(name)
        await transport.disconnect(name)
        await transport.advance(by: .seconds(1))
      }
      let call = server.launch(Call("m", wait: .seconds(60)), on: "a")
      await until { await server.openCalls(of: "a") == 1 }
      #expect(await transport.connect("c", ScriptedLink("c")))
      #expect(await server.devices().map(\.name) == ["a", "c"])
      let link = await transport.scripted("a")
      await link.answer(await link.next())
      #expect(await call.value.isOK)
    }
  }

  @Test func `names that are only called leave nothing behind, and push no device out`() async throws {
    try await withServer(limits: .testing { $0.devices = 100 }) { server, transport in
      _ = await transport.scripted("real")
      await transport.disconnect("real")
      for number in 0..<1_000 {
        let call = server.launch(Call("m", wait: .seconds(1)), on: "absent-\(number)")
        await until { await transport.stored("pending", "entries") == 1 }
        await transport.advance(by: .seconds(1))
        #expect(await call.value.error == .unknownDevice("absent-\(number)"))
      }
      #expect(await server.devices().map(\.name) == ["real"])
      #expect(await transport.stored("devices") == 1)
      #expect(await transport.stored("absent") < 300)
    }
  }

  @Test func `a device that comes and goes for years leaves no trail`() async throws {
    try await withServer { server, transport in
      for _ in 0..<2_000 {
        _ = await transport.scripted()
        await transport.advance(by: .seconds(1))
        await transport.disconnect("sensor-1")
      }
      #expect(await transport.stored("absent") < 100)
      #expect(await transport.stored("pending", "lanes") == 0)
      #expect(await server.devices().count == 1)
    }
  }

  @Test func `a name longer than any device's is unknown at once`() async throws {
    try await withServer { server, _ in
      let name = String(repeating: "n", count: 256)
      #expect(await server.outcome(Call("m", wait: .seconds(60)), on: name).error == .unknownDevice(name))
    }
  }
}
