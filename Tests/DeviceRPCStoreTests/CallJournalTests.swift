import DeviceRPC
import Foundation
import GRDB
import Synchronization
import Testing

@testable import DeviceRPCStore

/// The wall clock of a test.
private final class Wall: Sendable {
  private let time = Mutex(Date(timeIntervalSince1970: 1_790_000_000))
  var now: Date { time.withLock { $0 } }
  func advance(_ seconds: Double) { time.withLock { $0 += seconds } }
}

/// The journals that there are: each passes the same tests.
enum JournalKind: CaseIterable {
  case memory, sqlite

  fileprivate func with(
    calls: Int = 1_000, _ body: (any CallJournal, Wall) async throws -> Void
  ) async throws {
    let wall = Wall()
    var limits = CallJournalLimits()
    limits.calls = calls
    switch self {
    case .memory: try await body(InMemoryCallJournal(limits: limits, date: { wall.now }), wall)
    case .sqlite:
      try await withDirectory { directory in
        let journal = try SQLiteCallJournal(directory: directory, limits: limits) { wall.now }
        defer { journal.close() }
        try await body(journal, wall)
      }
    }
  }
}

private func call(_ number: UInt32, device: String = "sensor-1", params: RPCValue = [7, 191]) -> PersistentCall {
  let created = Date(timeIntervalSince1970: 1_790_000_000 + Double(number))
  return PersistentCall(
    id: CallID(milliseconds: 1_790_000_000_000 + Int64(number) * 1_000, instance: 7, serial: number), wireID: "m/\(number)", device: device,
    call: Call("m", params: params, timeout: .milliseconds(2_500), isOneWay: number.isMultiple(of: 2)), created: created,
    expires: created.addingTimeInterval(3_600), attempts: number.isMultiple(of: 3) ? 5 : nil, isRepeatable: number.isMultiple(of: 3))
}

private func progress(_ state: PersistentCall.State, ended: Date? = nil) -> PersistentCall.Progress {
  var progress = PersistentCall.Progress()
  progress.state = state
  progress.attempt = 2
  progress.delivery = .delivered
  progress.sent = Date(timeIntervalSince1970: 1_790_000_001.5)
  progress.acknowledged = Date(timeIntervalSince1970: 1_790_000_002)
  progress.ended = ended
  progress.reason = "none"
  return progress
}

extension CallJournal {
  // Without the types of what they throw, which `#expect` does not know.
  fileprivate func make(_ changes: [CallJournalChange]) async throws -> [CallJournalOutcome] { try await write(changes) }
  fileprivate func get(_ id: CallID) async throws -> PersistentCall? { try await call(id) }
  fileprivate func open() async throws -> [PersistentCall] { try await openCalls() }
  fileprivate func find(_ query: CallJournalQuery) async throws -> [PersistentCall] { try await calls(query) }
}

