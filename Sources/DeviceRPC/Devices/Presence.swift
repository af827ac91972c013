/// What is kept of a connected device to tell whether it is still there: when it was asked, and what came of it.
///
/// A pure state machine: it holds no clock and sends nothing. What the device says is the only thing that counts.
struct Presence {
  enum Action: Equatable {
    /// Look again at this time.
    case wait(until: Duration)
    /// Ask it for a sign of life, and look again at this time.
    case probe(until: Duration)
    /// It has said nothing for as long as it may.
    case giveUp
  }

  /// When the state of now began.
  private(set) var since: Duration
  /// Not heard, and a probe unanswered.
  private(set) var isQuiet = false
  /// When it was asked last and has not been heard since.
  private(set) var probed: Duration?
  private var unanswered = 0
  // That probe is among them already.
  private var isCounted = false
  /// It has a place in the queue of those that are looked at.
  var isWatched = false

  init(since: Duration) { self.since = since }

  /// It has opened a link.
  mutating func begin(_ now: Duration) {
    let wasWatched = isWatched
    self = Presence(since: now)
    isWatched = wasWatched
  }

  /// Whether a quiet device is one no longer. `heard` is when its last packet came.
  mutating func wasHeard(_ heard: Duration) -> Bool {
    guard let probed, heard >= probed else { return false }
    self.probed = nil
    unanswered = 0
    guard isQuiet else { return false }
    isQuiet = false
    since = heard
    return true
  }

  /// What is to be done at a time that an earlier action said; `wasHeard` comes first.
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

  /// The transport has given up on a probe. False when its interval was over before, or something was heard since.
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
