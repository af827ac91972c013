import DeviceRPC
import DeviceRPCTesting
import Testing

@Suite(.timeLimit(.minutes(1))) struct ServerLinkTests {
  @Test func `when the link is replaced, waiting calls take the new one and sent ones are not repeated`()
    async throws
  {
    try await withServer { server, transport in
      let old = await transport.scripted()
      let first = server.launch(Call("first"))
      let sent = await old.next()
      let second = server.launch(Call("second"))
      await until { await server.openCalls() == 2 }
      let new = await transport.scripted()
      #expect(old.isReplaced)
      #expect(old.methods == ["first"])
      let waiting = await new.next()
      #expect(waiting.message.method == "second")
      // The device answers over its new link what came over the old one.
      await new.answer(sent, .ok, 1)
      await new.answer(waiting, .ok, 2)
      #expect(await first.value.detail == 1)
      #expect(await second.value.detail == 2)
      #expect(new.methods == ["second"])
    }
  }

  @Test func `the end of a replaced link means nothing`() async throws {
    try await withServer { server, transport in
      let old = await transport.scripted()
      let new = await transport.scripted()
      let home = try #require(transport.directory).home(of: "sensor-1")
      await home.unobserved(old, reason: "late")
      #expect(await server.onlineDevices() == 1)
      let call = server.launch(Call("m"))
      await new.answer(await new.next())
      #expect(await call.value.isOK)
    }
  }

  @Test func `nothing leaves on a new link before it is ready`() async throws {
    try await withServer { server, transport in
      let old = await transport.scripted()
      let first = server.launch(Call("first"))
      let sent = await old.next()
      let home = try #require(transport.directory).home(of: "sensor-1")
      let new = ScriptedLink("sensor-1")
      new.attach(to: home)
      #expect(await home.observed("sensor-1", on: new))
      let second = server.launch(Call("second"))
      await until { await server.openCalls() == 2 }
      // The old link's acknowledgement comes in between.
      await old.acknowledge(sent)
      #expect(new.transmissions.isEmpty)
      await home.ready(new)
      #expect(new.methods == ["second"])
      let third = server.launch(Call("third"))
      await until { await server.openCalls() == 3 }
      #expect(new.methods == ["second"])
      for call in [first, second, third] {
        call.cancel()
        #expect(await call.value.error != nil)
      }
    }
  }

  @Test func `a call that comes between a device's arrival and its being ready is sent`() async throws {
    try await withServer { server, transport in
      _ = await transport.scripted("other")
      let home = try #require(transport.directory).home(of: "sensor-1")
      let link = ScriptedLink("sensor-1")
      link.attach(to: home)
      #expect(await home.observed("sensor-1", on: link))
      let call = server.launch(Call("m"))
      await until { await server.openCalls() == 1 }
      await transport.advance(by: .seconds(1))
      await home.ready(link)
      await link.answer(await link.next())
      #expect(await call.value.isOK)
      await home.unobserved(link, reason: "end")
    }
  }

  @Test func `a call ends when its link fails before it was ready`() async throws {
    try await withServer { server, transport in
      let home = try #require(transport.directory).home(of: "sensor-1")
      let link = ScriptedLink("sensor-1")
      #expect(await home.observed("sensor-1", on: link))
      let call = server.launch(Call("m"))
      await until { await server.openCalls() == 1 }
      await home.unobserved(link, reason: "no acknowledgement")
      #expect(await call.value.error == .offline("sensor-1"))
    }
  }

  @Test func `a message that is rejected ends its call, and the next one leaves`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let calls = (0..<2).map { server.launch(Call("m\($0)")) }
      let sent = await link.next()
      await link.fail(sent, .rejected("it has reset it"))
      await link.answer(await link.next())
      var outcomes: [Outcome] = []
      for call in calls { outcomes.append(await call.value) }
      #expect(outcomes.count { $0.isOK } == 1)
      #expect(
        outcomes.compactMap(\.error) == [
          .rejected(device: "sensor-1", reason: "it has reset it")
        ])
    }
  }

  @Test func `a call that the new link cannot carry ends`() async throws {
    try await withServer { server, transport in
      let old = await transport.scripted()
      let first = server.launch(Call("first"))
      let sent = await old.next()
      let second = server.launch(Call("second"))
      await until { await server.openCalls() == 2 }
      let new = await transport.scripted { _ in "not in this format" }
      #expect(await second.value.error == .invalidCall("not in this format"))
      await new.answer(sent)
      #expect(await first.value.isOK)
    }
  }

  // MARK: Devices that ask

  @Test func `a device that asks gets the oldest call once`() async throws {
    try await withServer { server, transport in
      let home = try #require(transport.directory).home(of: "poller")
      #expect(await home.poll("poller", encode: asID) == nil)
      var calls: [Task<Outcome, Never>] = []
      for number in 0..<2 {
        calls.append(server.launch(Call("m\(number)", wait: .seconds(60)), on: "poller"))
        await until { await transport.stored("pending", "entries") == number + 1 }
      }
      let first = await home.poll("poller", encode: asID)
      #expect(first == Array("m0/74e4".utf8))
      #expect(await home.poll("poller", encode: asID) == Array("m1/74e5".utf8))
      #expect(await home.poll("poller", encode: asID) == nil)
      await home.received(id: "m0/74e4", status: .ok, detail: 1, from: "poller")
      #expect(await calls[0].value.detail == 1)
      // From the asking on, the time for a result runs.
      await transport.advance(by: .seconds(10))
      #expect(await calls[1].value.error?.delivery == .sentNoAck)
      let info = try #require(await server.device("poller").info)
      #expect(!info.isOnline && info.openCalls == 0)
      #expect(await server.outcome(Call("m"), on: "poller").error == .offline("poller"))
    }
  }

  @Test func `a call that cannot be encoded for a device that asks ends, and the next one is taken`() async throws {
    try await withServer { server, transport in
      let home = try #require(transport.directory).home(of: "poller")
      var calls: [Task<Outcome, Never>] = []
      for (number, method) in ["bad", "good"].enumerated() {
        calls.append(server.launch(Call(method, wait: .seconds(60)), on: "poller"))
        await until { await transport.stored("pending", "entries") == number + 1 }
      }
      let taken = await home.poll("poller") { (call, id) throws(CallError) in
        if call.method == "bad" { throw .invalidCall("bad") }
        return try asID(call, id)
      }
      #expect(taken == Array("good/74e5".utf8))
      #expect(await calls[0].value.error == .invalidCall("bad"))
      await home.received(id: "good/74e5", status: .ok, detail: nil, from: nil)
      #expect(await calls[1].value.isOK)
    }
  }
}

private let asID: @Sendable (Call, String) throws(CallError) -> [UInt8] = { _, id in Array(id.utf8) }
