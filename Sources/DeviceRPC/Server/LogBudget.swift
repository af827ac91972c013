package import Logging
internal import Synchronization

/// How many lines peers may cause: anybody may send packets, and what is told of them must not fill a disk or a screen.
///
/// Counted by kind of line, and for each kind by who is told of, so that one who is noisy hides neither other peers nor other
/// news.
package struct LogBudget: Sendable {
  /// Lines of one kind in a second: 10.
  package static let linesPerSecond = 10
  /// Lines of one kind about one peer in ten seconds: 5.
  package static let linesPerPeer = 5
  private static let window: Int64 = 10
  // Who of more is told of counts by the second alone.
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
  // By a hash of kind and peer: peers choose their names.
  private var peers: [Int: Peer] = [:]

  package init() {}

  /// Nil when there is no line left of this kind, one of a fixed set, or about this peer; otherwise how many of the kind have
  /// been left out since the last one.
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

  /// What has been left out and is over: of kinds that have had no line in this second.
  package mutating func takeDropped(now: Duration) -> [(kind: String, count: Int)] {
    let over = kinds.filter { $0.value.dropped > 0 && $0.value.second != now.components.seconds }
    for kind in over.keys { kinds[kind]?.dropped = 0 }
    return over.map { ($0.key, $0.value.dropped) }.sorted { $0.kind < $1.kind }
  }
}

extension String {
  /// Bytes of what a peer has chosen, in a line for people: 255, the longest name of a device.
  package static let longestShown = 255

  /// The beginning of the text, in `count` bytes at most, and an ellipsis where that is not all.
  package func cut(to count: Int = longestShown) -> String {
    guard utf8.count > count else { return self }
    var end = utf8.index(startIndex, offsetBy: count)
    // Not in the middle of a character's bytes.
    while end > startIndex, utf8[end] & 0xc0 == 0x80 { end = utf8.index(before: end) }
    return self[..<end] + "…"
  }

  /// The same, cut, and without a way to begin another line of the log: of what a peer chooses.
  package var onOneLine: String {
    cut().unicodeScalars.reduce(into: "") { result, scalar in
      switch scalar.properties.generalCategory {
      case .control, .lineSeparator, .paragraphSeparator: result += scalar.escaped(asASCII: true)
      default: result.unicodeScalars.append(scalar)
      }
    }
  }
}

/// The log lines that packets cause, of all loops of a server.
package final class PeerLog: Sendable {
  package let log: Logger
  private let budget = Mutex(LogBudget())

  package init(_ log: Logger) { self.log = log }

  /// A line about what a peer has sent, if there is one left for it. `message` is one of a fixed set; `peer` is who sent it, or
  /// empty where a name would prove nothing.
  package func notice(
    _ message: String, about peer: String, level: Logger.Level = .notice, now: Duration, _ metadata: [String: String]
  ) {
    guard log.logLevel <= level, let dropped = budget.withLock({ $0.take(message, about: peer, now: now) }) else { return }
    var metadata = metadata.mapValues { Logger.MetadataValue.string($0.onOneLine) }
    if dropped > 0 { metadata["not-shown"] = "\(dropped)" }
    log.log(level: level, "\(message)", metadata: metadata)
  }
}
