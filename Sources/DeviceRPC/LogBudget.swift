internal import Logging

/// How many lines strangers may cause in the log: anybody may send packets, and what is told of them must not fill the disk.
package struct LogBudget: Sendable {
  private static let linesPerSecond = 10

  private var second: Int64 = 0
  private var lines = 0
  private var dropped = 0

  package init() {}

  /// Nil when there is no line left in this second; otherwise how many have been left out since the last one.
  package mutating func take(now: Duration) -> Int? {
    if second != now.components.seconds { (second, lines) = (now.components.seconds, 0) }
    guard lines < Self.linesPerSecond else {
      dropped += 1
      return nil
    }
    lines += 1
    defer { dropped = 0 }
    return dropped
  }
}

extension String {
  /// The same, without a way to begin another line of the log: of what a peer chooses.
  package var onOneLine: String {
    unicodeScalars.reduce(into: "") { result, scalar in
      switch scalar.properties.generalCategory {
      case .control, .lineSeparator, .paragraphSeparator: result += scalar.escaped(asASCII: true)
      default: result.unicodeScalars.append(scalar)
      }
    }
  }
}

extension DeviceLoop {
  /// A line about what a peer has sent, if there is one left for it.
  func logNotice(_ message: Logger.Message, _ metadata: [String: String]) {
    guard let dropped = logBudget.take(now: driver.now) else { return }
    var metadata = metadata.mapValues { Logger.MetadataValue.string($0.onOneLine) }
    if dropped > 0 { metadata["not-shown"] = "\(dropped)" }
    log.notice(message, metadata: metadata)
  }
}
