import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct ConfigurationCommandTests {
  /// A folder with `serve.json` that is gone after the test.
  private func withFile(_ json: String, _ body: (_ path: String) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("device-rpc-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("serve.json").path
    try Data(json.utf8).write(to: URL(fileURLWithPath: path))
    try await body(path)
  }

  /// `device-rpc serve` with variables of the environment.
  private func serve(_ variables: [String] = [], _ options: String...) async throws -> Finished {
    try await run(program: "env", variables + [RunningCommand.deviceRPC, "serve"] + options)
  }

  @Test func `print-config shows every option and where it comes from, and does not start the server`() async throws {
    try await withFile(#"{"timeout": 3, "wait": 4, "port": 0}"#) { path in
      let finished = try await serve(["DEVICE_RPC_TIMEOUT=5"], "--config", path, "--threads", "2", "--print-config")
      #expect(finished.code == 0 && finished.error.isEmpty)
      let rows = finished.output.map { $0.split(separator: /\s{2,}/).map(String.init) }
      #expect(rows.first == ["key", "value", "source"])
      #expect(rows.contains(["timeout", "5.0", "DEVICE_RPC_TIMEOUT"]))
      #expect(rows.contains(["wait", "4.0", path]))
      #expect(rows.contains(["port", "0", path]))
      #expect(rows.contains(["threads", "2", "command line"]))
      #expect(rows.contains(["log-level", "notice", "default"]))
      #expect(rows.contains(["listen", "coap://127.0.0.1:0", "default"]))
    }
  }

  @Test func `serve listens where the file and the environment say`() async throws {
    try await withFile(#"{"listen": ["coap+tcp://127.0.0.1:0"], "timeout": 0.05}"#) { path in
      let variables = ["DEVICE_RPC_CONFIG=\(path)", "DEVICE_RPC_LISTEN=coap://127.0.0.1:0"]
      let serve = try RunningCommand(program: "env", variables + [RunningCommand.deviceRPC, "serve"])
      defer { serve.send(SIGKILL) }
      let port = try #require(await serve.line()?.split(separator: "listening on coap://127.0.0.1:").last)
      try await withCommand("simulate", "--port", String(port)) { _ in
        _ = try await serve.line(with: "sensor-1 connected")
        try serve.type("sensor-1 sleep 3600")
        #expect(try await serve.line(with: "sleep").contains("no result within 50 ms"))
      }
      serve.send(SIGTERM)
      #expect(await serve.exitCode() == 0)
    }
  }

  @Test func `a file that cannot be used is told in one line, with the exit code of wrong usage`() async throws {
    try await withFile(#"{"port": 0, "listen": ["coap://127.0.0.1:0"]}"#) { path in
      let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
      for (file, message) in [
        ("\(path)n", "Error: cannot read \(path)n: No such file or directory"),
        (folder, "Error: cannot read \(folder): Is a directory"),
        ("/dev/zero", "Error: /dev/zero is longer than 1 MiB, the longest that is read"),
        ("/dev/null", "Error: /dev/null, line 1, column 1: JSON: expected a value, found the end at byte 0"),
        ("", "Error: the path of the configuration file is empty"),
        (
          path,
          "Error: --listen says it all; --host and --port are for plain CoAP without it. "
            + "--listen comes from \(path), --port comes from \(path)."
        ),
      ] {
        let finished = try await serve([], "--config", file)
        #expect(finished.error == [message])
        #expect(finished.code == 64 && finished.output.isEmpty)
      }
      let twice = try await serve([], "--config", path, "--config", path)
      #expect(twice.error.first == "Error: --config can be given only once.")
      #expect(twice.code == 64)
    }
  }

  @Test func `a mistake in the environment ends serve, but neither its help nor other commands`() async throws {
    let finished = try await serve(["DEVICE_RPC_PROT=1"], "--port", "0")
    #expect(finished.error == ["Error: the environment variable DEVICE_RPC_PROT is unknown; did you mean DEVICE_RPC_PORT?"])
    #expect(finished.code == 64)
    let help = try await serve(["DEVICE_RPC_PROT=1"], "--help")
    #expect(help.code == 0 && help.error.isEmpty)
    let certs = try await run(program: "env", ["DEVICE_RPC_PROT=1", RunningCommand.deviceRPC, "certs", "--help"])
    #expect(certs.code == 0)
  }
}
