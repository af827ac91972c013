import Foundation
import TestSupport
import Testing

@testable import DeviceRPC

private let start = Date(timeIntervalSince1970: 1_790_000_000)

private func call(
  _ serial: UInt32 = 0x74e4, device: String = "sensor-1", isOneWay: Bool = false, attempts: Int? = nil, isRepeatable: Bool = false,
  expires: Double = 3_600
) -> PersistentCall {
  PersistentCall(
    id: CallID(milliseconds: 1_790_000_000_000 + Int64(serial), instance: 7, serial: serial),
    wireID: PendingCalls<DeviceState, Never>.id(method: "m", serial: serial), device: device, call: Call("m", isOneWay: isOneWay),
    created: start, expires: start.addingTimeInterval(expires), attempts: attempts, isRepeatable: isRepeatable)
}

/// What becomes of one call.
struct PersistentCallTests {
  private static let result = PersistentCall.Event.result(.ok, ["value": 1])

  @Test(
    "Each history ends in the state that the diagram says",
    arguments: [
      ([], .queued, 0, .notSent), ([.sending], .sent, 1, .sentNoAck), ([.sending, .notSent], .sent, 0, .notSent),
      ([.sending, .acknowledged], .delivered, 1, .delivered), ([.sending, result], .successful, 1, .delivered),
      ([.sending, .acknowledged, result], .successful, 1, .delivered),
      ([.sending, .lost(reason: "x")], .timeout, 1, .sentNoAck), ([.sending, .lost(reason: "x"), .acknowledged], .delivered, 1, .delivered),
      ([.sending, .lost(reason: "x"), result], .successful, 1, .delivered),
      ([.sending, .acknowledged, .unanswered(reason: "x")], .delivered, 1, .delivered),
      ([.sending, .acknowledged, .unanswered(reason: "x"), result], .successful, 1, .delivered),
      ([.sending, .result(.internalError, nil)], .failed, 1, .refused), ([.expired], .expired, 0, .notSent),
      ([.sending, .expired], .expired, 1, .sentNoAck), ([.deleted], .deleted, 0, .notSent),
      ([.sending, .failed(.notSent, reason: "x")], .failed, 1, .notSent),
      // A result of what was never sent, and what comes after the end, change nothing.
      ([result], .queued, 0, .notSent), ([.acknowledged], .queued, 0, .notSent), ([.expired, .sending, result], .expired, 0, .notSent),
      ([.sending, result, .deleted, .expired, .lost(reason: "x")], .successful, 1, .delivered),
      // What may have run is not sent again.
      ([.sending, .lost(reason: "x"), .sending], .timeout, 1, .sentNoAck),
      ([.sending, .notSent, .sending], .sent, 1, .sentNoAck),
    ] as [([PersistentCall.Event], PersistentCall.State, Int, Delivery)])
  func history(_ events: [PersistentCall.Event], _ state: PersistentCall.State, _ attempt: Int, _ delivery: Delivery) {
    let end = call().after(events)
    #expect(end.progress.state == state)
    #expect(end.progress.attempt == attempt)
    #expect(end.progress.delivery == delivery)
    #expect(end.isOver == [.successful, .failed, .expired, .deleted].contains(state))
  }

  @Test("A repeatable call is sent again as often as it may be, and then has failed")
  func repeatable() {
    let lost = PersistentCall.Event.lost(reason: "no acknowledgement")
    let twice = call(attempts: 3, isRepeatable: true).after([.sending, lost, .sending, lost])
    #expect(twice.progress.state == .timeout && twice.progress.attempt == 2 && twice.maySend)
    let exhausted = twice.after([.sending, lost])
    #expect(exhausted.progress.state == .failed && exhausted.progress.reason == "no acknowledgement")
    #expect(exhausted.info.outcome == .error(.undelivered(device: "sensor-1", reason: "no acknowledgement")))
    // The state tells the most that is known: it stays delivered.
    let again = call(isRepeatable: true).after([.sending, .acknowledged, .unanswered(reason: "x"), .sending])
    #expect(again.progress.state == .delivered && again.progress.attempt == 2)
    #expect(call(attempts: 1, isRepeatable: true).after([.sending, .acknowledged, .unanswered(reason: "x")]).progress.state == .failed)
  }

