import DeviceRPC
import DeviceRPCTesting
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1))) struct ServerLifeTests {
  @Test func `shutdown without open calls ends at once, and may be repeated`() async throws {
    try await withServer(limits: Limits()) { server, _ in
      await server.shutdown()
      await server.shutdown()
    }
  }

  @Test func `shutdown gives open calls their grace, and takes no new ones`() async throws {
    try await withServer(limits: Limits()) { server, transport in
      let link = await transport.scripted(window: 3)
      let calls = (0..<3).map { _ in server.launch(Call("m", timeout: .seconds(60))) }
      let sent = [await link.next(), await link.next(), await link.next()]
      let waiting = server.launch(Call("n", timeout: .seconds(60)))
      await until { await server.openCalls() == 4 }
      let end = Task { await server.shutdown() }
      await until { await server.outcome(Call("m"), on: "nobody").error == .shuttingDown(.notSent) }
      await transport.advance(by: .seconds(4))
      await link.answer(sent[0])
      await link.acknowledge(sent[1])
      #expect(await server.openCalls() == 3)
      await transport.advance(by: .seconds(1))
      await end.value
      var outcomes: [Outcome] = []
      for call in calls { outcomes.append(await call.value) }
      #expect(outcomes.count { $0.isOK } == 1)
      // What waited left when there was room: it counts as sent.
      outcomes.append(await waiting.value)
      #expect(Set(outcomes.compactMap(\.error)) == [.shuttingDown(.delivered), .shuttingDown(.sentNoAck)])
      #expect(await server.outcome(Call("m")).error == .shuttingDown(.notSent))
      #expect(await server.devices().map(\.isOnline) == [false])
    }
  }

  @Test func `shutdown ends as soon as the last open call does`() async throws {
    try await withServer(loops: 2, limits: Limits()) { server, transport in
      let links = [await transport.scripted("a"), await transport.scripted("b")]
      let calls = links.map { server.launch(Call("m"), on: $0.name) }
      let sent = [await links[0].next(), await links[1].next()]
      let end = Task { await server.shutdown() }
      for number in 0..<2 { await links[number].answer(sent[number]) }
      await end.value
      for call in calls { #expect(await call.value.isOK) }
    }
  }

  @Test func `devices are told that the server ends, after the last call and before the sockets are closed`() async throws {
    try await withServer(loops: 2, limits: Limits()) { server, transport in
      let events = server.events()
      let links = [await transport.scripted("a"), await transport.scripted("b"), await transport.scripted("gone")]
      await transport.disconnect("gone")
      let call = server.launch(Call("m"), on: "a")
      let sent = await links[0].next()
      let end = Task { await server.shutdown() }
      await until { await server.outcome(Call("m"), on: "nobody").error == .shuttingDown(.notSent) }
      // Devices that come while calls are open may bring their results.
      let late = await transport.scripted("late")
      #expect(await server.onlineDevices() == 3)
      #expect(links.allSatisfy { $0.endings.isEmpty })
      await links[0].answer(sent)
      await end.value
      #expect(await call.value.isOK)
      let reason = "the server is shutting down"
      #expect((links + [late]).map(\.endings) == [[reason], [reason], [], [reason]])
      #expect(await server.devices().map(\.evidence) == [reason, reason, "it was disconnected", reason])
      let home = try #require(transport.directory).home(of: "a")
      #expect(await home.observed("a", on: links[0]) == false)
      var offline: [String] = []
      for await case .offline(let info, reason) in events { offline.append(info.name) }
      #expect(offline.sorted() == ["a", "b", "late"])
    }
  }

  @Test func `the second shutdown returns when the first has ended`() async throws {
    try await withServer(limits: Limits()) { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m"))
      let sent = await link.next()
      let first = Task { await server.shutdown() }
      await until { await server.outcome(Call("m"), on: "nobody").error == .shuttingDown(.notSent) }
      let hasEnded = Gate()
      let second = Task {
        await server.shutdown()
        hasEnded.open()
      }
      for _ in 0..<100 { await Task.yield() }
      #expect(!hasEnded.isOpen)
      await link.answer(sent)
      await second.value
      await first.value
      #expect(await call.value.isOK)
    }
  }

  @Test func `a server that never started can be shut down, and its devices are unknown`() async throws {
    let transport = InMemoryTransport()
    let server = DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog)
    #expect(await server.outcome(Call("m")).error == .unknownDevice("sensor-1"))
    await server.shutdown()
    #expect(await server.outcome(Call("m")).error == .shuttingDown(.notSent))
    try await server.start()
    #expect(await transport.connect("sensor-1", ScriptedLink("sensor-1")) == false)
  }

  @Test func `an alarm outlives a server that was dropped without a shutdown`() async throws {
    let transport = InMemoryTransport()
    do {
      let server = DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog)
      let call = server.launch(Call("m", wait: .seconds(5)))
      await until { await transport.loops[0].alarmCount == 1 }
      call.cancel()
      #expect(await call.value.error == .cancelled(.notSent))
    }
    for _ in 0..<100 { await Task.yield() }
    await transport.advance(by: .seconds(10))
  }

  @Test func `shutdown while the server starts waits for the start, and closes what it opened`() async throws {
    let transport = SlowTransport()
    let server = DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog)
    let start = Task { try await server.start() }
    await transport.hasBegun.wait()
    let end = Task { await server.shutdown() }
    let again = Task { try await server.start() }
    for _ in 0..<100 { await Task.yield() }
    #expect(transport.steps == ["starting"])
    transport.mayGoOn.open()
    try await start.value
    try await again.value
    await end.value
    #expect(transport.steps == ["starting", "started", "closed"])
  }

  @Test func `a second start returns when devices can connect`() async throws {
    let transport = SlowTransport()
    let server = DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog)
    let first = Task { try await server.start() }
    await transport.hasBegun.wait()
    let second = Task {
      try await server.start()
      return transport.steps
    }
    for _ in 0..<100 { await Task.yield() }
    transport.mayGoOn.open()
    #expect(try await second.value == ["starting", "started"])
    try await first.value
    await server.shutdown()
  }

  @Test func `a start that failed can be tried again`() async throws {
    let transport = SlowTransport(failures: 1)
    transport.mayGoOn.open()
    let server = DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog)
    await #expect(throws: SlowTransport.Failure.self) { try await server.start() }
    try await server.start()
    try await server.start()
    await server.shutdown()
    #expect(transport.steps == ["starting", "starting", "started", "closed"])
  }

  @Test func `run ends when its task is cancelled, and throws what the start throws`() async throws {
    let transport = SlowTransport(failures: 1)
    transport.mayGoOn.open()
    let server = DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog)
    await #expect(throws: SlowTransport.Failure.self) { try await server.run() }
    #expect(transport.steps == ["starting", "closed"])

    let other = SlowTransport()
    other.mayGoOn.open()
    let running = DeviceRPCServer(transport: other, limits: .testing(), log: silentLog)
    let run = Task { try await running.run() }
    await until { other.steps.contains("started") }
    run.cancel()
    try await run.value
    #expect(other.steps == ["starting", "started", "closed"])
  }
}

