import DeviceRPC
import DeviceRPCStore
import Foundation
import Testing

/// `device-rpc devices … --server`, with a server that is a process of its own.
@Suite(.timeLimit(.minutes(2))) struct DevicesServerTests {
  private struct Server {
    let serve: RunningCommand
    let coaps: String
    let url: String
    let key: String
    /// A key that may not administer.
    let reader: String

    func devices(_ arguments: [String]) async throws -> Finished {
      try await run(["devices"] + arguments + ["--server", url, "--api-key", key])
    }

    func devices(_ arguments: String...) async throws -> Finished { try await devices(arguments) }
  }

  private func withServer(_ data: DataDirectory, _ body: (Server) async throws -> Void) async throws {
    let key = try #require(try await data.keyObject("add", "admin", "--admin", "--json")["key"] as? String)
    let reader = try #require(try await data.keyObject("add", "reader", "--json")["key"] as? String)
    let serve = try RunningCommand(["serve", "--data", data.directory, "--listen", "coaps://127.0.0.1:0", "--http", "0"])
    defer { serve.send(SIGKILL) }
    let coaps = try #require(try await serve.line(with: "listening on coaps://").split(separator: ":").last)
    let url = String(try await serve.line(with: "listening on http://").dropFirst("listening on ".count))
    try await body(Server(serve: serve, coaps: String(coaps), url: url, key: key, reader: reader))
  }

  @Test func `a device that is added over HTTP connects with its key, until it may no more`() async throws {
    try await withData { data in
      try await withServer(data) { (server) async throws in
        let added = try await server.devices("add", "sensor-1", "--project", "lab", "--json")
        #expect(added.code == 0, "\(added.error)")
        let device = try #require(try JSONSerialization.jsonObject(with: Data(added.output[0].utf8)) as? [String: Any])
        var key = try #require(device["key"] as? String)
        for (verb, undo) in [("disable", "enable"), ("rotate", nil), ("remove", nil)] {
          let simulate = try RunningCommand([
            "simulate", "--transport", "coaps", "--port", server.coaps, "--name", "sensor-1", "--identity", "sensor-1@lab",
            "--key", key,
          ])
          defer { simulate.send(SIGKILL) }
          _ = try await server.serve.line(with: "sensor-1 connected from")
          #expect(try await server.devices("list").output.last?.contains("psk sensor-1@lab") == true)
          let changed = try await server.devices([verb, "sensor-1"])
          #expect(changed.code == 0 && changed.error.isEmpty)
          _ = try await server.serve.line(with: "sensor-1 disconnected")
          simulate.send(SIGKILL)
          if let undo { #expect(try await server.devices(undo, "sensor-1").output == ["sensor-1 is enabled"]) }
          if let line = changed.output.first(where: { $0.hasPrefix("key  ") }) { key = String(line.dropFirst(10)) }
        }
        let again = "device-rpc devices add sensor-1 --server \(server.url)"
        #expect(try await server.devices("list").output == ["no devices; to add one: \(again)"])
      }
    }
  }

  @Test func `commands print the same for a server as for a directory, and end with the same code`() async throws {
    try await withCertificates { certificates in
      try await certificates.make("init")
      for name in ["pump", "valve"] { try await certificates.make("issue", "device", name) }
      let odd = "a/../b ä?%2F"
      let (pump, valve) = (certificates.path("pump.pem"), certificates.path("valve.pem"))
      try await withData { here in
        try await withData { there in
          try await withServer(there) { (server) async throws in
            for arguments in [
              ["add", "a", "--key", "supersecret"], ["add", "a", "--key", "supersecret"], ["add", "a", "--key", "other"],
              ["add", "b", "--identity", "b@lab", "--key", "k", "--json"],
              ["add", "-c", "--key", "k", "--coap-host", "coap.example.org"], ["add", "a", "--certificate", pump],
              ["add", "a", "--certificate", valve], ["add", "d", "--common-name", "d.lab", "--json"], ["rotate", "d", "--key", "k"],
              ["rotate", "a", "--certificate", valve], ["rotate", "a", "--certificate", pump],
              ["rotate", "a", "--key", "newsecret", "--project", "lab"], ["rotate", "b", "--key", "k", "--identity", "a@lab"],
              ["rotate", "b", "--key", "k", "--json"], ["rotate", "b", "--certificate", pump], ["disable", "b"], ["show", "a"],
              ["show", "b", "--json"], ["show", "nobody"], ["enable", "b"], ["enable", "nobody"], ["disable", "-c"],
              ["remove", "nobody"], ["rotate", "nobody", "--key", "k"], ["list"], ["list", "--json"],
              ["add", odd, "--key", "k", "--json"], ["show", odd], ["remove", odd], ["add", "..", "--key", "k", "--json"],
              ["remove", ".."], ["add", "", "--key", "k"], ["show", ""], ["add", " x", "--key", "k"],
              ["add", "x", "--identity", "b\u{200b}", "--key", "k"], ["remove", "-c"], ["list"], ["add", "x", "--key", ""],
              ["add", "x", "--coap-host", "a b"],
            ] {
              // A name that looks like an option stands behind `--`, after all options.
              let isOption = arguments.count > 1 && arguments[1] == "-c"
              let command = ["devices", arguments[0]] + arguments.dropFirst(isOption ? 2 : 1)
              let name = isOption ? ["--", "-c"] : []
              let local = try await run(command + ["--data", here.directory] + name)
              let remote = try await run(command + ["--server", server.url, "--api-key", server.key] + name)
              #expect(remote.code == local.code, "\(arguments) \(remote.error) \(local.error)")
              #expect(Self.general(remote.output, server.url) == Self.general(local.output, here.directory), "\(arguments)")
              #expect(Self.general(remote.error, server.url) == Self.general(local.error, here.directory), "\(arguments)")
              #expect(remote.error.count <= 1 || remote.code == 64)
            }
          }
        }
      }
    }
  }

  /// Without the times and the place.
  private static func general(_ lines: [String], _ place: String) -> [String] {
    lines.map { line in
      line.replacing("--data \(place)", with: "PLACE").replacing("--server \(place)", with: "PLACE").replacing(place, with: "PLACE")
        .replacing(/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}/, with: "TIME")
        // The device of an identity is not told over HTTP: it may be none of the key's.
        .replacing("is that of the device \"a\"", with: "is that of another device")
    }
  }

  @Test func `more devices than a page has are all listed`() async throws {
    try await withData { data in
      let store = try DeviceStore(directory: data.directory)
      let key = try #require(DeviceKey("k".utf8))
      for number in 0..<501 { try await store.add("d \(number)", identity: "d\(number)", proof: .preSharedKey(key)) }
      store.close()
      try await withServer(data) { (server) async throws in
        let (there, here) = (try await server.devices("list"), try await data.devices("list"))
        #expect(there.output.count == 502 && there.output == here.output)
      }
    }
  }

  @Test func `the lines of curl in the documentation do what they say`() async throws {
    try await withData { data in
      try await withServer(data) { (server) async throws in
        func curl(_ path: String, _ options: String...) async throws -> (status: String?, body: String) {
          let answer = try await run(
            program: "curl",
            ["-sS", "--path-as-is", "--max-time", "20", "-w", "\\n%{http_code}\\n", "-H", "x-api-key: \(server.key)"] + options
              + [server.url + path])
          return (answer.output.last, answer.output.first ?? "")
        }
        let place = "/v1/devices/sensor-1"
        let put = try await curl(place, "-X", "PUT")
        #expect(put.status == "201" && put.body.contains(#""registration":{"enabled":true,"created":""#))
        #expect(try await curl(place, "-X", "PUT").status == "200")
        let added = try await curl("\(place)/credentials", "--json", #"{"identity":"sensor-1@lab"}"#)
        let key = try #require(added.body.firstMatch(of: /"key":"([0-9a-f]{32})"}/)).1
        let rotated = try await curl("\(place)/rotate", "-X", "POST")
        #expect(added.status == "201" && rotated.status == "200" && rotated.body.contains(#""key":""#) && !rotated.body.contains(key))
        #expect(try await curl("\(place)/disable", "-X", "POST").body.contains(#""enabled":false"#))
        // Dots in a path are no way to another device.
        for path in ["/v1/devices/../devices/sensor-1", "/v1/devices/x/../sensor-1", "/v1/devices/sensor-1/.", "/v1//devices/sensor-1/x"] {
          #expect(try await curl(path, "-X", "DELETE").status == "404", "\(path)")
        }
        let deleted = try await curl(place, "-X", "DELETE")
        #expect(deleted.status == "204" && deleted.body.isEmpty)
        #expect(try await curl(place).status == "404")
      }
    }
  }

  @Test func `what a server refuses is one line, with exit code 1`() async throws {
    try await withData { data in
      try await withServer(data) { (server) async throws in
        #expect(try await server.devices("add", "a", "--key", "k").code == 0)
        let needs = "Error: this needs an API key of the server that may administer devices (device-rpc keys add NAME --admin)"
        for (verb, line) in [
          ("list", needs),
          ("show", needs),
          ("add", "Error: the key \"reader\" may not administer a"), ("remove", "Error: the key \"reader\" may not administer a"),
        ] {
          let arguments = ["devices", verb] + (verb == "list" ? [] : ["a"])
          let finished = try await run(arguments + ["--server", server.url, "--api-key", server.reader])
          #expect(finished.error == [line] && finished.output.isEmpty && finished.code == 1)
        }
        let nobody = try await run(["devices", "list", "--server", server.url])
        #expect(nobody.error == ["Error: the request has no API key"] && nobody.code == 1)
        server.serve.send(SIGINT)
        _ = await server.serve.exitCode()
        let gone = try await server.devices("list")
        #expect(gone.error.count == 1 && gone.error[0].contains("connection refused") && gone.code == 1)
      }
    }
    try await withCommand("serve", "--port", "0", "--http", "0") { serve in
      let url = String(try await serve.line(with: "listening on http://").dropFirst("listening on ".count))
      let refused = try await run(["devices", "add", "a", "--server", url])
      #expect(refused.error == ["Error: this server has no store of devices, so they cannot be managed"] && refused.code == 1)
    }
  }

  @Test func `the environment names a server where neither option does`() async throws {
    try await withData { data in
      try await withServer(data) { (server) async throws in
        func devices(_ options: String) async throws -> Finished {
          try await run(
            program: "env",
            ["DEVICE_RPC_SERVER=\(server.url)", "DEVICE_RPC_API_KEY=\(server.key)", RunningCommand.deviceRPC, "devices"]
              + options.split(separator: " ").map(String.init))
        }
        #expect(try await devices("add a --key k").output.first == "a added to \(server.url)")
        #expect(try await devices("remove b").error == ["Error: no device is named \"b\"; to see all: device-rpc devices list"])
        #expect(try await devices("list --data \(data.directory)/nowhere").error.first?.contains("no store of devices") == true)
      }
    }
  }

  @Test(arguments: [
    ["--server", "coap.example.org"], ["--server", ""], ["--api-key", "k"],
  ])
  func `what names no server is exit code 64`(_ options: [String]) async throws {
    let finished = try await run(["devices", "list"] + options)
    #expect(finished.code == 64 && finished.error.first?.hasPrefix("Error: ") == true)
  }
}
