/// How many requests a peer may still send: a bucket that fills with time.
struct RequestAllowance {
  // Milliseconds of the loop's clock; nil before the first request.
  private var filledAt: UInt32?
  private var hasRefused = false
  private var left: Float = 0

  /// Takes one. The bucket holds what a second brings, and what was given besides.
  mutating func take(now: UInt64, perSecond: Int) -> Bool {
    let milliseconds = UInt32(truncatingIfNeeded: now / 1_000_000)
    let most = Float(perSecond)
    if let filledAt {
      let fill = Float(milliseconds &- filledAt) / 1_000 * most
      // What was given is not taken away again.
      if left < most { left = min(most, left + fill) }
    } else {
      left += most
    }
    filledAt = milliseconds
    guard left >= 1 else { return false }
    left -= 1
    return true
  }

  /// Notes that a request was refused; true the first time.
  mutating func refuse() -> Bool {
    defer { hasRefused = true }
    return !hasRefused
  }

  /// Adds one; a million are as good as no bound, and exact in this representation.
  mutating func give() { left = min(left + 1, 1_000_000) }
}
