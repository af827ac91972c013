/// What is told of devices that another session has replaced, in one loop.
///
/// One that reconnects from another address does that once. Two devices that use one identity close each other's sessions, and
/// take turns for as long as both are there. Pure: it holds no clock, and nothing of devices that are not replaced.
struct Replacements {
  enum Line: Equatable {
    /// It was replaced, as a device is that reconnects.
    case replaced
    /// Two devices take turns: how often, since it began or was told last.
    case takingTurns(Int)
  }

  /// As many replacements of one device within `window` are no reconnecting any more: 4. They go on until there is none for as
  /// long.
  static let suspicious = 4
  static let window: Duration = .seconds(120)
  /// While they go on that is told again after 600 s, and nothing in between.
  static let pause: Duration = .seconds(600)
  /// Devices remembered, twice: 1,024. With more than that in `window` the first ones are forgotten.
  static let remembered = 1_024

  private struct Turns {
    // The last ones, at most as many as are suspicious.
    var times: [Duration] = []
    var told: Duration?
    var untold = 0
  }

  // Those of now, and those of before them, for the window at least or until there are too many.
  private var current: [String: Turns] = [:]
  private var earlier: [String: Turns] = [:]
  private var changesAt: Duration = .zero

  /// A session from another address has replaced that of the device. Nil when nothing is to be said of it.
  mutating func take(_ device: String, now: Duration) -> Line? {
    if now >= changesAt || current.count >= Self.remembered {
      (earlier, current) = (current, [:])
      changesAt = now + Self.window
    }
    var turns = current[device] ?? earlier[device] ?? Turns()
    if let last = turns.times.last, now - last > Self.window { turns = Turns() }
    turns.times = turns.times.suffix(Self.suspicious - 1) + [now]
    turns.untold += 1
    defer { current[device] = turns }
    if let told = turns.told {
      if now - told < Self.pause { return nil }
    } else if turns.times.count < Self.suspicious || now - turns.times[0] > Self.window {
      return .replaced
    }
    defer { (turns.told, turns.untold) = (now, 0) }
    return .takingTurns(turns.untold)
  }
}