@Suite(.timeLimit(.minutes(1))) struct CallJournalTests {
  @Test(arguments: JournalKind.allCases) func `a call comes back as it was written`(_ kind: JournalKind) async throws {
    let values: [RPCValue] = [
      [], [nil, true, false, 7, -7, 7.0, 0.1, 1e300, .unsigned(.max), .integer(.min), "Grüße \"\\\n\u{0}", .bytes([0, 255]), .bytes([])],
      [.double(.infinity), .double(-.infinity), ["a": ["b": [[:], []]]], ["$bytes": "AP8="], ["$$": .bytes([1]), "$number": "nan"]],
      [["$number": .double(.infinity)], ["$bytes": 7], ["": "$bytes"]],
      .array(Array(repeating: .bytes([]), count: 40_000)),
    ]
    try await kind.with { journal, _ in
      for (number, value) in values.enumerated() {
        let call = call(UInt32(number), params: value)
        #expect(try await journal.make([.add(call)]) == [.done])
        #expect(try await journal.get(call.id) == call)
        var answer = progress(.successful, ended: Date(timeIntervalSince1970: 1_790_000_003))
        answer.answered = answer.ended
        answer.status = .dataLoss
        answer.detail = value
        answer.reason = nil
        #expect(try await journal.make([.update(call.id, revision: 1, answer)]) == [.done])
        let read = try #require(try await journal.get(call.id))
        #expect(read == call.updated(answer))
        #expect("\(read.call.params)" == "\(value)" && "\(read.progress.detail ?? nil)" == "\(value)")
      }
      let id = CallID(milliseconds: 1, instance: 1, serial: 1)
      #expect(try await journal.get(id) == nil)
    }
  }

  @Test(arguments: JournalKind.allCases) func `a change is made to the revision that it expects, and to no other`(_ kind: JournalKind) async throws {
    try await kind.with { journal, _ in
      let (one, two) = (call(1), call(2))
      let added = try await journal.make([.add(one), .add(one), .add(two)])
      #expect(added == [.done, .conflict, .done])
      #expect(
        try await journal.make([
          .update(one.id, revision: 2, progress(.sent)), .update(one.id, revision: 1, progress(.sent)),
          .update(one.id, revision: 1, progress(.delivered)), .update(one.id, revision: 2, progress(.timeout)),
          .update(call(3).id, revision: 1, progress(.sent)), .update(two.id, revision: 1, progress(.expired, ended: Date())),
        ]) == [.conflict, .done, .conflict, .done, .conflict, .done])
      #expect(try await journal.get(one.id)?.progress.state == .timeout)
      #expect(try await journal.get(one.id)?.revision == 3)
      #expect(try await journal.open().map(\.id) == [one.id])
      #expect(try await journal.make([]) == [])
    }
  }

  @Test(arguments: JournalKind.allCases) func `many write at once, and each change is made once`(_ kind: JournalKind) async throws {
    try await kind.with { journal, _ in
      try await withThrowingTaskGroup(of: Int.self) { group in
        for _ in 0..<20 {
          group.addTask { try await journal.make((1...50).map { .add(call($0)) }).count { $0 == .done } }
        }
        var done = 0
        for try await count in group { done += count }
        #expect(done == 50)
      }
      #expect(try await journal.open().map(\.id) == (1...50).map { call($0).id })
    }
  }

  @Test(arguments: JournalKind.allCases) func `calls are found by device, state and page, newest first`(_ kind: JournalKind) async throws {
    try await kind.with { journal, _ in
      let calls = (1...9).map { call($0, device: $0 <= 5 ? "a" : "b") }
      _ = try await journal.make(calls.map { .add($0) })
      _ = try await journal.make([.update(calls[6].id, revision: 1, progress(.sent)), .update(calls[1].id, revision: 1, progress(.sent))])
      #expect(try await journal.find(CallJournalQuery()).map(\.id.serial) == [9, 8, 7, 6, 5, 4, 3, 2, 1])
      #expect(try await journal.find(CallJournalQuery(device: "a")).map(\.id.serial) == [5, 4, 3, 2, 1])
      #expect(try await journal.find(CallJournalQuery(states: [.sent])).map(\.id.serial) == [7, 2])
      #expect(try await journal.find(CallJournalQuery(device: "b", states: [.sent, .timeout])).map(\.id.serial) == [7])
      #expect(try await journal.find(CallJournalQuery(states: [])).map(\.id.serial) == [])
      #expect(try await journal.find(CallJournalQuery(before: calls[3].id, limit: 2)).map(\.id.serial) == [3, 2])
      #expect(try await journal.find(CallJournalQuery(limit: 0)).map(\.id.serial) == [])
      #expect(try await journal.find(CallJournalQuery(device: "'; DROP TABLE calls; --")).map(\.id.serial) == [])
    }
  }

  @Test(arguments: JournalKind.allCases) func `a full journal keeps what is open, and forgets what is over and old`(_ kind: JournalKind) async throws {
    try await kind.with(calls: 3) { journal, wall in
      let calls = (1...6).map { call($0) }
      #expect(try await journal.make(calls[..<4].map { .add($0) }) == [.done, .done, .done, .full(limit: 3)])
      _ = try await journal.make([.update(calls[1].id, revision: 1, progress(.expired, ended: wall.now))])
      #expect(try await journal.make([.add(calls[3]), .add(calls[4])]) == [.done, .full(limit: 3)])
      #expect(try await journal.get(calls[1].id) == nil)
      #expect(try await journal.open().map(\.id) == [calls[0].id, calls[2].id, calls[3].id])
      _ = try await journal.make([.update(calls[0].id, revision: 1, progress(.successful, ended: wall.now))])
      wall.advance(8 * 86_400)
      // What is over and old goes when something is written.
      _ = try await journal.make([.add(calls[5])])
      #expect(try await journal.get(calls[0].id) == nil)
      #expect(await journal.problem() == nil)
    }
  }

  @Test func `what was written is there when the file is opened again, and for one process at a time`() async throws {
    try await withDirectory { directory in
      let calls = (1...3).map { call($0) }
      do {
        let journal = try SQLiteCallJournal(directory: directory)
        _ = try await journal.make(calls.map { .add($0) } + [.update(calls[0].id, revision: 1, progress(.sent))])
        #expect(throws: DeviceStoreError.busy(path: journal.path)) { try SQLiteCallJournal(directory: directory) }
        #expect(mode(journal.path) == 0o600 && mode(journal.path + "-wal") == 0o600)
        // The devices of the same directory do not mind.
        try DeviceStore(directory: directory).close()
        journal.close()
        await #expect(throws: CallJournalError.self) { try await journal.open() }
        await #expect(throws: CallJournalError.self) { try await journal.make([.add(call(4))]) }
      }
      let journal = try SQLiteCallJournal(directory: directory)
      #expect(try await journal.open() == [calls[0].updated(progress(.sent)), calls[1], calls[2]])
      journal.close()
      #expect(try await DatabaseQueue(path: journal.path).read { try String.fetchAll($0, sql: "PRAGMA integrity_check") } == ["ok"])
    }
  }

  @Test func `parameters that are nested too deep are refused, and a detail is shortened`() async throws {
    try await JournalKind.sqlite.with { journal, _ in
      let deep = (0..<200).reduce(RPCValue.null) { value, _ in [value] }
      let outcome = try await journal.make([.add(call(1, params: [deep])), .add(call(2))])
      guard case .invalid(let reason) = outcome[0] else {
        Issue.record("\(outcome)")
        return
      }
      #expect(reason.contains("nested deeper than") && outcome[1] == .done)
      var cut = call(3)
      cut = PersistentCall(id: cut.id, wireID: "m/3", device: "a\0b", call: Call("m"), created: cut.created, expires: cut.expires)
      #expect(try await journal.make([.add(cut)]) == [.invalid(reason: "a name has no U+0000")])
      var answer = progress(.successful, ended: Date(timeIntervalSince1970: 1_790_000_003))
      answer.detail = deep
      #expect(try await journal.make([.update(call(2).id, revision: 1, answer)]) == [.done])
      #expect(try await journal.get(call(2).id)?.progress.detail == .string("\(deep)"))
    }
  }

  @Test func `a full disk takes nothing and loses nothing`() async throws {
    try await withDirectory { directory in
      let journal = try SQLiteCallJournal(directory: directory, limits: CallJournalLimits(), pages: 60) { Date() }
      defer { journal.close() }
      var kept: UInt32 = 0
      let text = RPCValue.string(String(repeating: "x", count: 4_000))
      let error = await #expect(throws: CallJournalError.self) {
        while kept < 1_000 {
          _ = try await journal.make([.add(call(kept + 1, params: [text]))])
          kept += 1
        }
      }
      #expect(error?.description.contains("full") == true)
      #expect(kept > 10)
      #expect(try await journal.open().count == Int(kept))
    }
  }

  @Test func `what is no journal is refused, and a damaged row is left out`() async throws {
    try await withDirectory { directory in
      try makeDirectory(directory)
      try Data("no database, but long enough to be taken for one: \(String(repeating: "x", count: 4_000))".utf8)
        .write(to: URL(fileURLWithPath: "\(directory)/calls.sqlite"))
      #expect(throws: DeviceStoreError.notAJournal(path: "\(directory)/calls.sqlite")) { try SQLiteCallJournal(directory: directory) }
      try FileManager.default.removeItem(atPath: "\(directory)/calls.sqlite")
      let journal = try SQLiteCallJournal(directory: directory)
      _ = try await journal.make((1...9).map { .add(call($0)) })
      journal.close()
      let database = try DatabaseQueue(path: journal.path)
      try await database.write { db in
        for (number, change) in [
          "params = '['", "attempt = -1", "attempt = 9223372036854775807", "revision = 9223372036854775807", "revision = 0", "state = 'LOST'",
        ].enumerated() { try db.execute(sql: "UPDATE calls SET \(change) WHERE wireId = 'm/\(number + 2)'") }
        try db.execute(sql: "UPDATE calls SET expires = -9223372036854775808, timeout = 9223372036854775807, attempts = -1 WHERE wireId = 'm/9'")
      }
      try database.close()
      let again = try SQLiteCallJournal(directory: directory)
      defer { again.close() }
      #expect(try await again.open().map(\.id.serial) == [1, 8, 9])
    }
  }
}
