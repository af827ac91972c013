internal import DequeModule
public import FoundationEssentials
internal import Synchronization

/// A journal in memory, which is gone with the process.
public final class InMemoryCallJournal: CallJournal {
  private let limits: CallJournalLimits
  private let date: @Sendable () -> Date
  private struct State {
    var calls: [CallID: PersistentCall] = [:]
    // Those that are over, from the first on.
    var ended: Deque<CallID> = []
    var bytes = 0

    mutating func forgetOldest() {
      if let id = ended.popFirst(), let call = calls.removeValue(forKey: id) { bytes -= call.approximateBytes }
    }
  }

  private let state = Mutex(State())

  /// - Parameters:
  ///   - limits: how much is kept.
  ///   - date: the wall clock.
  public init(limits: CallJournalLimits = CallJournalLimits(), date: @escaping @Sendable () -> Date = { Date() }) {
    self.limits = limits
    self.date = date
  }

  public func write(_ changes: [CallJournalChange]) async throws(CallJournalError) -> [CallJournalOutcome] {
    let oldest = date().addingTimeInterval(-limits.endedAge.seconds)
    return state.withLock { state in
      changes.map { change in
        switch change {
        case .add(let call):
          guard state.calls[call.id] == nil else { return .conflict }
          while let first = state.ended.first, let ended = state.calls[first]?.progress.ended, ended < oldest { state.forgetOldest() }
          while state.calls.count >= limits.calls || state.bytes >= limits.memory, !state.ended.isEmpty { state.forgetOldest() }
          guard state.calls.count < limits.calls, state.bytes < limits.memory else { return .full(limit: limits.calls) }
          state.calls[call.id] = call
          state.bytes += call.approximateBytes
        case .update(let id, let revision, let progress):
          guard let call = state.calls[id], call.revision == revision else { return .conflict }
          let updated = call.updated(progress)
          state.calls[id] = updated
          state.bytes += updated.approximateBytes - call.approximateBytes
          if updated.isOver, !call.isOver { state.ended.append(id) }
        }
        return .done
      }
    }
  }

  public func openCalls() async throws(CallJournalError) -> [PersistentCall] {
    state.withLock { $0.calls.values.filter { !$0.isOver } }.sorted { $0.id < $1.id }
  }

  public func call(_ id: CallID) async throws(CallJournalError) -> PersistentCall? { state.withLock { $0.calls[id] } }

  public func calls(_ query: CallJournalQuery) async throws(CallJournalError) -> [PersistentCall] {
    let all = state.withLock { state in
      state.calls.values.filter { call in
        query.device.map { $0 == call.device } ?? true && query.states.contains(call.progress.state)
          && query.reference.map { $0 == call.reference } ?? true && query.before.map { call.id < $0 } ?? true
      }
    }
    return Array(all.sorted { $0.id > $1.id }.prefix(max(0, query.limit)))
  }

  public func problem() async -> CallJournalError? { nil }
}

extension PersistentCall {
  fileprivate var approximateBytes: Int { 512 + givenBytes + (progress.detail?.approximateBytes ?? 0) }
}
