import DeviceRPCStore
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct SecretTests {
  /// Both ends of a terminal.
  private struct Terminal {
    let ours: Int32
    let theirs: Int32
    let path: String

    init() throws {
      var (first, second) = (Int32(), Int32())
      guard openpty(&first, &second, nil, nil, nil) == 0, let name = ttyname(second) else { throw POSIXError(.ENOTTY) }
      (ours, theirs, path) = (first, second, String(cString: name))
      for end in [ours, theirs] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
      _ = fcntl(ours, F_SETFL, O_NONBLOCK)
    }

    var echoes: Bool {
      var settings = termios()
      tcgetattr(theirs, &settings)
      return settings.c_lflag & tcflag_t(ECHO) != 0
    }

    /// All that is shown there.
    var shown: String {
      var bytes = [UInt8](repeating: 0, count: 4_096)
      return String(decoding: bytes.prefix(max(0, read(ours, &bytes, bytes.count))), as: UTF8.self)
    }
  }

  private func with(
    _ command: String, _ body: (RunningCommand, Terminal) async throws -> Void
  ) async throws {
    let terminal = try Terminal()
    defer { for end in [terminal.ours, terminal.theirs] { close(end) } }
    let running = try RunningCommand(
      program: "sh", ["-c", #"exec "$0" \#(command) <\#(terminal.path)"#, RunningCommand.deviceRPC])
    defer { running.send(SIGKILL) }
    while terminal.echoes { await Task.yield() }
    try await body(running, terminal)
  }

  @Test func `a key that is typed at a terminal is not shown there`() async throws {
    let data = FileManager.default.temporaryDirectory.appendingPathComponent("device-rpc-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: data) }
    for verb in ["add", "rotate"] {
      try await with("devices \(verb) a --key - --data \(data)") { command, terminal in
        _ = write(terminal.ours, "super\(verb)\n", 6 + verb.count)
        #expect(await command.exitCode() == 0)
        #expect(terminal.echoes)
        #expect(!terminal.shown.contains("super"))
        #expect(await command.rest(.error) == ["key: "])
      }
    }
    let store = try DeviceStore(directory: data)
    defer { store.close() }
    #expect(store.credential(.preSharedKey, identity: "a")?.proof == .preSharedKey(try #require(.init("superrotate".utf8))))
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGQUIT, SIGHUP])
  func `a signal leaves the terminal as it was`(signal: Int32) async throws {
    try await with("simulate --transport coaps --key -") { command, terminal in
      command.send(signal)
      #expect(await command.exitCode() == -signal)
      #expect(terminal.echoes)
    }
  }

  @Test(arguments: ["coaps", "coaps+tcp"])
  func `simulate reads its key from standard input and tells what is wrong with a connection`(scheme: String) async throws {
    let data = FileManager.default.temporaryDirectory.appendingPathComponent("device-rpc-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: data) }
    #expect(try await run(["devices", "add", "a", "--key", "secret", "--data", data]).code == 0)
    let serve = try RunningCommand(["serve", "--data", data, "--listen", "\(scheme)://127.0.0.1:0"])
    defer { serve.send(SIGKILL) }
    let port = String(try #require(try await serve.line(with: "listening on").split(separator: ":").last))
    func simulate(_ key: String, _ identity: String, port: String) async throws -> String {
      let command = try RunningCommand([
        "simulate", "--transport", scheme, "--port", port, "--key", "-", "--name", "a", "--identity", identity,
      ])
      defer { command.send(SIGKILL) }
      try command.type(key)
      return await command.line() ?? ""
    }
    #expect(try await simulate("secret", "a", port: port) == "a connected to 127.0.0.1:\(port)")
    let complaint = "no connection to 127.0.0.1:\(port): the server "
    #expect(try await simulate("secret", "nobody", port: port).hasPrefix(complaint + "does not know the identity"))
    let wrong = try await simulate("wrong", "a", port: port)
    #expect(wrong.hasPrefix(complaint) && wrong.contains("not the one of the identity") || wrong.contains("not be the one of the identity"), "\(wrong)")
    serve.send(SIGINT)
    _ = await serve.exitCode()
    #expect(
      try await simulate("secret", "a", port: port)
        == "no connection to 127.0.0.1:\(port): nobody listens at that address; trying again")
  }

  @Test func `over TCP nobody there is told as over UDP`() async throws {
    // A port that was free a moment ago.
    let port = try await withServe { serve, port in
      serve.send(SIGINT)
      _ = await serve.exitCode()
      return port
    }
    try await withCommand("simulate", "--transport", "coap+tcp", "--port", port) { simulate in
      #expect(await simulate.line() == "no connection to 127.0.0.1:\(port): nobody listens at that address; trying again")
    }
  }

  @Test func `a new key may be for another project`() async throws {
    let data = FileManager.default.temporaryDirectory.appendingPathComponent("device-rpc-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: data) }
    #expect(try await run(["devices", "add", "a", "--data", data]).code == 0)
    #expect(try await run(["devices", "add", "b", "--identity", "a@taken", "--data", data]).code == 0)
    let rotated = try await run(["devices", "rotate", "a", "--project", "lab", "--data", data])
    #expect(rotated.code == 0 && rotated.output.contains("identity  a@lab"))
    #expect(
      try await run(["devices", "rotate", "a", "--project", "taken", "--data", data]).error
        == ["Error: the identity \"a@taken\" is that of the device \"b\""])
    // And stays without.
    #expect(try await run(["devices", "rotate", "a", "--data", data]).output.contains("identity  a@lab"))
    let store = try DeviceStore(directory: data)
    defer { store.close() }
    #expect(store.credential(.preSharedKey, identity: "a") == nil)
    #expect(store.credential(.preSharedKey, identity: "a@lab")?.device == "a")
    let both = try await run(["devices", "rotate", "a", "--project", "p", "--identity", "i", "--data", data])
    #expect(both.code == 64)
  }
}
