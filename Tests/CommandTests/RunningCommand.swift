import Foundation
import Synchronization
import Testing

/// `device-rpc` as a process of its own, from the directory of the test bundle.
// Unchecked because the process is used by the test's task only; what its callbacks bring goes through streams.
final class RunningCommand: @unchecked Sendable {
  enum Stream { case output, error }

  private let process = Process()
  private let input = Pipe()
  private let exited = AsyncStream.makeStream(of: Int32.self)
  private var output: AsyncStream<String>.Iterator
  private var error: AsyncStream<String>.Iterator

  init(_ arguments: [String]) throws {
    process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("device-rpc")
    process.arguments = arguments
    let outputPipe = Pipe()
    let errorPipe = Pipe()
    process.standardInput = input
    process.standardOutput = outputPipe
    process.standardError = errorPipe
    output = Self.lines(of: outputPipe).makeAsyncIterator()
    error = Self.lines(of: errorPipe).makeAsyncIterator()
    let continuation = exited.continuation
    process.terminationHandler = {
      continuation.yield($0.terminationReason == .exit ? $0.terminationStatus : -$0.terminationStatus)
      continuation.finish()
    }
    try process.run()
  }

  private static func lines(of pipe: Pipe) -> AsyncStream<String> {
    let (stream, continuation) = AsyncStream.makeStream(of: String.self)
    let rest = Mutex(Data())
    pipe.fileHandleForReading.readabilityHandler = { file in
      let data = file.availableData
      if data.isEmpty {
        file.readabilityHandler = nil
        continuation.finish()
        return
      }
      rest.withLock { rest in
        rest += data
        while let end = rest.firstIndex(of: 10) {
          continuation.yield(String(decoding: rest[..<end], as: UTF8.self))
          rest = Data(rest[(end + 1)...])
        }
      }
    }
    return stream
  }

  /// The next line, nil after the last.
  func line(_ stream: Stream = .output) async -> String? {
    switch stream {
    case .output: await output.next()
    case .error: await error.next()
    }
  }

  /// The next line that contains `text`; those before it are passed over.
  func line(with text: String, _ stream: Stream = .output) async throws -> String {
    while let line = await line(stream) { if line.contains(text) { return line } }
    Issue.record("the output ended before \"\(text)\"")
    throw CancellationError()
  }

  /// All lines to the end of the output.
  func rest(_ stream: Stream = .output) async -> [String] {
    var lines: [String] = []
    while let line = await line(stream) { lines.append(line) }
    return lines
  }

  func type(_ line: String) throws { try input.fileHandleForWriting.write(contentsOf: Data("\(line)\n".utf8)) }

  func closeInput() throws { try input.fileHandleForWriting.close() }

  func send(_ signal: Int32) { if process.isRunning { kill(process.processIdentifier, signal) } }

  /// The exit code, or the negative number of the signal that ended it.
  func exitCode() async -> Int32? { await exited.stream.first { _ in true } }
}

/// Runs the command for the length of `body`; whatever is left of it then is killed.
func withCommand<Result>(
  _ arguments: String..., body: (RunningCommand) async throws -> Result
) async throws -> Result {
  let command = try RunningCommand(arguments)
  defer { command.send(SIGKILL) }
  return try await body(command)
}

/// `serve` on a free port, which it tells.
func withServe<Result>(
  _ options: String..., body: (RunningCommand, _ port: String) async throws -> Result
) async throws -> Result {
  let command = try RunningCommand(["serve", "--port", "0"] + options)
  defer { command.send(SIGKILL) }
  let port = try #require(try await command.line(with: "listening on coap://").split(separator: ":").last)
  return try await body(command, String(port))
}
