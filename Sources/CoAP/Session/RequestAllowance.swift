/// The number of requests that a peer may still send: a token bucket.
struct RequestAllowance {
  // Milliseconds of the loop's clock; nil before the first request.
  private var filledAt: UInt32?
  private var hasRefused = false
  private var left: Float = 0

  /// Takes one request, or returns false. The bucket holds the requests of one second and those added by `give()`.
  mutating func take(now: UInt64, perSecond: Int) -> Bool {
    let milliseconds = UInt32(truncatingIfNeeded: now / 1_000_000)
    let most = Float(perSecond)
    if let filledAt {
      let fill = Float(milliseconds &- filledAt) / 1_000 * most
      // The requests added by `give()` are not removed.
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

  /// Adds one request. The maximum of a million means no limit in practice, and `Float` represents it exactly.
  mutating func give() { left = min(left + 1, 1_000_000) }
}
