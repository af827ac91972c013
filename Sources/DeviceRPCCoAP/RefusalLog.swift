internal import DeviceRPC

/// Which refusals are told: of each peer, and for each reason, the first one, and once a minute how many there were since.
///
/// A device that is refused tries again, every second perhaps, for as long as nobody looks after it.
package struct RefusalLog: Sendable {
  /// What belongs to a line.
  package struct Line: Sendable, Hashable {
    /// Refusals of the same peer for the same reason, this one left out, of which nothing was said.
    package var repeated: Int
    /// Lines of others for which there was no room.
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
  /// Peers and reasons remembered, twice: 1,024. With more than that in a minute the first ones are told again.
  package static let remembered = 1_024

  private var budget = LogBudget()
  // Those of now, and those of before them, for a minute at least or until there are too many.
  private var current: [Kind: Told] = [:]
  private var earlier: [Kind: Told] = [:]
  private var changesAt: Duration = .zero

  package init() {}

  /// Nil when nothing is to be said of a refusal. `peer` is its identity, or its address when it has none.
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
