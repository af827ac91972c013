public import DeviceRPC
internal import Dispatch
internal import Foundation
internal import GRDB
public import Logging
internal import Synchronization

/// A journal of calls in a directory, in SQLite: the file `calls.sqlite`.
///
/// One process can have it open at a time: two servers would send each call twice. Changes are made on a thread of the journal's
/// own; those that arrive while a transaction is under way share the next one.
public final class SQLiteCallJournal: CallJournal {
  /// What a change survives when `write` has returned.
  public enum Durability: String, Sendable, CaseIterable {
    /// Also a loss of power (SQLite's `synchronous=FULL`).
    case full
    /// The end of the process; after a loss of power the last changes may be missing (`synchronous=NORMAL`).
    case normal
  }

  private struct Batch {
    let changes: [CallJournalChange]
    let continuation: CheckedContinuation<Result<[CallJournalOutcome], CallJournalError>, Never>
  }

  private struct State {
    var batches: [Batch] = []
    var isScheduled = false
    var problem: CallJournalError?
  }

  /// The path of the database.
  public let path: String
  private let limits: CallJournalLimits
  private let date: @Sendable () -> Date
  private let database: DatabaseQueue
  private let logger: Logger?
  private let thread = DispatchQueue(label: "CallJournal")
  private let state = Mutex(State())
  // Unchecked, because they are used on the thread only: whether it was closed, the number of calls, and when old ones were last
  // looked for.
  private nonisolated(unsafe) var isClosed = false
  private nonisolated(unsafe) var count: Int
  private nonisolated(unsafe) var swept = Date.distantPast

  /// Opens the journal of a directory, which is created if it is missing. Its files are accessible only to their owner, like those
  /// of a `DeviceStore`.
  ///
  /// - Parameters:
  ///   - directory: the path of the directory; its parent must exist.
  ///   - limits: how much is kept.
  ///   - durability: what a change survives.
  ///   - logger: for calls that cannot be read.
  /// - Throws: `busy` when another process has it open, `cannotOpen`, `notPrivate`, `notAJournal`, `newer`, `damaged` or `failed`.
  public convenience init(
    directory: String, limits: CallJournalLimits = CallJournalLimits(), durability: Durability = .full, logger: Logger? = nil
  ) throws(DeviceStoreError) {
    try self.init(directory: directory, limits: limits, durability: durability, pages: nil, logger: logger) { Date() }
  }

  /// `pages` is how many pages the database may have at most, and `date` the wall clock.
  init(
    directory: String, limits: CallJournalLimits, durability: Durability = .full, pages: Int? = nil, logger: Logger? = nil,
    date: @escaping @Sendable () -> Date
  ) throws(DeviceStoreError) {
    let files = StoreFiles(directory: directory, name: "calls.sqlite")
    path = files.database
    var limits = limits
    limits.endedAge = min(max(limits.endedAge, .zero), .seconds(100 * 365 * 86_400))
    self.limits = limits
    self.logger = logger
    self.date = date
    do throws(DeviceStoreError) {
      (database, count) = try Self.open(files, durability, pages, logger)
    } catch .notADeviceStore(let path) {
      throw .notAJournal(path: path)
    }
  }

  private static func open(
    _ files: StoreFiles, _ durability: Durability, _ pages: Int?, _ logger: Logger?
  ) throws(DeviceStoreError) -> (DatabaseQueue, Int) {
    try files.opening(creating: true, patience: .seconds(1), logger) { path throws(DeviceStoreError) in
      do {
        let database = try DatabaseQueue(path: path, configuration: JournalSchema.configuration(durability, pages: pages))
        try JournalSchema.prepare(database, path: path)
        return (database, try database.read { db in try Int.fetchOne(db, sql: "SELECT count(*) FROM calls") ?? 0 })
      } catch {
        throw DeviceStoreError(error, path: path)
      }
    }
  }

  /// Closes the file. Later accesses fail.
  public func close() {
    thread.sync {
      isClosed = true
      try? database.close()
    }
  }

  // GRDB reads freed memory when a closed database is used.
  private func checkOpen() throws(DeviceStoreError) {
    if isClosed { throw .failed(path: path, reason: "the journal is closed") }
  }

  // MARK: Changes

  public func write(_ changes: [CallJournalChange]) async throws(CallJournalError) -> [CallJournalOutcome] {
    let result: Result<[CallJournalOutcome], CallJournalError> = await withCheckedContinuation { continuation in
      let isScheduled = state.withLock { state in
        state.batches.append(Batch(changes: changes, continuation: continuation))
        defer { state.isScheduled = true }
        return state.isScheduled
      }
      if !isScheduled { thread.async { self.writeWaiting() } }
    }
    return try result.get()
  }

  private func writeWaiting() {
    let batches = state.withLock { state in
      defer { state.batches = [] }
      state.isScheduled = false
      return state.batches
    }
    let before = count
    var outcomes: [[CallJournalOutcome]] = []
    do {
      try checkOpen()
      try database.inTransaction(.immediate) { db in
        try forgetOld(db)
        outcomes = try batches.map { batch in try batch.changes.map { try make($0, db) } }
        return .commit
      }
      state.withLock { $0.problem = nil }
      for (batch, outcomes) in zip(batches, outcomes) { batch.continuation.resume(returning: .success(outcomes)) }
    } catch {
      count = before
      let error = explained(error)
      state.withLock { $0.problem = error }
      for batch in batches { batch.continuation.resume(returning: .failure(error)) }
    }
  }

