import Foundation
import Testing

/// `serve --http` with a simulated device, called with `device-rpc call` and with curl.
@Suite(.timeLimit(.minutes(1))) struct CallTests {
  private func call(_ url: String, _ arguments: String...) async throws -> Finished {
    try await run(["call", "--server", url] + arguments)
  }

  private func curl(_ arguments: String...) async throws -> [String] {
    let command = try RunningCommand(program: "curl", ["--silent", "--show-error", "--max-time", "20", "--write-out", "\\n"] + arguments)
    defer { command.send(SIGKILL) }
    return await command.rest()
  }

  @Test func `a call prints its detail, and exits with what came of it`() async throws {
    try await withDevice { place in
      let answered = try await call(place.url, "sensor-1", "multiply", "7", "-191")
      #expect(answered.output == [#"{"value":-1337.0}"#] && answered.error.isEmpty && answered.code == 0)
      let refused = try await call(place.url, "sensor-1", "fail", "5", "nope")
      #expect(refused.output == [#"{"error":"nope"}"#] && refused.error == ["sensor-1 refused the call: NOT_FOUND (5)"])
      #expect(refused.code == 1)
      let late = try await call(place.url, "sensor-1", "sleep", "30", "--timeout", "0.2")
      #expect(late.output.isEmpty && late.error.count == 1 && late.code == 2)
      let offline = try await call(place.url, "nobody", "x")
      #expect(offline.error.first?.contains("nobody") == true && offline.code == 3)
      let oneWay = try await call(place.url, "sensor-1", "multiply", "1", "2", "--one-way")
      #expect(oneWay.output.isEmpty && oneWay.code == 0)
      let whole = try await call(place.url, "sensor-1", "echo", #"{"a":[1,null]}"#, "text", "--json")
      #expect(whole.output.count == 1 && whole.output[0].contains(#""params":[{"a":[1,null]},"text"]"#))
      // Invisible characters are escaped as JSON escapes them.
      let invisible = try await call(place.url, "sensor-1", "echo", "x\u{200b}\u{1f600}\u{e0001}")
      #expect(invisible.output == [#"{"value":"x\u200b"# + "\u{1f600}" + #"\udb40\udc01"}"#])
      for wrong in [["sensor-1"], ["sensor-1", "m", "{"], ["sensor-1", "m", "--timout", "3"], ["sensor-1", "m", "--timeout", "0"]] {
        let command = try RunningCommand(["call", "--server", place.url] + wrong)
        #expect(await command.exitCode() == 64)
      }
    }
  }

  @Test func `at a terminal the detail has a line for each member`() async throws {
    try await withDevice { place in
      let line = "'\(RunningCommand.deviceRPC)' call --server \(place.url) sensor-1 echo '[1]'"
      let printed = try await run(program: "script", ["--quiet", "--return", "--command", line, "/dev/null"])
      #expect(printed.output.map { $0.filter { $0 != "\r" } } == ["{", #"  "value": ["#, "    1.0", "  ]", "}"])
    }
  }

  @Test func `a call is made once for a key, and looked at by its id`() async throws {
    try await withDevice { place in
      let first = try await call(place.url, "sensor-1", "echo", "1", "--json", "--idempotency-key", "k")
      #expect(try await call(place.url, "sensor-1", "echo", "1", "--json", "--idempotency-key", "k").output == first.output)
      #expect(try await call(place.url, "sensor-1", "echo", "2", "--idempotency-key", "k").code == 4)
      let id = try #require(try await call(place.url, "sensor-1", "sleep", "0.2", "--async").output.first)
      let ended = try await curl("-H", "Prefer: wait=10", "\(place.url)/v1/calls/\(id)")
      #expect(ended.first?.contains(#""detail":{"slept":0.2}"#) == true)
    }
  }

  @Test func `a persistent call prints its id, and is done when its device comes`() async throws {
    try await withServer { place in
      let kept = try await call(place.url, "sensor-1", "multiply", "7", "191", "--persistent", "--expires", "60", "--repeatable", "--attempts", "2")
      let id = try #require(kept.output.first)
      #expect(kept.output.count == 1 && kept.error.isEmpty && kept.code == 0)
      let simulate = try RunningCommand(["simulate", "--port", place.coapPort, "--quiet"])
      defer { simulate.send(SIGKILL) }
      let ended = try await curl("-H", "Prefer: wait=20", "\(place.url)/v1/calls/\(id)")
      #expect(ended.first?.contains(#""detail":{"value":1337.0}"#) == true && ended.first?.contains(#""state":"SUCCESSFUL""#) == true)
      for wrong in [["--expires", "5"], ["--persistent", "--attempts", "2"], ["--persistent", "--wait", "1"], ["--persistent", "--expires", "0"]] {
        #expect(try await run(["call", "--server", place.url, "sensor-1", "m"] + wrong).code == 64, "\(wrong)")
      }
    }
  }

  @Test func `curl calls a device, and a page of somebody else cannot`() async throws {
    try await withDevice { place in
      let answer = try await curl(
        "--json", #"{"method":"multiply","params":[7,191]}"#, "\(place.url)/v1/devices/sensor-1/calls")
      #expect(answer.first?.contains(#""status":{"code":0,"name":"OK"},"detail":{"value":1337.0}"#) == true)
      let foreign = try await curl("-H", "Host: evil.example", "\(place.url)/v1/devices")
      #expect(foreign.first?.contains("wrong-host") == true)
      // A form, which a page may send anywhere.
      let form = try await curl("-d", "method=multiply", "\(place.url)/v1/devices/sensor-1/calls")
      #expect(form.first?.contains("unsupported-media-type") == true)
    }
  }

  @Test func `who waits for a call is answered when the server ends`() async throws {
    try await withDevice { place in
      let waiting = try RunningCommand(["call", "--server", place.url, "sensor-1", "sleep", "60", "--timeout", "70"])
      defer { waiting.send(SIGKILL) }
      var isOpen = false
      while !isOpen { isOpen = try await curl("\(place.url)/v1/devices/sensor-1").first?.contains(#""openCalls":1"#) == true }
      place.serve.send(SIGINT)
      #expect(try await waiting.line(with: "shutting down", .error).contains("shutting down"))
      #expect(await waiting.exitCode() == 2)
      #expect(await place.serve.exitCode() == 0)
      // Nobody is there any more.
      let gone = try await call(place.url, "sensor-1", "multiply")
      #expect(gone.error.first?.contains("connection refused") == true && gone.code == 4)
    }
  }

  @Test func `where others can reach it, serve wants keys and a certificate`() async throws {
    try await withData { data in
      for (options, reason) in [([], "there are no API keys"), (["--allow-plain-http-from-network"], "there are no API keys")] {
        let serve = try RunningCommand(
          ["serve", "--data", data.directory, "--listen", "coap://127.0.0.1:0", "--http", "0.0.0.0:0"] + options)
        defer { serve.send(SIGKILL) }
        #expect(try await serve.line(with: reason, .error).contains("add one"))
        #expect(await serve.exitCode() == 1)
      }
      let added = try RunningCommand(["keys", "add", "back end", "--data", data.directory])
      let text = try #require(await added.rest().joined(separator: " ").firstMatch(of: /drpc_[A-Za-z0-9_-]+/)).output
      let plain = try RunningCommand(["serve", "--data", data.directory, "--listen", "coap://127.0.0.1:0", "--http", "0.0.0.0:0"])
      defer { plain.send(SIGKILL) }
      #expect(try await plain.line(with: "plain HTTP", .error).contains("certificate"))
      let serve = try RunningCommand(["serve", "--data", data.directory, "--listen", "coap://127.0.0.1:0", "--http", "0"])
      defer { serve.send(SIGKILL) }
      let url = String(try await serve.line(with: "listening on http://").dropFirst("listening on ".count))
      #expect(try await call(url, "sensor-1", "x").error == ["The request has no API key."])
      #expect(try await call(url, "sensor-1", "x", "--api-key", String(text)).code == 3)
      let revoked = try RunningCommand(["keys", "revoke", "back end", "--data", data.directory])
      #expect(await revoked.exitCode() == 0)
    }
  }
}