/// A transport whose start takes until the test lets it go on.
private final class SlowTransport: DeviceTransport {
  struct Failure: Error {}

  let drivers: [any LoopDriver] = [ManualLoop()]
  let callerExecutors: [any TaskExecutor] = []
  let addresses: [String] = []
  let hasBegun = Gate()
  let mayGoOn = Gate()
  private let state: Mutex<(failures: Int, steps: [String])>

  init(failures: Int = 0) { state = Mutex((failures, [])) }

  var steps: [String] { state.withLock { $0.steps } }

  func start(_ directory: DeviceDirectory) async throws {
    state.withLock { $0.steps.append("starting") }
    hasBegun.open()
    await mayGoOn.wait()
    let fails = state.withLock { state in
      state.failures -= 1
      return state.failures >= 0
    }
    if fails { throw Failure() }
    state.withLock { $0.steps.append("started") }
  }

  func close() async { state.withLock { $0.steps.append("closed") } }
}

private final class Gate: Sendable {
  private let state = Mutex<(isOpen: Bool, waiting: [CheckedContinuation<Void, Never>])>((false, []))

  var isOpen: Bool { state.withLock { $0.isOpen } }

  func open() {
    let waiting = state.withLock { state in
      defer { state = (true, []) }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }

  func wait() async {
    await withCheckedContinuation { continuation in
      let isOpen = state.withLock { state in
        if !state.isOpen { state.waiting.append(continuation) }
        return state.isOpen
      }
      if isOpen { continuation.resume() }
    }
  }
}
