/// When to connect again after a connection was lost, or could not be made.
struct Reconnection {
  /// Also a server that says 0 is not asked without a pause.
  static let shortest = Duration.milliseconds(100)
  /// The first wait where the server gives none; it doubles with each failure.
  static let usual = Duration.milliseconds(500)
  /// What it doubles to at most.
  static let longest = Duration.seconds(30)
  /// The longest that a server can ask for.
  static let longestAsked = Duration.seconds(300)

  private var failures = 0

  mutating func connected() { failures = 0 }

  /// The time until the next attempt.
  ///
  /// - Parameters:
  ///   - asked: what the server has asked for, with `retry` or Retry-After.
  ///   - chance: 0 to 1. It makes the time up to half longer, so that not all clients of a server that has restarted come at once.
  mutating func wait(asked: Duration?, chance: Double) -> Duration {
    let first = min(max(asked ?? Self.usual, Self.shortest), Self.longestAsked)
    let doubled = failures == 0 ? first : max(first, Self.usual) * (1 << min(failures, 10))
    failures += 1
    return min(doubled, max(first, Self.longest)) * (1 + chance / 2)
  }
}
