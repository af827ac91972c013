package import Logging
internal import Synchronization

/// Keeps what is logged at notice level or above.
package final class RecordedLog: Sendable {
  package struct Line: Sendable, Hashable {
    package let level: Logger.Level
    package let message: String
    package var metadata: [String: String]

    package init(level: Logger.Level, message: String, metadata: [String: String]) {
      (self.level, self.message, self.metadata) = (level, message, metadata)
    }
  }

  private let recorded = Mutex<[Line]>([])
  private let (stream, continuation) = AsyncStream.makeStream(of: Line.self)

  package init() {}

  package var lines: [Line] { recorded.withLock { $0 } }

  package var logger: Logger { Logger(label: "test") { _ in Handler(log: self) } }

  /// Waits for the next line with this message; those before it are passed over.
  package func next(_ message: String) async throws -> Line {
    guard let line = await stream.first(where: { $0.message == message }) else { throw CancellationError() }
    return line
  }

  private struct Handler: LogHandler {
    let log: RecordedLog
    var logLevel = Logger.Level.notice
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      let line = Line(
        level: event.level, message: "\(event.message)", metadata: (event.metadata ?? [:]).mapValues { "\($0)" })
      log.recorded.withLock { $0.append(line) }
      log.continuation.yield(line)
    }
  }
}