  @Test("A one-way call is over when it is delivered, and its result does not matter")
  func oneWay() {
    let delivered = call(isOneWay: true).after([.sending, .acknowledged])
    #expect(delivered.progress.state == .delivered && delivered.isOver)
    guard case .result(let result) = delivered.info.outcome else {
      Issue.record("it has no result")
      return
    }
    #expect(result.status == .ok && result.detail == nil)
    #expect(call(isOneWay: true).after([.sending, .result(.internalError, "x")]).progress.state == .delivered)
  }
}

extension PersistentCall {
  fileprivate func after(_ events: [Event]) -> PersistentCall {
    events.reduce(self) { call, event in call.progress(after: event, at: start).map(call.updated) ?? call }
  }
}

/// The open calls of a loop, with random histories: against a journal, devices, and a server that may end at any moment.
struct PersistentCallsModelTests {
  /// What is really there: the journal, what was told it and not written yet, and what has left the server.
  private struct World {
    var journal: [CallID: PersistentCall] = [:]
    var unwritten: [CallJournalChange] = []
    var calls: PersistentCalls
    // Attempts by what has become of them: their state SENT is not written, or they are on their way.
    var announced: [(entry: PersistentCalls.Entry, writes: Int)] = []
    var underWay: [PersistentCalls.Entry] = []
    var left: [CallID: Int] = [:]
    var order: [String: [CallID]] = [:]
    var written = 0
    var told = 0

    mutating func tell(_ change: CallJournalChange?) {
      guard let change else { return }
      unwritten.append(change)
      told += 1
    }

    mutating func write(_ count: Int) throws {
      for change in unwritten.prefix(count) {
        guard case .update(let id, let revision, let progress) = change else { continue }
        let before = try #require(journal[id])
        #expect(before.revision == revision)
        #expect(Self.allowed[before.progress.state]?.contains(progress.state) == true, "\(before.progress.state) to \(progress.state)")
        journal[id] = before.updated(progress)
      }
      written += min(count, unwritten.count)
      unwritten.removeFirst(min(count, unwritten.count))
      // What is written leaves.
      for (entry, writes) in announced where writes <= written && entry.isUnderWay && !entry.call.isOver {
        left[entry.call.id, default: 0] += 1
        underWay.append(entry)
      }
      announced.removeAll { $0.writes <= written }
    }

    private static let ends: Set<PersistentCall.State> = [.successful, .failed, .expired, .deleted]
    private static let allowed: [PersistentCall.State: Set<PersistentCall.State>] = [
      .queued: [.sent, .failed, .expired, .deleted], .sent: ends.union([.sent, .delivered, .timeout]),
      .timeout: ends.union([.sent, .timeout, .delivered]), .delivered: ends.union([.delivered]),
    ]
  }

