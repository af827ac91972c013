import Foundation
import Testing

/// `device-rpc watch` against `serve --http`.
@Suite(.timeLimit(.minutes(1))) struct WatchTests {
  /// What `watch` prints when the events begin.
  private func started(_ url: String, _ arguments: String..., body: (RunningCommand) async throws -> Void) async throws {
    let watch = try RunningCommand(["watch", "--server", url] + arguments)
    defer { watch.send(SIGKILL) }
    #expect(try await watch.line(with: "watching", .error).hasSuffix("at \(url)"))
    try await body(watch)
  }

  /// The line without its time.
  private func words(_ line: String?) throws -> Substring {
    let line = try #require(line)
    let space = try #require(line.firstIndex(of: " "))
    _ = try Date(String(line[..<space]), strategy: Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    return line[space...].dropFirst()
  }

  @Test func `each event is a line at once, with its time, its device and what has happened`() async throws {
    try await withServer { server in
      try await started(server.url) { watch in
        try await withCommand("simulate", "--port", server.coapPort) { simulate in
          #expect(try words(await watch.line()).hasPrefix("sensor-1 connected from 127.0.0.1:"))
          #expect(try await server.call("sensor-1", "multiply", "7", "191").code == 0)
          let sent = try words(await watch.line())
          #expect(sent.hasPrefix("sensor-1 multiply/") && sent.hasSuffix(" [7,191] sent"))
          var last = try words(await watch.line())
          // The result may come before the acknowledgement is seen.
          if last.hasSuffix(" acknowledged") { last = try words(await watch.line()) }
          #expect(last.contains(#" OK (0) {"value":1337.0} "#) && last.hasSuffix(" ms"))
          simulate.send(SIGINT)
          #expect(try words(await watch.line()) == "sensor-1 disconnected: it has deregistered")
        }
      }
    }
  }

  @Test func `the events of one device are those of this device, as JSON for programs`() async throws {
    try await withDevice(count: 2) { server in
      try await started(server.url, "sensor-1", "--json") { watch in
        #expect(try await server.call("sensor-2", "multiply", "1", "2").code == 0)
        #expect(try await server.call("sensor-1", "multiply", "7", "191").code == 0)
        var names: [String] = []
        while names.last != "call.ended" {
          let line = try #require(await watch.line())
          let event = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
          #expect((event["call"] as? [String: Any])?["device"] as? String == "sensor-1")
          #expect((event["id"] as? String)?.isEmpty == false && event["time"] is String)
          names.append(try #require(event["event"] as? String))
        }
        #expect(names.first == "call.sent")
      }
    }
  }

  @Test(arguments: [SIGINT, SIGTERM]) func `a signal ends it with 0`(_ signal: Int32) async throws {
    try await withServer { server in
      try await started(server.url) { watch in
        watch.send(signal)
        #expect(await watch.exitCode() == 0)
      }
    }
  }

  @Test func `it ends with its reader, and not only at the next event`() async throws {
    try await withServer { server in
      let line = #""$0" watch --server "$1" | head -1; echo "${PIPESTATUS[*]}""#
      let shell = try RunningCommand(program: "bash", ["-c", line, RunningCommand.deviceRPC, server.url])
      defer { shell.send(SIGKILL) }
      _ = try await shell.line(with: "watching", .error)
      try await withCommand("simulate", "--port", server.coapPort) { _ in
        #expect(await shell.line()?.contains("sensor-1 connected") == true)
        #expect(await shell.line() == "0 0")
      }
    }
  }

  @Test func `what the server refuses is told, with an exit code`() async throws {
    let gone = try await withServer { $0.url }
    let unreachable = try await run(["watch", "--server", gone])
    #expect(unreachable.code == 4 && unreachable.output.isEmpty && unreachable.error.first?.contains("connection refused") == true)
    for wrong in [["a", "b"], [""], ["--server", "ftp://x"]] { #expect(try await run(["watch"] + wrong).code == 64) }
    try await withData { data in
      let added = try await data.keys("add", "back end")
      let text = try #require(added.output.joined(separator: " ").firstMatch(of: /drpc_[A-Za-z0-9_-]+/)).output
      try await withServer("--data", data.directory) { server in
        #expect(try await run(["watch", "--server", server.url]) == Finished(output: [], error: ["The request has no API key."], code: 4))
        let watch = try RunningCommand(["watch", "--server", server.url, "--api-key", String(text)])
        defer { watch.send(SIGKILL) }
        _ = try await watch.line(with: "watching", .error)
        #expect(try await data.keys("revoke", "back end").code == 0)
        _ = try await watch.line(with: "the connection is lost", .error)
        #expect(try await watch.line(with: "key", .error) == "The API key is not valid, or was revoked.")
        #expect(await watch.exitCode() == 4)
      }
    }
  }

  @Test func `after a lost connection it goes on from the last event, and tells of a gap`() async throws {
    let server = try ScriptedServer()
    let watch = try RunningCommand(["watch", "--server", server.url, "--api-key", "k"])
    defer { watch.send(SIGKILL) }
    var client = await server.client()
    #expect(client.request.first == "GET /v1/events HTTP/1.1" && client.request.contains("Authorization: Bearer k"))
    #expect(!client.request.contains { $0.hasPrefix("Last-Event-ID") })
    client.open()
    client.send("retry: 1\n: heartbeat\nid: x-1\n\n")
    client.close()
    // What may pass is waited for.
    for status in ["503 Service Unavailable", "429 Too Many Requests"] {
      client = await server.client()
      #expect(client.request.contains("Last-Event-ID: x-1"))
      client.refuse(status, status, "Retry-After: 0\r\n")
      _ = try await watch.line(with: status, .error)
    }
    client = await server.client()
    client.open()
    client.send("event: gap\ndata: {\"time\":\"T\",\"reason\":\"forgotten\",\"dropped\":null}\n\nid: x-2\nevent: device.heard\n")
    client.send("data: {\"time\":\"T\",\"device\":{\"name\":\"d\"}}\n\nid: x-3\nevent: device.heard\n")
    #expect(await watch.line() == "T d is heard again")
    #expect(try await watch.line(with: "missing", .error) == "events are missing here: the server no longer remembers them")
    client.close()
    client = await server.client()
    // The event that was not complete counts for nothing.
    #expect(client.request.contains("Last-Event-ID: x-2"))
    client.refuse("403 Forbidden", "No more.")
    #expect(try await watch.line(with: "No", .error) == "No more.")
    #expect(await watch.exitCode() == 4)
  }

  @Test func `a server that is none is told from one`() async throws {
    let server = try ScriptedServer()
    for answer in ["200 OK", "204 No Content", "404 Not Found"] {
      let watch = try RunningCommand(["watch", "--server", server.url])
      defer { watch.send(SIGKILL) }
      let client = await server.client()
      client.send("HTTP/1.1 \(answer)\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      client.close()
      #expect(try await watch.line(with: answer.prefix(3) + " and no events", .error).contains("is no server of device-rpc"))
      #expect(await watch.exitCode() == 4)
    }
  }

  @Test func `a server that is started again is found, and that events are missing is told`() async throws {
    try await withServer { first in
      try await started(first.url) { watch in
        first.serve.send(SIGINT)
        #expect(await first.serve.exitCode() == 0)
        _ = try await watch.line(with: "the connection is lost", .error)
        let place = String(first.url.dropFirst("http://".count))
        try await withServer("--http", place) { second in
          _ = try await watch.line(with: "watching", .error)
          #expect(try await watch.line(with: "missing", .error) == "events are missing here: the server was restarted")
          try await withCommand("simulate", "--port", second.coapPort) { (_) async throws in
            #expect(try words(await watch.line()).hasPrefix("sensor-1 connected"))
          }
        }
      }
    }
  }
}
