import Foundation
import Synchronization
import Testing

/// Another program, with what it prints line by line.
final class ForeignProcess: Sendable {
  /// The lines of standard output without their ends, as bytes because not all clients print text.
  private let output: AsyncStream<[UInt8]>
  private let error: AsyncStream<[UInt8]>
  private let exits: AsyncStream<Int32>
  private let process: Mutex<Process>
  private let input = Pipe()

  init(_ executable: String, _ arguments: [String], environment: [String: String] = [:]) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: executable)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    let outputPipe = Pipe()
    let errorPipe = Pipe()
    process.standardInput = input
    process.standardOutput = outputPipe
    process.standardError = errorPipe
    output = Self.lines(of: outputPipe)
    error = Self.lines(of: errorPipe)
    let (exits, continuation) = AsyncStream.makeStream(of: Int32.self)
    process.terminationHandler = {
      continuation.yield($0.terminationReason == .exit ? $0.terminationStatus : -$0.terminationStatus)
      continuation.finish()
    }
    self.exits = exits
    try Self.withAllSignals { try process.run() }
    self.process = Mutex(process)
  }

  // Dispatch's threads block signals, and a child inherits that: Ctrl-C would not reach it.
  private static func withAllSignals(_ body: () throws -> Void) rethrows {
    var none = sigset_t()
    var before = sigset_t()
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    try body()
  }

  private static func lines(of pipe: Pipe) -> AsyncStream<[UInt8]> {
    let (stream, continuation) = AsyncStream.makeStream(of: [UInt8].self)
    let rest = Mutex([UInt8]())
    // Foundation calls this on a queue of its own, one call at a time.
    pipe.fileHandleForReading.readabilityHandler = { file in
      let data = file.availableData
      rest.withLock { rest in
        if data.isEmpty {
          file.readabilityHandler = nil
          if !rest.isEmpty { continuation.yield(rest) }
          continuation.finish()
          return
        }
        var parts = data.split(separator: 10, omittingEmptySubsequences: false)
        let last = parts.removeLast()
        for part in parts {
          continuation.yield(rest + part)
          rest = []
        }
        rest += last
      }
    }
    return stream
  }

  /// The next line of bytes, nil after the last.
  func bytes() async -> [UInt8]? { await output.first { _ in true } }

  /// The next line as text.
  ///
  /// The program's end is an error, which tells what it printed to standard error.
  func line() async throws -> String {
    if let bytes = await bytes() { return String(decoding: bytes, as: UTF8.self) }
    throw Ended(said: await rest(of: error))
  }

  /// The next line that begins with `text`; those before it are passed over.
  func line(with text: String) async throws -> String {
    while true {
      let line = try await line()
      if line.hasPrefix(text) { return line }
    }
  }

  /// Everything that the program prints until it ends.
  func printed() async -> Printed {
    let output = await rest(of: output)
    return Printed(output: output, error: await rest(of: error))
  }

  private func rest(of stream: AsyncStream<[UInt8]>) async -> String {
    var lines: [String] = []
    for await line in stream { lines.append(String(decoding: line, as: UTF8.self)) }
    return lines.joined(separator: "\n")
  }

  func type(_ line: String) throws { try input.fileHandleForWriting.write(contentsOf: Data("\(line)\n".utf8)) }

  func send(_ signal: Int32) {
    process.withLock { if $0.isRunning { kill($0.processIdentifier, signal) } }
  }

  /// The exit code, or the negative number of the signal that ended it; to be asked once.
  func exitCode() async -> Int32? { await exits.first { _ in true } }

  struct Printed: Equatable {
    var output = ""
    var error = ""
  }

  struct Ended: Error, CustomStringConvertible {
    let said: String
    var description: String { "the program has ended: \(said)" }
  }
}

/// Runs a program for the length of `body`; when it has not ended by then it is killed.
func withProcess<Result>(
  _ executable: String, _ arguments: [String], environment: [String: String] = [:],
  _ body: (ForeignProcess) async throws -> Result
) async throws -> Result {
  let process = try ForeignProcess(executable, arguments, environment: environment)
  defer { process.send(SIGKILL) }
  return try await body(process)
}

/// A foreign client that is not there.
struct NotInstalled: Error, CustomStringConvertible {
  let what: String
  var description: String { "\(what) is not installed; run \".ci/setup tests\"" }
}
