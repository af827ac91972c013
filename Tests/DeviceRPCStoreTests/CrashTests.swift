import DeviceRPC
import DeviceRPCStore
import Foundation
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(2))) struct CrashTests {
  @Test(arguments: [1, 2, 3, 10, 25, 60])
  func `a process that is killed while it writes loses nothing that it has said to be there`(count: Int) async throws {
    try await withStore { store in
      // Two of them, so that one may be killed while it holds the lock, and the other one goes on.
      let victim = try Writer(directory: store.directory, prefix: "v")
      let other = try Writer(directory: store.directory, prefix: "o")
      var said = try await victim.lines(count)
      _ = try await other.lines(1)
      // Nothing has told it to stop: it is in the middle of the next write.
      said += await victim.kill()
      #expect(said.count >= count)
      _ = try await other.lines(5)
      said += await other.kill()

      try await expect(said, in: store)
      store.close()
      let again = try DeviceStore(directory: store.directory, creating: false)
      defer { again.close() }
      try await expect(said, in: again)
      #expect(try again.integrity() == ["ok"])
      // It takes changes as before.
      try await again.add("after", identity: "after", proof: key("k"))
    }
  }

  private func expect(_ said: [String], in store: DeviceStore) async throws {
    let devices = Dictionary(uniqueKeysWithValues: try await store.devices().map { ($0.name, $0) })
    for name in said {
      let device = try #require(devices[name], "\(name) is lost")
      #expect(device.credentials.map(\.identity) == ["\(name)@lab"])
      let number = try #require(Int(name.dropFirst()))
      #expect(device.isEnabled == !number.isMultiple(of: 2))
    }
    // At most the one write that was under way, of each process; and never half of it.
    #expect(devices.values.allSatisfy { $0.credentials.count == 1 })
  }
}

/// `store-writer` as a process of its own.
private final class Writer {
  private let process: pid_t
  private let output: Int32
  private var rest: [UInt8] = []

  init(directory: String, prefix: String) throws {
    let path = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
      .deletingLastPathComponent().appendingPathComponent("store-writer").path
    (process, output) = try Self.launch.withLock { _ in
      var ends: [Int32] = [0, 0]
      guard pipe(&ends) == 0 else { throw POSIXError(.EMFILE) }
      defer { close(ends[1]) }
      for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      return (try Self.spawn([path, directory, prefix], output: ends[1]), ends[0])
    }
  }

  // A process that inherits the pipe of another one keeps it from ending; so none starts while a pipe is made.
  private static let launch = Mutex(())

  private static func spawn(_ arguments: [String], output: Int32) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    var words = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var process = pid_t()
    let code = posix_spawn(&process, arguments[0], &actions, nil, &words, environ)
    guard code == 0 else { throw POSIXError(POSIXErrorCode(rawValue: code) ?? .EINVAL) }
    return process
  }

  deinit { close(output) }

  /// The next lines.
  func lines(_ count: Int) async throws -> [String] {
    while rest.count(where: { $0 == 10 }) < count {
      let bytes = await read()
      try #require(!bytes.isEmpty, "the process has ended by itself")
      rest += bytes
    }
    return (0..<count).compactMap { _ in takeLine() }
  }

  /// Kills it, and returns what else it had said.
  func kill() async -> [String] {
    Glibc.kill(process, SIGKILL)
    while case let bytes = await read(), !bytes.isEmpty { rest += bytes }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    var lines: [String] = []
    while let line = takeLine() { lines.append(line) }
    return lines
  }

  private func takeLine() -> String? {
    guard let end = rest.firstIndex(of: 10) else { return nil }
    defer { rest.removeSubrange(...end) }
    return String(decoding: rest[..<end], as: UTF8.self)
  }

  /// Empty at the end.
  private func read() async -> [UInt8] {
    let output = output
    return await withCheckedContinuation { continuation in
      Thread {
        var buffer = [UInt8](repeating: 0, count: 4_096)
        var count = Glibc.read(output, &buffer, 4_096)
        while count < 0, errno == EINTR { count = Glibc.read(output, &buffer, 4_096) }
        continuation.resume(returning: Array(buffer.prefix(max(0, count))))
      }.start()
    }
  }
}
