public import FoundationEssentials
internal import OrderedCollections
internal import Synchronization

/// A journal in memory, which is gone with the process.
public final class InMemoryCallJournal: CallJournal {
  private let limits: CallJournalLimits
  private let date: @Sendable () -> Date
  // In the order in which they were added.
  private let calls = Mutex<OrderedDictionary<CallID, PersistentCall>>([:])

  /// - Parameters:
  ///   - limits: how much is kept.
  ///   - date: the wall clock.
  public init(limits: CallJournalLimits = CallJournalLimits(), date: @escaping @Sendable () -> Date = { Date() }) {
    self.limits = limits
    self.date = date
  }

  public func write(_ changes: [CallJournalChange]) async throws(CallJournalError) -> [CallJournalOutcome] {
    let now = date()
    return calls.withLock { calls in
      changes.map { change in
        switch change {
        case .add(let call):
          guard calls[call.id] == nil else { return .conflict }
          forgetOld(&calls, now)
          guard calls.count < limits.calls else { return .full(limit: limits.calls) }
          calls[call.id] = call
        case .update(let id, let revision, let progress):
          guard let call = calls[id], call.revision == revision else { return .conflict }
          calls[id] = call.updated(progress)
        }
        return .done
      }
    }
  }

  private func forgetOld(_ calls: inout OrderedDictionary<CallID, PersistentCall>, _ now: Date) {
    let oldest = now.addingTimeInterval(-limits.endedAge.seconds)
    while let first = calls.values.first, let ended = first.progress.ended, ended < oldest { calls.removeFirst() }
    guard calls.count >= limits.calls, let index = calls.values.firstIndex(where: \.isOver) else { return }
    calls.remove(at: index)
  }

  public func openCalls() async throws(CallJournalError) -> [PersistentCall] {
    calls.withLock { $0.values.filter { !$0.isOver } }.sorted { $0.id < $1.id }
  }

  public func call(_ id: CallID) async throws(CallJournalError) -> PersistentCall? { calls.withLock { $0[id] } }

  public func calls(_ query: CallJournalQuery) async throws(CallJournalError) -> [PersistentCall] {
    let all = calls.withLock { calls in
      calls.values.filter { call in
        query.device.map { $0 == call.device } ?? true && query.states.contains(call.progress.state)
          && query.before.map { call.id < $0 } ?? true
      }
    }
    return Array(all.sorted { $0.id > $1.id }.prefix(max(0, query.limit)))
  }

  public func problem() async -> CallJournalError? { nil }
}
