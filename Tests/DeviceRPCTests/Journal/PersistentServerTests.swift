import DeviceRPCTesting
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import DeviceRPC

/// A device whose reactions a test decides, and the calls that it has run.
private final class Bench: Sendable {
  let devices: InMemoryDevices
  let server: DeviceRPCServer
  private let runs = Mutex<[String]>([])
  private let reactions = Mutex<[InMemoryDevices.Reaction]>([])

  init(_ journal: (any CallJournal)? = nil, loops: Int = 1, limits: Limits = .testing()) async throws {
    devices = InMemoryDevices(loops: loops)
    server = DeviceRPCServer(devices, limits: limits, journal: journal, logger: silentLog)
    try await server.start()
  }

  /// The methods of the calls that the devices have received, in order.
  var received: [String] { runs.withLock { $0 } }

  /// What the device does with the next calls; after these it answers OK.
  func react(_ next: InMemoryDevices.Reaction...) { reactions.withLock { $0 = next } }

  func connect(_ name: String = "sensor-1") async {
    await devices.connect(name) { method, _ in
      self.runs.withLock { $0.append(method) }
      return self.reactions.withLock { $0.isEmpty ? .ok(1_337) : $0.removeFirst() }
    }
  }

  func reconnect() async {
    await devices.disconnect("sensor-1")
    await connect()
  }

  @discardableResult
  func submit(_ method: String, to device: String = "sensor-1", _ persistence: CallPersistence = CallPersistence(), isOneWay: Bool = false)
    async throws -> CallID
  {
    try await server.submit(Call(method, isOneWay: isOneWay), persistence, on: device).id
  }

