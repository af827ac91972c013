// Journal: persistent calls, which are kept until they are done: their states, where they are kept, and those that are open.
// A store implements `CallJournal`. The room Loop sends the calls, the room Server passes them on.

/// Where persistent calls are kept: in memory, in a database, in a cluster.
///
/// A change is to one call, and is made only if the call has the revision that the change expects: nothing needs a transaction over
/// two calls. The journal is bounded in calls and in age; a full one refuses new calls and keeps the open ones.
public protocol CallJournal: Sendable {
  /// Makes changes, in their order, and tells for each what came of it. When it returns, they survive whatever the journal
  /// survives.
  ///
  /// A server has one call of this method under way for each of its loops, with all changes since the last one.
  ///
  /// - Throws: when nothing is known of any of the changes, such as on a full disk. They may be tried again.
  func write(_ changes: [CallJournalChange]) async throws(CallJournalError) -> [CallJournalOutcome]

  /// All calls that are not over, from the oldest to the newest.
  func openCalls() async throws(CallJournalError) -> [PersistentCall]

  /// The call of an id; nil when there is none.
  func call(_ id: CallID) async throws(CallJournalError) -> PersistentCall?

  /// The calls that a query asks for, newest first.
  func calls(_ query: CallJournalQuery) async throws(CallJournalError) -> [PersistentCall]

  /// Why it cannot be written to at the moment; nil when it can.
  func problem() async -> CallJournalError?
}

/// A change to one call of a journal.
public enum CallJournalChange: Sendable, Hashable {
  /// A new call, of revision 1.
  case add(PersistentCall)
  /// What has become of a call of this revision, which is then one higher.
  case update(CallID, revision: Int, PersistentCall.Progress)
}

/// What came of a change.
public enum CallJournalOutcome: Sendable, Hashable {
  case done
  /// There is no such call, or it has another revision; for a new call, there is one with its id.
  case conflict
  /// There are as many calls as the journal takes, all of them open.
  case full(limit: Int)
  /// The journal cannot hold this call.
  case invalid(reason: String)
}

/// Which calls of a journal are asked for.
public struct CallJournalQuery: Sendable, Hashable {
  /// Only calls to this device; nil for all.
  public var device: String?
  /// Only calls in these states.
  public var states: Set<PersistentCall.State>
  /// Only calls with this reference; nil for all.
  public var reference: String?
  /// Only calls that were made before this one; nil for the newest.
  public var before: CallID?
  /// How many at most.
  public var limit: Int

  public init(
    device: String? = nil, states: Set<PersistentCall.State> = Set(PersistentCall.State.allCases), reference: String? = nil,
    before: CallID? = nil, limit: Int = 100
  ) {
    self.device = device
    self.states = states
    self.reference = reference
    self.before = before
    self.limit = limit
  }
}

/// How much a journal keeps.
public struct CallJournalLimits: Sendable, Hashable {
  /// The number of calls. When there is no room for a new one, the oldest that is over makes room. 100,000; those that are open
  /// are also in the server's memory, about 600 bytes each.
  public var calls = 100_000
  /// The memory of a journal in memory, in bytes. 64 MiB.
  public var memory = 64 << 20
  /// How long a call that is over is kept. 7 days.
  public var endedAge: Duration = .seconds(7 * 86_400)

  public init() {}
}

/// A journal that cannot be used: every access fails for the same reason.
public struct UnavailableCallJournal: CallJournal {
  private let error: CallJournalError

  public init(_ error: CallJournalError) { self.error = error }

  public func write(_ changes: [CallJournalChange]) async throws(CallJournalError) -> [CallJournalOutcome] { throw error }
  public func openCalls() async throws(CallJournalError) -> [PersistentCall] { throw error }
  public func call(_ id: CallID) async throws(CallJournalError) -> PersistentCall? { throw error }
  public func calls(_ query: CallJournalQuery) async throws(CallJournalError) -> [PersistentCall] { throw error }
  public func problem() async -> CallJournalError? { error }
}

/// Why a journal could not do what was asked for.
public struct CallJournalError: Error, Sendable, Hashable, CustomStringConvertible {
  /// In words, for people: `the disk is full`.
  public let description: String

  public init(_ description: String) { self.description = description }
}
