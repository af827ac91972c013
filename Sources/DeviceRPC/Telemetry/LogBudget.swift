package import Logging
internal import Synchronization

/// A limit on the log lines that peers may cause: anybody may send packets, and these must not fill a disk or a screen.
///
/// Lines are counted by kind, and within each kind by peer, so that a noisy peer suppresses neither the lines about other
/// peers nor lines of other kinds.
package struct LogBudget: Sendable {
  /// Lines of one kind per second: 10.
  package static let linesPerSecond = 10
  /// Lines of one kind about one peer in ten seconds: 5.
  package static let linesPerPeer = 5
  private static let window: Int64 = 10
  // Peers that are counted at a time; for further peers only the limit per second applies.
  private static let peers = 1_024

  private struct Kind {
    var second: Int64 = 0
    var lines = 0
    var dropped = 0
  }

  private struct Peer {
    var since: Int64
    var lines = 0
  }

  private var kinds: [String: Kind] = [:]
  // Keyed by a hash of kind and peer, since peers choose their names and these may be long.
  private var peers: [Int: Peer] = [:]

  package init() {}

  /// Takes one line from the budget. Returns nil when none is left of this kind or about this peer; otherwise the number of
  /// lines of this kind that were omitted since the last one. `kind` is one of a fixed set.
  package mutating func take(_ kind: String, about peer: String, now: Duration) -> Int? {
    let second = now.components.seconds
    var state = kinds[kind] ?? Kind()
    defer { kinds[kind] = state }
    if state.second != second { (state.second, state.lines) = (second, 0) }
    guard state.lines < Self.linesPerSecond, mayTell(kind, peer, second) else {
      state.dropped += 1
      return nil
    }
    state.lines += 1
    defer { state.dropped = 0 }
    return state.dropped
  }

  private mutating func mayTell(_ kind: String, _ peer: String, _ second: Int64) -> Bool {
    var hasher = Hasher()
    hasher.combine(kind)
    hasher.combine(peer)
    let key = hasher.finalize()
    var state = peers[key] ?? Peer(since: second)
    if second >= state.since + Self.window { state = Peer(since: second) }
    guard state.lines < Self.linesPerPeer else { return false }
    state.lines += 1
    if peers.count >= Self.peers, peers[key] == nil {
      peers = peers.filter { second < $0.value.since + Self.window }
      guard peers.count < Self.peers else { return true }
    }
    peers[key] = state
    return true
  }

  /// Returns, and resets, the numbers of omitted lines of those kinds that had no line in this second.
  package mutating func takeDropped(now: Duration) -> [(kind: String, count: Int)] {
    let over = kinds.filter { $0.value.dropped > 0 && $0.value.second != now.components.seconds }
    for kind in over.keys { kinds[kind]?.dropped = 0 }
    return over.map { ($0.key, $0.value.dropped) }.sorted { $0.kind < $1.kind }
  }
}

extension String {
  /// Bytes of a text chosen by a peer that are shown in a line: 255, the length of the longest device name.
  package static let longestShown = 255

  /// The first `count` bytes of the text at most, with an ellipsis if that is not all.
  package func cut(to count: Int = longestShown) -> String {
    guard utf8.count > count else { return self }
    var end = utf8.index(startIndex, offsetBy: count)
    // Not in the middle of a scalar's UTF-8 sequence.
    while end > startIndex, utf8[end] & 0xc0 == 0x80 { end = utf8.index(before: end) }
    return self[..<end] + "…"
  }

  /// The text, cut and with line breaks and control characters escaped, so that a text chosen by a peer cannot begin another
  /// line of the log.
  package var onOneLine: String {
    cut().unicodeScalars.reduce(into: "") { result, scalar in
      switch scalar.properties.generalCategory {
      case .control, .lineSeparator, .paragraphSeparator: result += scalar.escaped(asASCII: true)
      default: result.unicodeScalars.append(scalar)
      }
    }
  }
}

/// Logs the lines that packets of peers cause, for all loops of a server, within one `LogBudget`.
package final class PeerLog: Sendable {
  package let log: Logger
  private let budget = Mutex(LogBudget())

  package init(_ log: Logger) { self.log = log }

  /// Logs a line about something that a peer has sent, if the budget allows it. `message` is one of a fixed set. `peer` is the
  /// sender, or empty when its name is not proved.
  package func notice(
    _ message: String, about peer: String, level: Logger.Level = .notice, now: Duration, _ metadata: [String: String]
  ) {
    guard log.logLevel <= level, let dropped = budget.withLock({ $0.take(message, about: peer, now: now) }) else { return }
    var metadata = metadata.mapValues { Logger.MetadataValue.string($0.onOneLine) }
    if dropped > 0 { metadata["not-shown"] = "\(dropped)" }
    log.log(level: level, "\(message)", metadata: metadata)
  }
}