  func end(of call: CallID) async throws -> CallInfo { try #require(await server.info(of: call, waiting: nil)) }

  func now(_ call: CallID) async throws -> CallInfo { try #require(await server.info(of: call)) }

  /// When all that the loops and the journal have to do is done.
  func settle() async {
    for loop in server.directory.loops {
      await loop.writeRest()
      await devices.advance(by: .zero)
      await loop.writeRest()
    }
  }

  func advance(_ seconds: Double) async {
    await settle()
    await devices.advance(by: .seconds(seconds))
    await settle()
  }
}

extension CallInfo {
  fileprivate var stage: PersistentCall.State? { persistence?.state }
  fileprivate var status: RPCStatus? { if case .result(let result) = outcome { result.status } else { nil } }
  fileprivate var error: CallError? { if case .error(let error) = outcome { error } else { nil } }
}

@Suite(.timeLimit(.minutes(1))) struct PersistentServerTests {
  private func withBench(
    _ journal: (any CallJournal)? = nil, loops: Int = 1,
    limits: Limits = .testing(), _ body: (Bench) async throws -> Void
  ) async throws {
    let bench = try await Bench(journal, loops: loops, limits: limits)
    do {
      try await body(bench)
    } catch {
      await bench.server.shutdown()
      throw error
    }
    await bench.server.shutdown()
  }

  @Test func `a call waits for its device, and is told when it is done`() async throws {
    try await withBench { bench in
      let id = try await bench.submit("reboot")
      let kept = try await bench.now(id)
      #expect(kept.state == .queued && kept.stage == .queued && kept.evidence.delivery.isSafeToRepeat)
      #expect(await bench.server.calls(of: "sensor-1").map(\.id) == [id])
      await bench.connect()
      let end = try await bench.end(of: id)
      #expect(end.stage == .successful && end.status == .ok && end.persistence?.attempt == 1)
      #expect(end.wireID == kept.wireID)
      #expect(bench.received == ["reboot"])
      #expect(await bench.server.calls(of: "sensor-1").map(\.stage) == [.successful])
    }
  }

  @Test func `calls are sent in their order, also behind one that fails`() async throws {
    for pacing in CallPacing.allCases {
      try await withBench(limits: .testing { $0.pacing = pacing }) { bench in
        var ids: [CallID] = []
        for number in 1...40 { ids.append(try await bench.submit("m\(number)")) }
        bench.react(.result(.failedPrecondition, "no paper"))
        await bench.connect()
        for id in ids { _ = try await bench.end(of: id) }
        #expect(bench.received == (1...40).map { "m\($0)" }, "\(pacing)")
        let first = try await bench.now(ids[0])
        #expect(first.stage == .failed && first.status == .failedPrecondition)
        #expect(first.evidence.delivery == .refused)
      }
    }
  }

  @Test func `what the device may have run is not sent again, and expires`() async throws {
    try await withBench { bench in
      await bench.connect()
      bench.react(.lost)
      let id = try await bench.submit("open", CallPersistence(expires: .seconds(100)))
      await bench.advance(11)
      let lost = try await bench.now(id)
      #expect(lost.stage == .timeout && lost.state == .sent && lost.persistence?.reason?.contains("no acknowledgement") == true)
      await bench.reconnect()
      await bench.advance(90)
      let end = try await bench.end(of: id)
      #expect(end.error == .expired(device: "sensor-1", delivery: .sentNoAck))
      #expect(bench.received == ["open"])
    }
  }

  @Test func `a repeatable call is sent until it is answered, as often as it may be`() async throws {
    try await withBench { bench in
      await bench.connect()
      bench.react(.silence, .lost)
      let id = try await bench.submit("read", CallPersistence(attempts: 3, isRepeatable: true))
      await bench.advance(11)
      await bench.advance(11)
      // The message of the second attempt may still be under way, and the third follows when that is known to be over.
      #expect(bench.received == ["read", "read"])
      await bench.reconnect()
      #expect(try await bench.end(of: id).stage == .successful)
      #expect(bench.received == ["read", "read", "read"])
      bench.react(.lost, .silence)
      let other = try await bench.submit("other", CallPersistence(attempts: 2, isRepeatable: true))
      await bench.advance(11)
      await bench.reconnect()
      await bench.advance(11)
      let end = try await bench.end(of: other)
      #expect(end.error == .unanswered(device: "sensor-1", after: .seconds(10)))
      #expect(end.stage == .failed && bench.received.suffix(2) == ["other", "other"])
    }
  }

  @Test func `a one-way call is over when it is delivered`() async throws {
    try await withBench { bench in
      await bench.connect()
      bench.react(.silence)
      let end = try await bench.end(of: try await bench.submit("blink", isOneWay: true))
      #expect(end.stage == .delivered && end.status == .ok && end.evidence.acknowledgedAfter != nil)
    }
  }

  @Test func `a call that expires while its device is away is never sent`() async throws {
    try await withBench { bench in
      let id = try await bench.submit("late", CallPersistence(expires: .seconds(5)))
      await bench.advance(6)
      #expect(try await bench.end(of: id).error == .expired(device: "sensor-1", delivery: .notSent))
      await bench.connect()
      await bench.settle()
      #expect(bench.received.isEmpty)
    }
  }

  @Test func `a call that is taken back is not sent, or its result is not waited for`() async throws {
    try await withBench { bench in
      let first = try await bench.submit("first")
      let second = try await bench.submit("second")
      #expect(await bench.server.cancel(first)?.stage == .deleted)
      #expect(await bench.server.cancel(first)?.error == .cancelled(.notSent))
      bench.react(.silence)
      await bench.connect()
      await bench.settle()
      #expect(bench.received == ["second"])
      #expect(await bench.server.cancel(second)?.error == .cancelled(.delivered))
      // Its turn is the next one's.
      #expect(try await bench.end(of: bench.submit("third")).stage == .successful)
      await bench.server.directory.loops[0].received(
        id: try await bench.now(second).wireID, status: .ok, detail: nil, from: "sensor-1")
      #expect(try await bench.now(second).stage == .deleted)
    }
  }

  @Test func `a server that was killed leaves its calls to the next one`() async throws {
    let journal = InMemoryCallJournal(date: { Date(timeIntervalSince1970: 1_790_000_000) })
    // The first one is not shut down before the second has taken over: what it knows and the journal does not have is lost.
    let killed = try await Bench(journal)
    let away = try await killed.submit("away", to: "sensor-2")
    await killed.connect()
    killed.react(.silence, .lost)
    let silent = try await killed.submit("silent")
    await killed.settle()
    let lost = try await killed.submit("lost")
    await killed.advance(11)
    // Behind a message that is lost it is about to be sent, as far as the journal knows.
    let repeatable = try await killed.submit("repeatable", to: "sensor-1", CallPersistence(isRepeatable: true))
    await killed.settle()
    let wireIDs = [try await killed.now(lost).wireID, try await killed.now(silent).wireID]
    try await withBench(journal, loops: 3) { bench in
      await bench.connect("sensor-1")
      await bench.connect("sensor-2")
      #expect(try await bench.end(of: away).stage == .successful)
      #expect(try await bench.end(of: repeatable).persistence?.attempt == 2)
      #expect(bench.received.sorted() == ["away", "repeatable"])
      #expect(try await bench.now(lost).stage == .timeout)
      #expect(try await bench.now(silent).stage == .delivered)
      // Their results come after all, and nobody else's ids are taken for theirs.
      let home = bench.server.directory.home(of: "sensor-1")
      #expect(await home.received(id: wireIDs[0], status: .ok, detail: 7, proved: "sensor-2") == false)
      #expect(try await bench.now(lost).stage == .timeout)
      await home.received(id: wireIDs[0], status: .ok, detail: 7, from: "sensor-1")
      await home.received(id: wireIDs[1], status: .internalError, detail: nil, from: "sensor-1")
      let end = try await bench.end(of: lost)
      #expect(end.stage == .successful && end.status == .ok)
      #expect(try await bench.end(of: silent).stage == .failed)
    }
    await killed.server.shutdown()
  }

  @Test func `a call that was not sent before a shutdown is sent after it`() async throws {
    let journal = InMemoryCallJournal(date: { Date(timeIntervalSince1970: 1_790_000_000) })
    var ids: [CallID] = []
    // With a window of one, the second waits for the acknowledgement of the first.
    try await withBench(journal) { bench in
      await bench.connect()
      bench.react(.lost)
      for method in ["first", "second"] { ids.append(try await bench.submit(method)) }
      await bench.settle()
      #expect(bench.received == ["first"])
    }
    try await withBench(journal) { bench in
      let second = try await bench.now(ids[1])
      #expect(second.evidence.delivery == .notSent)
      await bench.connect()
      let end = try await bench.end(of: ids[1])
      #expect(end.stage == .successful && bench.received == ["second"])
      let first = try await bench.now(ids[0])
      #expect(first.persistence?.reason == "the server was shut down")
    }
  }

  @Test func `no other call gets the id of one that is open`() async throws {
    let journal = InMemoryCallJournal()
    let id = CallID(milliseconds: 1_790_000_000_000, instance: 1, serial: 0x74e5)
    _ = try await journal.write([
      .add(PersistentCall(id: id, wireID: "m/74e5", device: "away", call: Call("m"), created: Date(), expires: .distantFuture))
    ])
    let transport = InMemoryTransport()
    let server = DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog, journal: journal, firstSerial: 0x74e4)
    try await server.start()
    var wireIDs: [String] = []
    for _ in 1...3 { wireIDs.append(try await server.begin(Call("m", wait: .seconds(60)), on: "sensor-1").wireID) }
    #expect(wireIDs == ["m/74e4", "m/74e6", "m/74e7"])
    await server.shutdown()
  }

  @Test func `what a journal cannot take is refused, and other calls go on`() async throws {
    let journal = BrokenJournal()
    try await withBench(journal) { bench in
      await bench.connect()
      journal.breaks()
      await #expect(throws: CallError.notKept(reason: "the disk is full")) { try await bench.submit("kept") }
      #expect(try await bench.server.device("sensor-1").call("plain").status == .ok)
      journal.heals()
      await bench.advance(2)
      bench.react(.silence)
      let id = try await bench.submit("kept")
      await bench.settle()
      // What becomes of a call is written as soon as it can be.
      journal.breaks()
      await bench.server.directory.loops[0].received(id: try await bench.now(id).wireID, status: .ok, detail: nil, from: "sensor-1")
      while await !bench.server.directory.loops[0].isPaused { await Task.yield() }
      #expect(try await journal.call(id)?.progress.state == .delivered)
      journal.heals()
      await bench.devices.advance(by: .seconds(2))
      #expect(try await bench.end(of: id).stage == .successful)
      #expect(try await journal.call(id)?.progress.state == .successful)
    }
  }

  @Test func `each limit is told`() async throws {
    var kept = CallJournalLimits()
    kept.calls = 2
    let limits = Limits.testing {
      $0.persistentCallsPerDevice = 1
      $0.persistentCallBytes = 1_000
    }
    try await withBench(InMemoryCallJournal(limits: kept), limits: limits) { bench in
      await #expect(throws: CallError.invalidCall("the name of a method has no U+0000")) { try await bench.submit("a\0b", to: "a") }
      let forever = try await bench.server.submit(Call("m", timeout: .seconds(Int64.max)), CallPersistence(expires: .seconds(Int64.max)), on: "z")
      #expect(forever.call.timeout == .seconds(86_400))
      _ = await bench.server.cancel(forever.id)
      let long = Call("m", params: [.string(String(repeating: "x", count: 1_000))])
      await #expect(throws: CallError.limitExceeded("the parameters of a persistent call and its note may take 1000 bytes")) {
        try await bench.server.submit(long, on: "a")
      }
      let reference = String(repeating: "x", count: 1_001)
      await #expect(throws: CallError.invalidCall("a reference has up to 1000 bytes, without U+0000")) {
        try await bench.submit("m", to: "a", CallPersistence(reference: reference))
      }
      let first = try await bench.submit("m", to: "a")
      await #expect(throws: CallError.limitExceeded("1 calls to a are kept, as many as it may have")) { try await bench.submit("m", to: "a") }
      try await bench.submit("m", to: "b")
      await #expect(throws: CallError.limitExceeded("the journal has 2 open calls, as many as it takes")) { try await bench.submit("m", to: "c") }
      // One that is over makes room.
      _ = await bench.server.cancel(first)
      try await bench.submit("m", to: "c")
      #expect(await bench.server.info(of: first) == nil)
    }
    let server = DeviceRPCServer(transport: InMemoryTransport(), limits: .testing(), log: silentLog, journal: nil)
    try await server.start()
    await #expect(throws: CallError.notKept(reason: "this server has no journal of calls")) { try await server.submit(Call("m"), on: "a") }
    await server.shutdown()
    await #expect(throws: CallError.shuttingDown(.notSent)) {
      try await DeviceRPCServer(InMemoryDevices(), logger: silentLog).shutDown().submit(Call("m"), on: "a")
    }
  }

  @Test func `who waits for a call is told how far it is when the server ends`() async throws {
    let bench = try await Bench()
    let id = try await bench.submit("open")
    async let ended = bench.end(of: id)
    while await bench.server.status().waiters == 0 { await Task.yield() }
    await bench.server.shutdown()
    #expect(try await ended.stage == .queued)
    #expect(try await bench.end(of: id).stage == .queued)
  }

  @Test func `an attempt that waits for its turn is not sent when the one before is answered after all`() async throws {
    try await withBench { bench in
      await bench.connect()
      bench.react(.lost)
      let id = try await bench.submit("read", CallPersistence(isRepeatable: true))
      await bench.advance(12)
      #expect(try await bench.now(id).persistence?.attempt == 2)
      #expect(bench.received == ["read"])
      await bench.server.directory.loops[0].received(id: try await bench.now(id).wireID, status: .ok, detail: nil, from: "sensor-1")
      #expect(try await bench.end(of: id).stage == .successful)
      await bench.reconnect()
      await bench.advance(5)
      #expect(bench.received == ["read"])
      #expect(await bench.server.device("sensor-1").info?.openCalls == 0)
    }
  }

  @Test func `attempts have a pause between them, however short their timeout is`() async throws {
    try await withBench { bench in
      await bench.connect()
      bench.react(.lost)
      try await bench.submit("first")
      let call = Call("second", timeout: .zero)
      let id = try await bench.server.submit(call, on: "sensor-1").id
      for _ in 1...20 { await bench.advance(1) }
      let kept = try #require(try await bench.server.journal?.call(id))
      #expect((20...60).contains(kept.revision) && kept.progress.attempt <= 1)
      #expect(bench.received == ["first"])
    }
  }

  @Test func `a call that was made before the journal was read keeps its number`() async throws {
    let journal = InMemoryCallJournal()
    let id = CallID(milliseconds: 1_790_000_000_000, instance: 1, serial: 0x74e4)
    _ = try await journal.write([
      .add(PersistentCall(id: id, wireID: "m/74e4", device: "sensor-1", call: Call("m"), created: Date(), expires: .distantFuture))
    ])
    let transport = InMemoryTransport()
    let server = DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog, journal: journal, firstSerial: 0x74e4)
    let early = try await server.begin(Call("early", wait: .seconds(60)), on: "sensor-1")
    #expect(early.wireID == "early/74e4")
    try await server.start()
    #expect(await server.info(of: early.id)?.call.method == "early")
    #expect(await server.info(of: id)?.call.method == "m")
    let link = ScriptedLink("sensor-1")
    await transport.connect("sensor-1", link)
    await server.directory.loops[0].received(id: early.wireID, status: .ok, detail: "early", from: "sensor-1")
    guard case .result(let result) = await server.info(of: early.id, waiting: nil)?.outcome else {
      Issue.record("it has no result")
      return
    }
    #expect(result.detail == "early")
    await server.shutdown()
  }

  @Test func `a call whose time is over when it is made is never sent`() async throws {
    try await withBench { bench in
      await bench.connect()
      let call = try await bench.submit("m", CallPersistence(expires: .zero))
      await bench.advance(1)
      #expect(try await bench.end(of: call).stage == .expired)
      #expect(bench.received == [])
    }
  }

  @Test func `a call is found by its reference, and has its note`() async throws {
    let journal = InMemoryCallJournal()
    try await withBench(journal) { bench in
      let call = try await bench.submit("m", CallPersistence(note: ["a": 1], reference: "r"))
      try await bench.submit("m", CallPersistence(reference: "s"))
      var query = CallQuery()
      query.persistentStates = Set(PersistentCall.State.allCases)
      query.reference = "r"
      let found = await bench.server.calls(query)
      #expect(found.map(\.id) == [call] && found[0].persistence?.note == ["a": 1] && found[0].persistence?.reference == "r")
    }
  }

  @Test(arguments: [1, 2, 3, 5]) func `a result finds its call also when there are more or fewer loops than before`(loops: Int) async throws {
    let journal = InMemoryCallJournal()
    var calls: [String: (id: CallID, wire: String)] = [:]
    let before = try await Bench(journal, loops: 4)
    for name in ["a", "b", "c", "d", "e", "f"] {
      before.react(.silence)
      await before.connect(name)
      let id = try await before.submit("m", to: name, CallPersistence(expires: .seconds(86_400)))
      await before.settle()
      calls[name] = (id, try await before.now(id).wireID)
    }
    await before.server.shutdown()
    try await withBench(journal, loops: loops) { bench in
      for (name, call) in calls {
        // As a front door does that knows the device by proof and has no link of it.
        let loop = try #require(bench.server.directory.loop(ofCall: call.wire))
        #expect(await loop.take(call.wire, from: name))
      }
      for (name, call) in calls { #expect(try await bench.end(of: call.id).stage == .successful, "\(name)") }
    }
  }

  @Test func `a result of a call from before a restart counts also when its device has not connected again`() async throws {
    let journal = InMemoryCallJournal(date: { Date(timeIntervalSince1970: 1_790_000_000) })
    let killed = try await Bench(journal)
    await killed.connect()
    killed.react(.silence)
    let id = try await killed.submit("open")
    await killed.settle()
    try await withBench(journal) { bench in
      let home = bench.server.directory.home(of: "sensor-1")
      let wireID = try await bench.now(id).wireID
      await home.received(id: wireID, status: .ok, detail: nil, from: "sensor-2")
      #expect(try await bench.now(id).stage == .delivered)
      #expect(await home.receivedIfAwaited(id: wireID, status: .ok, detail: nil, from: "sensor-1"))
      #expect(try await bench.end(of: id).stage == .successful)
    }
    await killed.server.shutdown()
  }

  @Test func `what somebody else has changed in the journal is theirs`() async throws {
    let journal = InMemoryCallJournal(date: { Date(timeIntervalSince1970: 1_790_000_000) })
    try await withBench(journal) { bench in
      let id = try await bench.submit("open")
      var progress = PersistentCall.Progress()
      progress.state = .expired
      progress.ended = Date(timeIntervalSince1970: 1_790_000_000)
      _ = try await journal.write([.update(id, revision: 1, progress)])
      async let ended = bench.end(of: id)
      while await bench.server.status().waiters == 0 { await Task.yield() }
      await bench.connect()
      #expect(try await ended.stage == .expired)
      #expect(bench.received.isEmpty)
    }
  }

  @Test func `a call can be taken back while the journal cannot be written to`() async throws {
    let journal = BrokenJournal()
    try await withBench(journal) { bench in
      let ids = [try await bench.submit("first"), try await bench.submit("second")]
      journal.breaks()
      for id in ids { #expect(await bench.server.cancel(id)?.stage == .deleted) }
      journal.heals()
      while await !bench.server.directory.loops[0].isPaused { await Task.yield() }
      await bench.devices.advance(by: .seconds(2))
      await bench.connect()
      await bench.settle()
      #expect(bench.received.isEmpty)
      #expect(try await journal.call(ids[0])?.progress.state == .deleted)
    }
  }

  @Test func `its events are those of one call, however many attempts there are`() async throws {
    try await withBench { bench in
      var events = bench.server.events().makeAsyncIterator()
      await bench.connect()
      bench.react(.lost)
      let id = try await bench.submit("read", CallPersistence(isRepeatable: true))
      await bench.advance(11)
      await bench.reconnect()
      _ = try await bench.end(of: id)
      var seen: [String] = []
      while seen.last != "ended", let event = await events.next() {
        switch event {
        case .callQueued(let info): seen.append("queued \(info.id == id)")
        case .callSent(let info): seen.append("sent \(info.id == id)")
        case .callAcknowledged(let info): seen.append("acknowledged \(info.id == id)")
        case .callEnded: seen.append("ended")
        default: break
        }
      }
      #expect(seen == ["queued true", "sent true", "sent true", "acknowledged true", "ended"])
    }
  }

  @Test func `calls are found by device and state`() async throws {
    try await withBench(loops: 2) { bench in
      let away = try await bench.submit("away", to: "sensor-2")
      await bench.connect()
      let done = try await bench.submit("done")
      _ = try await bench.end(of: done)
      let plain = try await bench.server.begin(Call("plain"), on: "sensor-1", waiting: nil).id
      let server = bench.server
      #expect(await server.calls().map(\.id) == [plain, done, away])
      #expect(await server.calls(of: "sensor-1").map(\.id) == [plain, done])
      #expect(await server.calls(CallQuery(states: [.queued])).map(\.id) == [away])
      #expect(await server.calls(CallQuery(states: [.ended])).map(\.id) == [plain, done])
      #expect(await server.calls(CallQuery(persistentStates: [.successful, .expired])).map(\.id) == [done])
      #expect(await server.calls(CallQuery(before: done)).map(\.id) == [away])
      #expect(await server.calls(CallQuery(limit: 1)).map(\.id) == [plain])
    }
  }
}

extension DeviceLoop {
  fileprivate var isPaused: Bool { kept?.pausedUntil != nil }
}

extension DeviceRPCServer {
  fileprivate func shutDown() async -> DeviceRPCServer {
    await shutdown()
    return self
  }
}

/// A journal in memory that can be broken.
private final class BrokenJournal: CallJournal {
  private let journal = InMemoryCallJournal(date: { Date(timeIntervalSince1970: 1_790_000_000) })
  private let isBroken = Mutex(false)

  func breaks() { isBroken.withLock { $0 = true } }
  func heals() { isBroken.withLock { $0 = false } }

  func problem() async -> CallJournalError? { isBroken.withLock { $0 } ? CallJournalError("the disk is full") : nil }

  func write(_ changes: [CallJournalChange]) async throws(CallJournalError) -> [CallJournalOutcome] {
    if let problem = await problem() { throw problem }
    return try await journal.write(changes)
  }

  func openCalls() async throws(CallJournalError) -> [PersistentCall] { try await journal.openCalls() }
  func call(_ id: CallID) async throws(CallJournalError) -> PersistentCall? { try await journal.call(id) }
  func calls(_ query: CallJournalQuery) async throws(CallJournalError) -> [PersistentCall] { try await journal.calls(query) }
}

extension DeviceLoop {
  fileprivate func take(_ wireID: String, from name: String) -> Bool { received(id: wireID, status: .ok, detail: 1, proved: name) }
}
