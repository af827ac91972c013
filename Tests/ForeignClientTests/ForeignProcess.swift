import Foundation
import Synchronization
import Testing

/// Another program, with what it prints line by line.
///
/// Made of system calls and a thread that waits in them. Foundation's `Process` gives a child the blocked signals of
/// Dispatch's threads, so that Ctrl-C does not reach it, and its handlers for pipes miss the end of one now and
/// then when many processes come and go.
final class ForeignProcess: Sendable {
  /// The lines of standard output without their ends, as bytes because not all clients print text.
  private let output: AsyncStream<[UInt8]>
  private let error: AsyncStream<[UInt8]>
  private let exits: AsyncStream<Int32>
  private let child: Child
  private let input: FileDescriptor

  init(_ executable: String, _ arguments: [String]) throws {
    let input = try FileDescriptor.pair()
    let output = try FileDescriptor.pair()
    let error = try FileDescriptor.pair()
    child = Child(try Self.spawn(executable, arguments, [input.0, output.1, error.1]))
    self.input = input.1
    let outputLines = Lines(output.0)
    let errorLines = Lines(error.0)
    self.output = outputLines.stream
    self.error = errorLines.stream
    let (exits, continuation) = AsyncStream.makeStream(of: Int32.self)
    self.exits = exits
    let child = child
    Thread.detachNewThread {
      Lines.readAll([outputLines, errorLines])
      continuation.yield(child.wait())
      continuation.finish()
    }
  }

  /// Starts a program with these as its descriptors 0 to 2 and no signal blocked or ignored.
  private static func spawn(_ executable: String, _ arguments: [String], _ descriptors: [FileDescriptor]) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for (number, descriptor) in descriptors.enumerated() {
      posix_spawn_file_actions_adddup2(&actions, descriptor.number, Int32(number))
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    for signal in [SIGINT, SIGTERM, SIGPIPE] { sigaddset(&signals, signal) }
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

    let environment = ProcessInfo.processInfo.environment.map { "\($0)=\($1)" }
    let argv = ([executable] + arguments).map { strdup($0) } + [nil]
    let envp = environment.map { strdup($0) } + [nil]
    defer { for text in argv + envp { free(text) } }
    var pid: pid_t = 0
    let code = withExtendedLifetime(descriptors) { posix_spawn(&pid, executable, &actions, &attributes, argv, envp) }
    guard code == 0 else { throw POSIXError(POSIXErrorCode(rawValue: code) ?? .EIO) }
    return pid
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

  func type(_ line: String) {
    let bytes = Array("\(line)\n".utf8)
    _ = Glibc.send(input.number, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }

  func send(_ signal: Int32) { child.send(signal) }

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

/// Our own command, next to the test bundle.
let deviceRPC = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
  .deletingLastPathComponent().appendingPathComponent("device-rpc").path

/// Runs a program for the length of `body`; when it has not ended by then it is killed.
func withProcess<Result>(
  _ executable: String, _ arguments: [String], _ body: (ForeignProcess) async throws -> Result
) async throws -> Result {
  let process = try ForeignProcess(executable, arguments)
  defer { process.send(SIGKILL) }
  return try await body(process)
}

extension ForeignProcess {
  /// Where `serve --http` listens: the port for CoAP, and the URL for HTTP.
  func addresses() async throws -> (coap: String, http: String) {
    let coap = try #require(try await line(with: "listening on coap://").split(separator: ":").last)
    return (String(coap), String(try await line(with: "listening on http://").dropFirst("listening on ".count)))
  }
}

/// Adds an API key with `keys add`, and returns it.
func addAPIKey(_ name: String, _ permissions: [String], in data: String) async throws -> String {
  try await withProcess(deviceRPC, ["keys", "add", name, "--data", data] + permissions) { process in
    String(try #require(await process.printed().output.firstMatch(of: /drpc_[A-Za-z0-9_-]+/)).output)
  }
}

/// A foreign client that is not there.
struct NotInstalled: Error, CustomStringConvertible {
  let what: String
  var description: String { "\(what) is not installed; run \".ci/setup tests\"" }
}

/// A process that we have started; a signal goes to no other one that has its number later.
private final class Child: Sendable {
  private let pid: pid_t
  private let isReaped = Mutex(false)

  init(_ pid: pid_t) { self.pid = pid }

  func send(_ signal: Int32) {
    isReaped.withLock { if !$0 { kill(pid, signal) } }
  }

  /// Blocks until the process has ended.
  func wait() -> Int32 {
    var info = siginfo_t()
    while waitid(P_PID, id_t(pid), &info, WEXITED | WNOWAIT) != 0, errno == EINTR {}
    return isReaped.withLock { isReaped in
      var status: Int32 = 0
      waitpid(pid, &status, 0)
      isReaped = true
      return status & 0x7f == 0 ? status >> 8 & 0xff : -(status & 0x7f)
    }
  }
}

private final class FileDescriptor: Sendable {
  let number: Int32

  private init(_ number: Int32) { self.number = number }
  deinit { close(number) }

  // Sockets rather than pipes: they can be made such that no other child inherits them, and what is typed to a program
  // that has ended does not end the tests with SIGPIPE.
  static func pair() throws -> (FileDescriptor, FileDescriptor) {
    var numbers: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &numbers) == 0 else {
      throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO)
    }
    return (FileDescriptor(numbers[0]), FileDescriptor(numbers[1]))
  }
}

/// What comes out of a descriptor, cut into lines.
private final class Lines: Sendable {
  let stream: AsyncStream<[UInt8]>
  private let continuation: AsyncStream<[UInt8]>.Continuation
  private let descriptor: FileDescriptor
  private let rest = Mutex([UInt8]())

  init(_ descriptor: FileDescriptor) {
    self.descriptor = descriptor
    (stream, continuation) = AsyncStream.makeStream()
  }

  /// Blocks until all have ended.
  static func readAll(_ all: [Lines]) {
    var open = all
    while !open.isEmpty {
      var waiting = open.map { pollfd(fd: $0.descriptor.number, events: Int16(POLLIN), revents: 0) }
      guard poll(&waiting, nfds_t(waiting.count), -1) >= 0 || errno == EINTR else { break }
      open = zip(open, waiting).filter { $1.revents == 0 || $0.read() }.map(\.0)
    }
    for lines in open { lines.continuation.finish() }
  }

  /// Takes what is there; false at the end.
  private func read() -> Bool {
    var bytes = [UInt8](repeating: 0, count: 65_536)
    let count = Glibc.read(descriptor.number, &bytes, bytes.count)
    return rest.withLock { rest in
      guard count > 0 else {
        if !rest.isEmpty { continuation.yield(rest) }
        continuation.finish()
        return false
      }
      var parts = bytes[0..<count].split(separator: 10, omittingEmptySubsequences: false)
      let last = parts.removeLast()
      for part in parts {
        continuation.yield(rest + part)
        rest = []
      }
      rest += last
      return true
    }
  }
}
