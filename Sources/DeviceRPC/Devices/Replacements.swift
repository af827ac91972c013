/// Decides what to log about devices whose session was replaced by another one, in one loop.
///
/// A device that reconnects from another address does so once. Two devices with the same identity close each other's sessions
/// in turn, for as long as both are running. Pure: it holds no clock, and keeps nothing of devices that are not replaced.
struct Replacements {
  enum Line: Equatable {
    /// It was replaced, as happens when a device reconnects.
    case replaced
    /// Two devices take turns: the number of replacements since it began or was last logged.
    case takingTurns(Int)
  }

  /// This many replacements of one device within `window` mean two devices with one identity: 4. This state ends when there is
  /// no replacement during another `window`.
  static let suspicious = 4
  static let window: Duration = .seconds(120)
  /// While it goes on, it is logged again every 600 s, and nothing in between.
  static let pause: Duration = .seconds(600)
  /// Devices remembered in each of two generations: 1,024. With more than that in `window`, the oldest ones are forgotten.
  static let remembered = 1_024

  private struct Turns {
    // The times of the last replacements, at most `suspicious` of them.
    var times: [Duration] = []
    var told: Duration?
    var untold = 0
  }

  // Two generations: the current one becomes the earlier one after `window`, or when it is full.
  private var current: [String: Turns] = [:]
  private var earlier: [String: Turns] = [:]
  private var changesAt: Duration = .zero

  /// Records that a session from another address has replaced that of the device. Returns nil when nothing is to be logged.
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
