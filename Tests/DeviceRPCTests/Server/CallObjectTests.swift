import DeviceRPCTesting
import FoundationEssentials
import Testing

@testable import DeviceRPC

/// Calls that are begun, looked at, waited for and cancelled by their ids.
@Suite(.timeLimit(.minutes(1))) struct CallObjectTests {
  @Test(arguments: [1, 3])
  func `a call is begun, and looked at until and after its end`(loops: Int) async throws {
    try await withServer(loops: loops) { server, transport in
      let link = await transport.scripted()
      let begun = try await server.begin(Call("multiply", params: [7, 191]), on: "sensor-1")
      #expect(begun.device == "sensor-1" && begun.call == Call("multiply", params: [7, 191]))
      #expect(begun.state == .sent && begun.outcome == nil && begun.ended == nil && begun.evidence.delivery == .sentNoAck)
      let sent = await link.next()
      #expect(begun.wireID == sent.id)
      await transport.advance(by: .milliseconds(20))
      await link.acknowledge(sent)
      let acknowledged = try #require(await server.info(of: begun.id))
      #expect(acknowledged.state == .acknowledged && acknowledged.evidence.acknowledgedAfter == .milliseconds(20))
      await transport.advance(by: .milliseconds(20))
      await link.answer(sent, .ok, 1_337)
      let ended = try #require(await server.info(of: begun.id))
      #expect(ended.state == .ended && ended.id == begun.id && ended.created == begun.created)
      #expect(ended.ended == begun.created.addingTimeInterval(0.04))
      guard case .result(let result) = ended.outcome else {
        Issue.record("\(ended)")
        return
      }
      #expect(result.detail == 1_337 && result.evidence == ended.evidence)
      // Another server's, and one that was never given.
      let foreign = CallID(milliseconds: 1, instance: 1, serial: begun.id.serial)
      #expect(await server.info(of: foreign) == nil)
      #expect(await server.cancel(foreign) == nil)
    }
  }

  @Test func `a call is waited for by several, each for a time of its own`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let id = try await server.begin(Call("m"), on: "sensor-1").id
      let sent = await link.next()
      async let short = server.info(of: id, waiting: .seconds(1))
      async let long = server.info(of: id, waiting: .seconds(5))
      async let whole = server.info(of: id, waiting: nil)
      await until { await transport.waiting() == 3 }
      await transport.advance(by: .seconds(1))
      #expect(await short?.state == .sent)
      #expect(await transport.waiting() == 2)
      await link.answer(sent, .ok, true)
      #expect(await long?.state == .ended)
      #expect(await whole?.state == .ended)
      #expect(await transport.waiting() == 0)
      // There is nothing to wait for any more.
      #expect(await server.info(of: id, waiting: nil)?.state == .ended)
    }
  }

  @Test func `whoever begins a call may wait for its end at once`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      async let ended = server.begin(Call("m"), on: "sensor-1", waiting: .seconds(5))
      await link.answer(await link.next(), .notFound, nil)
      guard case .result(let result) = try await ended.outcome else {
        Issue.record("no result")
        return
      }
      #expect(result.status == .notFound)
      async let late = server.begin(Call("m"), on: "sensor-1", waiting: .seconds(5))
      _ = await link.next()
      await until { await transport.waiting() == 1 }
      await transport.advance(by: .seconds(5))
      let open = try await late
      #expect(open.state == .sent)
      await transport.advance(by: .seconds(5))
      let failed = try #require(await server.info(of: open.id))
      #expect(failed.outcome == .error(.undelivered(device: "sensor-1", reason: "no acknowledgement seen within 10 s")))
    }
  }

  @Test func `who stops waiting does not end the call`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let id = try await server.begin(Call("m"), on: "sensor-1").id
      let waiting = Task { await server.info(of: id, waiting: nil) }
      await until { await transport.waiting() == 1 }
      waiting.cancel()
      #expect(await waiting.value?.state == .sent)
      let beginning = Task { try await server.begin(Call("n"), on: "sensor-1", waiting: nil) }
      await until { await transport.waiting() == 1 }
      beginning.cancel()
      let begun = try await beginning.value
      #expect(begun.state == .queued)
      await link.answer(await link.next(), .ok, nil)
      await link.answer(await link.next(), .ok, nil)
      #expect(await server.calls().map(\.state) == [.ended, .ended])
    }
  }

  @Test func `what is refused at once has no id, what fails later has`() async throws {
    try await withServer(limits: .testing { $0.callsPerDevice = 2 }) { server, transport in
      await #expect(throws: CallError.unknownDevice("x")) { try await server.begin(Call("m"), on: "x") }
      #expect(await server.calls() == [])
      let waiting = try await server.begin(Call("m", wait: .seconds(3)), on: "x")
      #expect(waiting.state == .queued && waiting.evidence.delivery == .notSent)
      await transport.advance(by: .seconds(3))
      #expect(await server.info(of: waiting.id)?.outcome == .error(.unknownDevice("x")))
      _ = await transport.scripted { $0.method == "bad" ? "no" : nil }
      await #expect(throws: CallError.invalidCall("no")) { try await server.begin(Call("bad"), on: "sensor-1") }
      for _ in 0..<2 { _ = try await server.begin(Call("m"), on: "sensor-1") }
      await #expect(throws: CallError.self) { try await server.begin(Call("m"), on: "sensor-1") }
    }
  }

  @Test func `a call is cancelled once, by its id, and says how far it had come`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let first = try await server.begin(Call("m"), on: "sensor-1").id
      let second = try await server.begin(Call("n"), on: "sensor-1").id
      let third = server.launch(Call("o"))
      await until { await server.openCalls() == 3 }
      #expect(await server.cancel(second)?.outcome == .error(.cancelled(.notSent)))
      #expect(await server.cancel(first)?.outcome == .error(.cancelled(.sentNoAck)))
      #expect(await server.cancel(first)?.outcome == .error(.cancelled(.sentNoAck)))
      #expect(await link.next().id.hasPrefix("m/"))
      // A call of a Swift caller is one like the others.
      let last = try #require(await server.calls(limit: 1).first)
      #expect(last.call.method == "o")
      await server.cancel(last.id)
      #expect(await third.value.error == .cancelled(.notSent))
    }
  }

  @Test func `calls are listed newest first, in pages, of one device or all`() async throws {
    try await withServer(loops: 3) { server, transport in
      for number in 0..<20 {
        let name = "d\(number % 4)"
        if number < 4 { _ = await transport.scripted(name) }
        _ = try await server.begin(Call("m\(number)"), on: name)
        await transport.advance(by: .milliseconds(1))
        if number % 3 == 0, let id = await server.calls(of: name, limit: 1).first?.id { await server.cancel(id) }
      }
      var methods: [String] = []
      var last: CallID?
      while true {
        let page = await server.calls(limit: 7, before: last)
        if page.isEmpty { break }
        methods += page.map(\.call.method)
        last = page.last?.id
      }
      #expect(methods == (0..<20).reversed().map { "m\($0)" })
      #expect(await server.calls(of: "d1", limit: 3).map(\.call.method) == ["m17", "m13", "m9"])
      #expect(await server.calls(of: "nobody") == [])
      #expect(await server.calls(limit: -1) == [])
    }
  }

  @Test func `ended calls are remembered up to the limits, of each device and in all`() async throws {
    let limits = Limits.testing {
      $0.endedCalls = 10
      $0.endedCallsPerDevice = 4
    }
    try await withServer(limits: limits) { server, transport in
      for name in ["a", "b", "c"] { _ = await transport.scripted(name) }
      func call(_ name: String) async throws -> CallID {
        let id = try await server.begin(Call("m"), on: name).id
        await server.cancel(id)
        return id
      }
      let (a, b) = (try await call("a"), try await call("b"))
      // A busy device takes the place of its own calls only.
      for _ in 0..<100 { _ = try await call("c") }
      #expect(await server.calls().count == 6)
      #expect(await server.calls(of: "c").count == 4)
      #expect(await server.info(of: a) != nil)
      for _ in 0..<3 {
        _ = try await call("a")
        _ = try await call("b")
      }
      // Ten in all: the oldest made room.
      #expect(await server.calls().count == 10)
      #expect(await server.info(of: a) == nil)
      #expect(await server.info(of: b) == nil)
      #expect(await transport.stored("history", "calls") == 10)
      #expect(await transport.stored("history", "order") <= 2 * 10 + 64)
    }
  }

  @Test func `the memory of ended calls is bounded, and nothing is remembered where the limit is none`() async throws {
    try await withServer(limits: .testing { $0.endedCallBytes = 20_000 }) { server, transport in
      _ = await transport.scripted()
      for _ in 0..<10 {
        let text = RPCValue.string(String(repeating: "x", count: 4_500))
        await server.cancel(try await server.begin(Call("m", params: [text]), on: "sensor-1").id)
      }
      #expect(await server.calls().count == 3)
      await server.cancel(
        try await server.begin(Call("m", params: [.string(String(repeating: "x", count: 30_000))]), on: "sensor-1").id)
      #expect(await server.calls().isEmpty)
    }
    for limits in [Limits.testing { $0.endedCalls = 0 }, .testing { $0.endedCallsPerDevice = -1 }] {
      try await withServer(limits: limits) { server, transport in
        let link = await transport.scripted()
        async let call = server.begin(Call("m"), on: "sensor-1", waiting: nil)
        await link.answer(await link.next(), .ok, nil)
        let ended = try await call
        #expect(ended.state == .ended)
        #expect(await server.calls().isEmpty)
      }
    }
  }

  @Test func `an id stays the same when the wall clock is set`() async throws {
    try await withServer { server, transport in
      _ = await transport.scripted()
      let begun = try await server.begin(Call("m"), on: "sensor-1")
      for loop in transport.loops { loop.setWallClock(forward: -3_600) }
      let later = try #require(await server.info(of: begun.id))
      #expect(later.id == begun.id && later.created < begun.created)
      #expect(await server.cancel(begun.id)?.id == begun.id)
    }
  }

  @Test func `all who wait are told when the server ends`() async throws {
    let transport = InMemoryTransport()
    let server = DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog)
    try await server.start()
    _ = await transport.scripted()
    let id = try await server.begin(Call("m"), on: "sensor-1").id
    async let waiting = server.info(of: id, waiting: nil)
    await until { await transport.waiting() == 1 }
    await server.shutdown()
    #expect(await waiting?.outcome == .error(.shuttingDown(.sentNoAck)))
    await #expect(throws: CallError.shuttingDown(.notSent)) { try await server.begin(Call("m"), on: "sensor-1") }
  }

  @Test func `devices are listed in pages, by state and by the beginning of their names`() async throws {
    try await withServer(loops: 3) { server, transport in
      for number in 10..<40 { _ = await transport.scripted("d\(number)") }
      _ = await transport.scripted("x")
      for number in 20..<30 { await transport.disconnect("d\(number)") }
      var names: [String] = []
      var query = DeviceQuery(prefix: "d", limit: 7)
      while true {
        let page = await server.devices(query)
        if page.isEmpty { break }
        names += page.map(\.name)
        query.after = page.last?.name
        // Those that come and go meanwhile do not move the others.
        await transport.disconnect("x")
      }
      #expect(names == (10..<40).map { "d\($0)" })
      #expect(await server.devices(DeviceQuery(states: [.offline], prefix: "d")).map(\.name) == (20..<30).map { "d\($0)" })
      #expect(await server.devices(DeviceQuery(states: [.observing], after: "d28", limit: 2)).map(\.name) == ["d30", "d31"])
      #expect(await server.devices(DeviceQuery(limit: -1)).isEmpty)
    }
  }
}

extension InMemoryTransport {
  /// How many wait for ends of calls.
  fileprivate func waiting() async -> Int {
    var count = 0
    for loop in directory?.loops ?? [] { count += await loop.waiterCount }
    return count
  }
}

extension DeviceLoop {
  fileprivate var waiterCount: Int { waiters.count }
}