  @Test("No call that is not repeatable leaves twice, however often the server ends", arguments: CallPacing.allCases, 1...10)
  func model(_ pacing: CallPacing, _ seed: Int) throws {
    var random = SeededGenerator(state: UInt64(seed))
    var world = World(calls: PersistentCalls(pacing: pacing))
    var serial: UInt32 = 0
    let devices = ["a", "b", "c"]
    var now = start
    for step in 0..<1_000 {
      now += Double.random(in: 0...2, using: &random)
      let device = devices.randomElement(using: &random)!
      let entry = world.underWay.randomElement(using: &random)
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<20:
        serial += 1
        let new = call(
          serial, device: device, isOneWay: .random(using: &random), attempts: Bool.random(using: &random) ? 3 : nil,
          isRepeatable: Int.random(in: 0..<3, using: &random) == 0, expires: now.timeIntervalSince(start) + .random(in: 1...2_000, using: &random))
        world.journal[new.id] = new
        world.calls.add(new)
      case 20..<45:
        while let (entry, change) = world.calls.next(for: device, now: now) {
          world.tell(change)
          world.announced.append((entry, world.told))
        }
      case 45..<60: try world.write(.random(in: 0...4, using: &random))
      case 60..<68: if let entry { world.tell(world.calls.acknowledged(entry, now: now)) }
      case 68..<88:
        guard let entry else { break }
        world.underWay.removeAll { $0 === entry }
        let events: [PersistentCall.Event] = [
          .notSent, .lost(reason: "x"), .unanswered(reason: "x"), .result(.ok, nil), .result(.internalError, nil), .failed(.unreadable, reason: "x"),
        ]
        let event = events.randomElement(using: &random)!
        if event == .notSent { world.left[entry.call.id]! -= 1 }
        world.tell(world.calls.over(entry, event, now: now))
      case 88..<92:
        if let open = world.calls.all(of: nil).randomElement(using: &random), let entry = world.calls[open.id] {
          world.tell(world.calls.happened(.random(using: &random) ? .deleted : .result(.ok, nil), to: entry, now: now))
        }
      case 92..<97: while let (_, change) = world.calls.expire(now: now) { world.tell(change) }
      default:
        // The server ends, now and then without having written everything.
        if .random(using: &random) { try world.write(.max) }
        world.unwritten = []
        world.announced = []
        world.underWay = []
        (world.written, world.told) = (0, 0)
        world.calls = PersistentCalls(pacing: pacing)
        for kept in world.journal.values.filter({ !$0.isOver }).sorted(by: { $0.id < $1.id }) { world.calls.add(kept) }
      }
      world.underWay.removeAll { !$0.isUnderWay }
      let tooOften = world.left.filter { id, times in world.journal[id].map { times > ($0.isRepeatable ? $0.attempts ?? .max : 1) } ?? true }
      #expect(tooOften.isEmpty, "step \(step)")
      // What the journal has, once it has everything, is what the table has.
      var journal = world.journal
      for case .update(let id, _, let progress) in world.unwritten { journal[id] = journal[id]!.updated(progress) }
      #expect(journal.values.count { !$0.isOver } == world.calls.count, "step \(step)")
      #expect(world.calls.all(of: nil).allSatisfy { journal[$0.id] == $0 }, "step \(step)")
    }
    // In the end everything ends.
    try world.write(.max)
    while let (_, change) = world.calls.expire(now: .distantFuture) { world.tell(change) }
    try world.write(.max)
    #expect(world.journal.values.allSatisfy(\.isOver) && world.calls.count == 0 && serial > 100)
  }

  @Test("A device gets its calls in the order in which they were made, as its pacing says")
  func order() throws {
    for (pacing, sizes) in [(CallPacing.burst, [16, 4]), (.nextOnAcknowledgement, [1, 1]), (.nextOnResult, [1, 0])] {
      var calls = PersistentCalls(pacing: pacing)
      for serial in 1...20 { calls.add(call(UInt32(serial))) }
      func sent() -> [PersistentCalls.Entry] {
        var sent: [PersistentCalls.Entry] = []
        while let (entry, _) = calls.next(for: "sensor-1", now: start) { sent.append(entry) }
        return sent
      }
      let first = sent()
      #expect(first.map(\.call.id.serial) == (1...sizes[0]).map { UInt32($0) }, "\(pacing)")
      if pacing != .burst {
        _ = calls.acknowledged(first[0], now: start)
        #expect(sent().count == sizes[1], "\(pacing)")
      }
      for entry in first { _ = calls.over(entry, .result(.ok, nil), now: start) }
      if pacing == .burst { #expect(sent().map(\.call.id.serial) == [17, 18, 19, 20]) } else if pacing == .nextOnResult { #expect(sent().count == 1) }
    }
    // What was not sent after all goes before what was made later.
    var calls = PersistentCalls(pacing: .nextOnResult)
    for serial in 1...3 { calls.add(call(UInt32(serial))) }
    let first = try #require(calls.next(for: "sensor-1", now: start)?.entry)
    #expect(calls.waitingCount("sensor-1") == 2)
    _ = calls.over(first, .notSent, now: start)
    #expect(calls.next(for: "sensor-1", now: start)?.entry === first)
  }
}
