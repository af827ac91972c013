internal import DeviceRPC

/// Decides which refusals are logged: for each peer and reason the first one, and then once a minute the number since.
///
/// A device that is refused may try again every second, for as long as nobody fixes it.
package struct RefusalLog: Sendable {
  /// The counts that a line of the log includes.
  package struct Line: Sendable, Hashable {
    /// Refusals of the same peer for the same reason that were not logged, without this one.
    package var repeated: Int
    /// Lines about others that were omitted because of the budget.
    package var notShown: Int

    package init(repeated: Int, notShown: Int) { (self.repeated, self.notShown) = (repeated, notShown) }
  }

  private struct Kind: Hashable {
    let peer: String
    let reason: String
  }

  private struct Told {
    let at: Duration
    var untold = 0
  }

  private static let pause: Duration = .seconds(60)
  /// Peers and reasons remembered in each of two generations: 1,024. With more than that in a minute, the oldest ones are
  /// logged again.
  package static let remembered = 1_024

  private var budget = LogBudget()
  // Two generations: the current one becomes the earlier one after two pauses, or when it is full.
  private var current: [Kind: Told] = [:]
  private var earlier: [Kind: Told] = [:]
  private var changesAt: Duration = .zero

  package init() {}

  /// Returns the counts for a line, or nil when this refusal is not logged. `peer` is its identity, or its address if it gave
  /// none.
  package mutating func take(_ peer: String, _ reason: String, now: Duration) -> Line? {
    if now >= changesAt || current.count >= Self.remembered {
      (earlier, current) = (current, [:])
      changesAt = now + Self.pause * 2
    }
    let kind = Kind(peer: peer, reason: reason)
    if var told = current[kind] ?? earlier[kind], now < told.at + Self.pause {
      told.untold += 1
      current[kind] = told
      return nil
    }
    let repeated = current[kind]?.untold ?? earlier[kind]?.untold ?? 0
    guard let notShown = budget.take("connection refused", about: peer, now: now) else { return nil }
    current[kind] = Told(at: now)
    return Line(repeated: repeated, notShown: notShown)
  }
}