  private func make(_ change: CallJournalChange, _ db: Database) throws -> CallJournalOutcome {
    switch change {
    case .add(let call):
      // SQLite would cut them there.
      guard ![call.wireID, call.device, call.call.method].contains(where: { $0.utf8.contains(0) }) else {
        return .invalid(reason: "a name has no U+0000")
      }
      guard let params = JournalValue.text(of: call.call.params) else {
        return .invalid(reason: "its parameters are nested deeper than \(JSONLimits.standard.maxDepth) levels")
      }
      if count >= limits.calls, try !makeRoom(db) { return .full(limit: limits.calls) }
      let insert = try db.cachedStatement(sql: JournalSchema.insert)
      try insert.execute(arguments: JournalSchema.arguments(of: call, params: params))
      guard db.changesCount == 1 else { return .conflict }
      count += 1
    case .update(let id, let revision, let progress):
      let update = try db.cachedStatement(sql: JournalSchema.update)
      try update.execute(arguments: JournalSchema.arguments(of: progress, id, revision))
      guard db.changesCount == 1 else { return .conflict }
    }
    return .done
  }

  private func makeRoom(_ db: Database) throws -> Bool {
    try db.cachedStatement(
      sql: "DELETE FROM calls WHERE id = (SELECT id FROM calls WHERE ended IS NOT NULL ORDER BY ended LIMIT 1)"
    ).execute()
    count -= db.changesCount
    return count < limits.calls
  }

  // At most a thousand in one transaction, which must not take long.
  private func forgetOld(_ db: Database) throws {
    let now = date()
    guard abs(now.timeIntervalSince(swept)) > 60 else { return }
    let oldest = now.milliseconds - limits.endedAge.components.seconds * 1_000
    try db.cachedStatement(
      sql: "DELETE FROM calls WHERE id IN (SELECT id FROM calls WHERE ended < ? ORDER BY ended LIMIT 1000)"
    ).execute(arguments: [oldest])
    count -= db.changesCount
    if db.changesCount < 1_000 { swept = now }
  }

  // MARK: Looking

  public func openCalls() async throws(CallJournalError) -> [PersistentCall] {
    try await read("WHERE ended IS NULL ORDER BY id", [])
  }

  public func call(_ id: CallID) async throws(CallJournalError) -> PersistentCall? {
    try await read("WHERE id = ?", [id.description]).first
  }

  public func calls(_ query: CallJournalQuery) async throws(CallJournalError) -> [PersistentCall] {
    var conditions = ["state IN (\(query.states.map { "'\($0.rawValue)'" }.sorted().joined(separator: ",")))"]
    var arguments: StatementArguments = []
    if let device = query.device {
      conditions.append("device = ?")
      arguments += [device]
    }
    if let reference = query.reference {
      conditions.append("reference = ?")
      arguments += [reference]
    }
    if let before = query.before {
      conditions.append("id < ?")
      arguments += [before.description]
    }
    arguments += [max(0, query.limit)]
    return try await read("WHERE \(conditions.joined(separator: " AND ")) ORDER BY id DESC LIMIT ?", arguments)
  }

  private func read(_ condition: String, _ arguments: StatementArguments) async throws(CallJournalError) -> [PersistentCall] {
    let result: Result<[PersistentCall], CallJournalError> = await withCheckedContinuation { continuation in
      thread.async {
        do {
          try self.checkOpen()
          let calls = try self.database.read { db in
            var calls: [PersistentCall] = []
            let rows = try Row.fetchCursor(
              db.cachedStatement(sql: "SELECT \(JournalSchema.columns) FROM calls \(condition)"), arguments: arguments)
            while let row = try rows.next() {
              if let call = JournalSchema.call(in: row) {
                calls.append(call)
              } else {
                self.logger?.error("a call in the journal cannot be read, and is left out", metadata: ["id": "\(row.shownText(0).prefix(64))"])
              }
            }
            return calls
          }
          continuation.resume(returning: .success(calls))
        } catch {
          continuation.resume(returning: .failure(self.explained(error)))
        }
      }
    }
    return try result.get()
  }

  public func problem() async -> CallJournalError? {
    guard state.withLock(\.problem) != nil else { return nil }
    // Whether it has passed tells a write that changes nothing.
    return await withCheckedContinuation { continuation in
      thread.async {
        let error = Result {
          try self.checkOpen()
          try self.database.inTransaction(.immediate) { db in
            try db.execute(sql: "PRAGMA user_version = \(UInt16.random(in: .min ... .max))")
            return .commit
          }
        }.error.map(self.explained)
        self.state.withLock { $0.problem = error }
        continuation.resume(returning: error)
      }
    }
  }

  private func explained(_ error: any Error) -> CallJournalError { CallJournalError("\(DeviceStoreError(error, path: path))") }
}

extension Result {
  fileprivate var error: Failure? { if case .failure(let error) = self { error } else { nil } }
}
