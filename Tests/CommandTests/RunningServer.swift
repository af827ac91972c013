import Foundation
import Testing

/// `serve --http` on free ports.
struct RunningServer {
  let serve: RunningCommand
  let url: String
  let coapPort: String

  /// `device-rpc call` to this server.
  func call(_ arguments: String...) async throws -> Finished { try await run(["call", "--server", url] + arguments) }
}

func withServer<Result>(_ options: String..., body: (RunningServer) async throws -> Result) async throws -> Result {
  let coap = options.contains("--data") ? ["--listen", "coap://127.0.0.1:0"] : ["--port", "0"]
  let serve = try RunningCommand(["serve"] + coap + (options.contains("--http") ? [] : ["--http", "0"]) + options)
  defer { serve.send(SIGKILL) }
  let place = try #require(try await serve.line(with: "listening on coap://").split(separator: ":").last)
  let url = String(try await serve.line(with: "listening on http://").dropFirst("listening on ".count))
  return try await body(RunningServer(serve: serve, url: url, coapPort: String(place)))
}

/// With the device `sensor-1`, and with more of them `sensor-2` and so on.
func withDevice<Result>(count: Int = 1, body: (RunningServer) async throws -> Result) async throws -> Result {
  try await withServer { server in
    let simulate = try RunningCommand(["simulate", "--port", server.coapPort, "--devices", "\(count)", "--quiet"])
    defer { simulate.send(SIGKILL) }
    // They connect in any order.
    for _ in 0..<count { _ = try await server.serve.line(with: " connected from") }
    return try await body(server)
  }
}
