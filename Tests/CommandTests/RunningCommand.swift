import Foundation
import Synchronization
import Testing

/// `device-rpc` as a process of its own, from the directory of the test bundle, or a program of the system.
///
/// Foundation's `Process` now and then misses the end of a process that is over quickly.
// Unchecked because the iterators are used by the test's task only.
final class RunningCommand: @unchecked Sendable {
  enum Stream { case output, error }

  private let process: Mutex<pid_t?>
  private let input: FileHandle
  private let exited = AsyncStream.makeStream(of: Int32.self)
  private var output: AsyncStream<String>.Iterator
  private var error: AsyncStream<String>.Iterator

  static let deviceRPC = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    .deletingLastPathComponent().appendingPathComponent("device-rpc").path

  /// A foreign program, as `program`, is looked for as a shell does.
  init(program: String? = nil, _ arguments: [String]) throws {
    var command = (program.map { ["/usr/bin/env", $0] } ?? [Self.deviceRPC]) + arguments
    // Not on the port that people use, which may be taken.
    let isPlain = arguments.first == "serve" && !arguments.contains { $0.hasPrefix("--http") || $0.hasPrefix("--config") || $0 == "--print-config" }
    if program == nil, isPlain, arguments.contains("--data") { command += ["--http", "off"] }
    let (process, input, output, error) = try Self.launch.withLock { _ in
      let (inputEnd, input) = try Self.makePipe()
      let (output, outputEnd) = try Self.makePipe()
      let (error, errorEnd) = try Self.makePipe()
      defer { for end in [inputEnd, outputEnd, errorEnd] { close(end) } }
      return (try Self.spawn(command, [inputEnd, outputEnd, errorEnd]), input, output, error)
    }
    self.process = Mutex(process)
    self.input = FileHandle(fileDescriptor: input, closeOnDealloc: true)
    self.output = Self.lines(of: output).makeAsyncIterator()
    self.error = Self.lines(of: error).makeAsyncIterator()
    Thread { self.waitForExit(of: process) }.start()
  }

  // A process that inherits a pipe of another one keeps it from ending; so no process starts while pipes are made.
  private static let launch = Mutex(())

  private static func makePipe() throws -> (reading: Int32, writing: Int32) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { throw POSIXError(.EMFILE) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (ends[0], ends[1])
  }

  private static func spawn(_ arguments: [String], _ streams: [Int32]) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (number, stream) in streams.enumerated() { posix_spawn_file_actions_adddup2(&actions, stream, Int32(number)) }
    var words = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var process = pid_t()
    let code = posix_spawn(&process, arguments[0], &actions, nil, &words, environ)
    guard code == 0 else { throw POSIXError(POSIXErrorCode(rawValue: code) ?? .EINVAL) }
    return process
  }

  private func waitForExit(of process: pid_t) {
    var info = siginfo_t()
    while waitid(P_PID, id_t(process), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
    var status: Int32 = 0
    // From here on the number may belong to another process.
    self.process.withLock {
      waitpid(process, &status, 0)
      $0 = nil
    }
    exited.continuation.yield(status & 0x7f == 0 ? status >> 8 & 0xff : -(status & 0x7f))
    exited.continuation.finish()
  }

  private static func lines(of descriptor: Int32) -> AsyncStream<String> {
    let (stream, continuation) = AsyncStream.makeStream(of: String.self)
    Thread {
      var rest: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 4_096)
      while true {
        let count = read(descriptor, &buffer, 4_096)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { break }
        rest += buffer[..<count]
        while let end = rest.firstIndex(of: 10) {
          continuation.yield(String(decoding: rest[..<end], as: UTF8.self))
          rest.removeSubrange(...end)
        }
      }
      close(descriptor)
      continuation.finish()
    }.start()
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

  func type(_ line: String) throws { try input.write(contentsOf: Data("\(line)\n".utf8)) }

  func closeInput() throws { try input.close() }

  func send(_ signal: Int32) { process.withLock { process in if let process { kill(process, signal) } } }

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
