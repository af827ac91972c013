import DeviceRPCStore
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct CommandTests {
  @Test("demo tells its story, ends with 1337 and leaves nothing behind", arguments: ["cbor", "json"])
  func demo(_ format: String) async throws {
    try await withCommand("demo", "--format", format) { command in
      let lines = await command.rest()
      #expect(lines.last == "1337")
      for number in 1...6 { #expect(lines.contains { $0.hasPrefix("\(number). ") }) }
      #expect(lines.contains { $0.contains("GET /.rpc?ep=sensor-1, Observe 0, Accept application/\(format)") })
      #expect(lines.contains { $0.contains(#""id":"multiply/"#) && $0.contains(#""params":["#) })
      #expect(lines.contains { $0.contains("POST /.rpc/status, Content-Format application/\(format)") })
      #expect(await command.rest(.error).isEmpty)
      #expect(await command.exitCode() == 0)
    }
  }

  @Test("A call typed into serve is answered by a simulated device", arguments: ["cbor", "json"])
  func serveAndSimulate(_ format: String) async throws {
    try await withServe { serve, port in
      try await withCommand("simulate", "--port", port, "--format", format) { simulate in
        #expect(try await serve.line(with: "connected").hasPrefix("sensor-1 connected from 127.0.0.1:"))
        try serve.type("sensor-1 multiply 7 191")
        let result = try await serve.line(with: "multiply/")
        #expect(result.contains(" OK (0) {\"value\":1337"))
        #expect(result.hasSuffix(" ms"))
        try serve.type(#"sensor-1 echo {"a": [1, 2]} "two words""#)
        #expect(try await serve.line(with: "echo/").contains(#""two words"]"#))
        try serve.type("sensor-1 fail 9 paper")
        #expect(try await serve.line(with: "fail/").contains(#" FAILED_PRECONDITION (9) {"error":"paper"} "#))
        try serve.type("sensor-1")
        #expect(try await serve.line(with: "heard").contains("(Golioth, \(format.uppercased()))"))

        simulate.send(SIGINT)
        #expect(await simulate.exitCode() == 0)
        _ = try await simulate.line(with: "multiply/")
        #expect(try await serve.line(with: "disconnected") == "sensor-1 disconnected: it has deregistered")
        try serve.type("sensor-1 multiply 7 191")
        #expect(try await serve.line(with: "multiply") == "sensor-1 multiply: the server gave up: it is not connected (not sent; it is safe to try again)")
      }
    }
  }

  @Test("With several threads every device is called where it is served")
  func threads() async throws {
    try await withServe("--threads", "3") { serve, port in
      try await withCommand("simulate", "--port", port, "--devices", "9", "--quiet") { _ in
        for _ in 1...9 { _ = try await serve.line(with: "connected from") }
        for number in 1...9 {
          try serve.type("sensor-\(number) multiply 7 \(number)")
          #expect(try await serve.line(with: "sensor-\(number) multiply/").contains("OK (0) {\"value\":\(7 * number)"))
        }
      }
    }
  }

  @Test("serve goes on when its input ends, and a signal ends it with 0", arguments: [SIGINT, SIGTERM])
  func signals(_ signal: Int32) async throws {
    try await withServe { serve, port in
      try serve.type("devices")
      _ = try await serve.line(with: "no device has connected yet")
      try serve.closeInput()
      try await withCommand("simulate", "--port", port) { _ in
        _ = try await serve.line(with: "sensor-1 connected")
        serve.send(signal)
        #expect(await serve.exitCode() == 0)
        #expect(await serve.rest(.error).isEmpty)
      }
    }
  }

  @Test("serve goes on when nobody reads its output any more, and says so", arguments: ["", "2>/dev/full"])
  func unread(_ error: String) async throws {
    let serve = try RunningCommand(
      program: "bash", ["-c", #"exec "$0" serve --port 0 > >(exec head -n 1) \#(error)"#, RunningCommand.deviceRPC])
    defer { serve.send(SIGKILL) }
    let port = try #require(try await serve.line(with: "listening on coap://").split(separator: ":").last)
    // The reader has gone.
    #expect(await serve.rest().isEmpty)
    try await withCommand("simulate", "--port", String(port)) { simulate in
      _ = try await simulate.line(with: "connected")
      for number in 1...3 {
        try serve.type("sensor-1 multiply 7 \(number)")
        #expect(try await simulate.line(with: "->").contains("{\"value\":\(7 * number)"))
      }
    }
    serve.send(SIGINT)
    #expect(await serve.exitCode() == 0)
    let lost = "warning: nobody reads what this command prints; it goes on, and Ctrl-C ends it"
    #expect(await serve.rest(.error) == (error.isEmpty ? [lost] : []))
  }

  @Test("simulate goes on when nobody reads its output any more")
  func unreadSimulate() async throws {
    try await withServe { serve, port in
      let simulate = try RunningCommand(
        program: "bash", ["-c", #"exec "$0" simulate --port \#(port) > >(exec head -n 1)"#, RunningCommand.deviceRPC])
      defer { simulate.send(SIGKILL) }
      #expect(await simulate.rest().count == 1)
      for _ in 1...3 {
        try serve.type("sensor-1 multiply 7 191")
        #expect(try await serve.line(with: "multiply/").contains("1337"))
      }
      simulate.send(SIGTERM)
      #expect(await simulate.exitCode() == 0)
    }
  }

  @Test("A second Ctrl-C does not wait for open calls")
  func secondSignal() async throws {
    try await withServe { serve, port in
      try await withCommand("simulate", "--port", port) { simulate in
        _ = try await serve.line(with: "sensor-1 connected")
        try serve.type("sensor-1 sleep 3600")
        _ = try await simulate.line(with: "sleep/")
        serve.send(SIGINT)
        #expect(try await serve.line(with: "closing") == "closing: open calls have 5 s to end; Ctrl-C again stops at once")
        serve.send(SIGINT)
        #expect(await serve.exitCode() == 130)
      }
    }
  }

  @Test("A call that fails is told with its id")
  func failure() async throws {
    try await withServe("--timeout", "0.05") { serve, port in
      try await withCommand("simulate", "--port", port) { _ in
        _ = try await serve.line(with: "sensor-1 connected")
        try serve.type("sensor-1 sleep 3600")
        let line = try await serve.line(with: "sleep")
        #expect(line.wholeMatch(of: /sensor-1 sleep\/[0-9a-f]{4,}: the server gave up: no result within 50 ms \(.*\)/) != nil, "\(line)")
      }
    }
  }

  @Test("A device that is connected has been seen, and is listed also when it does not observe")
  func seen() async throws {
    let data = FileManager.default.temporaryDirectory.appendingPathComponent("device-rpc-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: data) }
    for name in ["sensor-1", "mute"] {
      #expect(try await run(["devices", "add", name, "--key", "secret", "--data", data]).code == 0)
    }
    let serve = try RunningCommand(["serve", "--data", data, "--listen", "coaps://127.0.0.1:0"])
    defer { serve.send(SIGKILL) }
    let port = String(try #require(try await serve.line(with: "listening on").split(separator: ":").last))
    try await withCommand("simulate", "--transport", "coaps", "--port", port, "--key", "secret") { _ in
      _ = try await serve.line(with: "sensor-1 connected")
      // It proves its name, asks for nothing that there is, and goes.
      _ = try await run(
        program: "coap-client-openssl", ["-B", "5", "-u", "mute", "-k", "secret", "coaps://127.0.0.1:\(port)/nothing"])
      try serve.type("devices")
      #expect(try await serve.line(with: "mute").hasPrefix("mute offline for "))
      #expect(try await serve.line(with: "sensor-1").hasPrefix("sensor-1 observing for "))
      let store = try DeviceStore(directory: data)
      defer { store.close() }
      let begin = ContinuousClock.now
      for name in ["sensor-1", "mute"] {
        while try await store.device(name)?.lastSeen == nil { await Task.yield() }
      }
      #expect(ContinuousClock.now - begin < .seconds(10))
    }
  }

  @Test("quit closes the server")
  func quit() async throws {
    try await withServe { serve, _ in
      try serve.type("quit")
      #expect(try await serve.line(with: "closing") == "closing")
      #expect(await serve.exitCode() == 0)
    }
  }

  @Test("A line that means nothing gives one line on standard error, and serve goes on")
  func mistake() async throws {
    try await withServe { serve, _ in
      try serve.type("sensor-1 echo [1, 2")
      #expect(await serve.line(.error) == "a bracket is not closed (\"help\" shows how to call)")
      try serve.type("sensor-1 multiply 7 191")
      #expect(
        try await serve.line(with: "multiply:")
          == "sensor-1 multiply: the server refused the call: no device of that name has connected yet (not sent; it is safe to try again)")
    }
  }

  @Test("An address in use is told in one line, with exit code 1")
  func addressInUse() async throws {
    try await withServe { _, port in
      try await withCommand("serve", "--port", port) { second in
        #expect(
          await second.rest(.error) == [
            "cannot listen on 127.0.0.1:\(port): Address already in use (is another server running? choose another port, with --listen or --port)"
          ])
        #expect(await second.exitCode() == 1)
        #expect(await second.rest().isEmpty)
      }
    }
  }

  @Test("Too few descriptors for so many threads are told in one line, with exit code 1")
  func tooFewDescriptors() async throws {
    let serve = try RunningCommand(
      program: "sh",
      ["-c", #"ulimit -n 300 && exec "$0" "$@""#, RunningCommand.deviceRPC, "serve", "--port", "0", "--threads", "8"])
    defer { serve.send(SIGKILL) }
    let lines = await serve.rest(.error)
    #expect(lines.count == 1)
    #expect(lines.first?.contains("Too many open files (raise the limit, ulimit -n); a thread needs about 100") == true)
    #expect(await serve.exitCode() == 1)
  }

  @Test(
    "Too few descriptors for a command are told in one line with a hint, and trap nowhere",
    arguments: ["serve --port 0", "demo", "simulate --port 1", "devices list --data /nowhere"], [4, 6, 9, 20, 63])
  func noDescriptors(_ command: String, _ limit: Int) async throws {
    let finished = try await run(
      program: "sh", ["-c", #"ulimit -n \#(limit) && exec "$0" \#(command)"#, RunningCommand.deviceRPC])
    #expect(finished.error == ["Error: this process may have \(limit) open files, and needs 64; raise the limit, ulimit -n"])
    #expect(finished.code == 1 && finished.output.isEmpty)
  }

  @Test("Simulated devices that are too many for the descriptors are refused, and the last one that fits connects")
  func tooManyDevices() async throws {
    let refused = try await run(
      program: "sh", ["-c", #"ulimit -n 300 && exec "$0" simulate --port 1 --devices 1000"#, RunningCommand.deviceRPC])
    #expect(
      refused.error == [
        "1000 devices need 1094 open files, and this process may have 300; raise the limit, ulimit -n, or run this command several times"
      ])
    #expect(refused.code == 1 && refused.output.isEmpty)
    try await withServe { _, port in
      // 63 + 230 + 230 / 32 = 300.
      let simulate = try RunningCommand(
        program: "sh", ["-c", #"ulimit -n 300 && exec "$0" simulate --port \#(port) --devices 230"#, RunningCommand.deviceRPC])
      defer { simulate.send(SIGKILL) }
      #expect(await simulate.line() == "230 devices connected to 127.0.0.1:\(port)")
    }
  }

  @Test("Wherever the descriptors end, serve says so with a hint", arguments: [64, 70, 80, 90, 100, 110])
  func lastDescriptor(_ limit: Int) async throws {
    let finished = try await run(
      program: "sh", ["-c", #"ulimit -n \#(limit) && exec "$0" serve --port 0 --threads 2"#, RunningCommand.deviceRPC])
    #expect(finished.error.count == 1)
    #expect(finished.error.first?.contains("Too many open files (raise the limit, ulimit -n)") == true, "\(finished.error)")
    #expect(finished.code == 1)
  }

  @Test(
    "A file that is no certificate is told as what it is",
    arguments: [("/dev/null", "is not a PEM file with a certificate"), ("/dev/zero", "is not a PEM file with a certificate")])
  func noCertificate(_ path: String, _ problem: String) async throws {
    let data = FileManager.default.temporaryDirectory.appendingPathComponent("device-rpc-\(UUID())").path
    defer { try? FileManager.default.removeItem(atPath: data) }
    let finished = try await run(["serve", "--port", "0", "--data", data, "--certificate", path, "--key", path, "--ca", path])
    #expect(finished.error == ["Error: \(path) \(problem)"])
    #expect(finished.code == 1)
  }

  @Test(
    "Wrong usage is exit code 64",
    arguments: [
      ["serve", "--data", ""], ["serve", "--data", "d", "--certificate", "", "--key", "k", "--ca", "c"],
      ["serve", "--timeout", "1e-300"], ["serve", "--timeout", "nan"], ["serve", "--wait", "1e-300"],
      ["serve", "--listen", "coap://127.0.0.1:+5"], ["serve", "--listen", "coap://127.0.0.1:-0"],
      ["serve", "--listen", "coap://127.0.0.1:"], ["serve", "--listen", "coap://127.0.0.1:٥"],
      ["serve", "--listen", "coap://[::1]:+5"], ["serve", "--listen", "coap://::1:5683"], ["serve", "--listen", "coap://::1"],
      ["serve", "--listen", "coap://[127.0.0.1]"], ["serve", "--listen", "coap://localhost5"],
      ["serve", "--listen", "coap://127.0.0.1:5683/"], ["simulate", "--seconds", "1e-300"], ["simulate", "--seconds", "inf"],
      ["devices", "add", "a", "--certificate", ""], ["devices", "add", "a", "--project", ""],
      ["devices", "rotate", "a", "--certificate", ""], ["devices", "list", "--data", ""],
      ["serve", "--host", "0.0.0.0"], ["serve", "--host", "nowhere"], ["serve", "--timeout", "-1"],
      ["serve", "--max-payload", "0"], ["simulate", "--devices", "0"], ["simulate", "--server", "1.2.3"], ["nonsense"],
      ["serve", "--threads", "0"], ["serve", "--probe-interval", "-1"], ["serve", "--unanswered-probes", "0"], ["serve", "--data", "x", "--cipher-suite", "RC4"],
      ["serve", "--cipher-suite", "TLS_PSK_WITH_AES_128_CCM_8"],
      ["simulate", "--name", "a\u{200b}"], ["simulate", "--name", "cafe\u{301}"],
      ["simulate", "--dialect", "thingsboard", "--format", "cbor"], ["simulate", "--access-token", "a"],
      ["simulate", "--dialect", "thingsboard", "--access-token", ""],
      ["simulate", "--dialect", "thingsboard", "--access-token", "a", "--devices", "2"],
    ])
  func usage(_ arguments: [String]) async throws {
    let command = try RunningCommand(arguments)
    defer { command.send(SIGKILL) }
    #expect(await command.exitCode() == 64)
    #expect(await command.line(.error)?.hasPrefix("Error: ") == true)
  }

  @Test("simulate says once that there is no server, and ends by itself after --seconds")
  func unreachable() async throws {
    // A port that was free a moment ago.
    let port = try await withServe { serve, port in
      serve.send(SIGINT)
      _ = await serve.exitCode()
      return port
    }
    try await withCommand("simulate", "--port", port, "--seconds", "1.5") { simulate in
      let lines = await simulate.rest()
      #expect(
        lines == [
          "no connection to 127.0.0.1:\(port): nobody listens at that address; trying again",
          "deregistering from the server",
        ])
      #expect(await simulate.exitCode() == 0)
    }
  }

  @Test("Many devices are named by number")
  func manyDevices() async throws {
    try await withServe { serve, port in
      try await withCommand("simulate", "--port", port, "--devices", "30", "--name", "d") { simulate in
        #expect(try await simulate.line(with: "connected") == "30 devices connected to 127.0.0.1:\(port)")
        try serve.type("d30 multiply 7 191")
        #expect(try await serve.line(with: "multiply/").contains("1337"))
      }
    }
  }

  @Test("Help has examples", arguments: [[], ["demo"], ["serve"], ["simulate"]])
  func help(_ command: [String]) async throws {
    let help = try RunningCommand(command + ["--help"])
    defer { help.send(SIGKILL) }
    let text = await help.rest().joined(separator: "\n")
    #expect(text.contains("device-rpc demo") || text.contains("Examples:\n  device-rpc"))
    #expect(text.contains("USAGE: device-rpc"))
    #expect(await help.exitCode() == 0)
  }
}
