/// The presence of a connected device: when it was probed, and whether it answered.
///
/// A pure state machine: it holds no clock and sends nothing. Only packets from the device count.
struct Presence {
  enum Action: Equatable {
    /// Check again at this time.
    case wait(until: Duration)
    /// Send a ping, and check again at this time.
    case probe(until: Duration)
    /// It has not been heard for as long as is allowed.
    case giveUp
  }

  /// When the current state, quiet or not, began.
  private(set) var since: Duration
  /// It was not heard, and left a probe unanswered.
  private(set) var isQuiet = false
  /// When it was last probed; nil if it has been heard since.
  private(set) var probed: Duration?
  private var unanswered = 0
  // The last probe is already counted in `unanswered`.
  private var isCounted = false
  /// It has a place in the `PresenceQueue`.
  var isWatched = false

  init(since: Duration) { self.since = since }

  /// It has opened a link.
  mutating func begin(_ now: Duration) {
    let wasWatched = isWatched
    self = Presence(since: now)
    isWatched = wasWatched
  }

  /// Records that the last packet arrived at `heard`. Returns true if a quiet device has become present by it.
  mutating func wasHeard(_ heard: Duration) -> Bool {
    guard let probed, heard >= probed else { return false }
    self.probed = nil
    unanswered = 0
    guard isQuiet else { return false }
    isQuiet = false
    since = heard
    return true
  }

  /// Returns what to do at a time that an earlier action gave. Call `wasHeard` first.
  mutating func look(heard: Duration, now: Duration, interval: Duration, limit: Int) -> Action {
    if now - heard < interval { return .wait(until: heard + interval) }
    if let probed {
      if now - probed < interval { return .wait(until: probed + interval) }
      if !isCounted { fail(now) }
      if unanswered >= limit { return .giveUp }
    }
    probed = now
    isCounted = false
    return .probe(until: now + interval)
  }

  /// The transport has given up on a probe. Returns false if the probe's interval has passed already, or if the device was
  /// heard since.
  mutating func probeFailed(_ now: Duration) -> Bool {
    guard probed != nil, unanswered == 0 else { return false }
    fail(now)
    isCounted = true
    return true
  }

  func hasGivenUp(_ limit: Int) -> Bool { unanswered >= limit }

  private mutating func fail(_ now: Duration) {
    unanswered += 1
    guard !isQuiet else { return }
    isQuiet = true
    since = now
  }
}
