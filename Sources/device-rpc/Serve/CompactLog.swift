// Serve: `device-rpc serve`: a server with a console for typed calls.
// Uses the library as any program would, the room Terminal, and the quoting of names in Certificates and Devices.

internal import Logging

/// Log lines for a terminal: `warning: unreadable result (device: sensor-1)`.
struct CompactLog: LogHandler {
  let output: Output
  var logLevel: Logger.Level
  var metadata: Logger.Metadata = [:]

  static func logger(level: Logger.Level, _ output: Output) -> Logger {
    Logger(label: "device-rpc") { _ in CompactLog(output: output, logLevel: level) }
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    let all = metadata.merging(event.metadata ?? [:]) { $1 }
    let details = all.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
    output.error("\(event.level): \(event.message)" + (details.isEmpty ? "" : " (\(details))"))
  }
}
