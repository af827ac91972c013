import AsyncHTTPClient
import DeviceRPC
import Foundation
import Testing

/// Devices with access tokens on the command line: added, shown, connected, rotated.
@Suite(.timeLimit(.minutes(2))) struct AccessTokenTests {
  @Test func `a token is printed once, and kept as a digest`() async throws {
    try await withData { data in
      let added = try await data.devices("add", "pump", "--access-token")
      #expect(added.code == 0 && added.error.isEmpty)
      let token = try #require(added.output.first { $0.hasPrefix("token  ") }).dropFirst(7)
      #expect(AccessToken(String(token)) != nil && token.count == 20)
      #expect(added.output.contains("coap://127.0.0.1/api/v1/\(token)/rpc"))
      let shown = try await data.devices("show", "pump").output
      #expect(shown.last?.hasPrefix("access token  since ") == true && !shown.joined().contains(token))
      #expect(try await data.devices("list").output.last?.hasSuffix("  token") == true)
      let again = try await data.devices("add", "pump", "--access-token")
      #expect(
        again.error == [
          "Error: \"pump\" has an access token already; to replace it: device-rpc devices rotate pump --data \(data.directory) --access-token"
        ])
      let taken = try await data.devices("add", "lamp", "--token", String(token))
      #expect(taken.code == 1 && taken.error.count == 1)
    }
  }

  @Test func `a simulated device connects over CoAP with its token, until it is rotated`() async throws {
    try await withData { data in
      let added = try await data.object("add", "pump", "--token", "A1_TEST_TOKEN", "--json")
      #expect(added["token"] as? String == "A1_TEST_TOKEN" && added["key"] == nil)
      let serve = try RunningCommand([
        "serve", "--data", data.directory, "--listen", "coap://127.0.0.1:0", "--http", "0", "--thingsboard",
      ])
      defer { serve.send(SIGKILL) }
      let coap = try #require(try await serve.line(with: "listening on coap://").split(separator: ":").last)
      let url = String(try await serve.line(with: "listening on http://").dropFirst("listening on ".count))
      let simulate = try RunningCommand([
        "simulate", "--dialect", "thingsboard", "--port", String(coap), "--name", "p", "--access-token", "A1_TEST_TOKEN",
      ])
      defer { simulate.send(SIGKILL) }
      _ = try await serve.line(with: "pump connected from")
      try serve.type("pump multiply 7 191")
      _ = try await serve.line(with: "{\"value\":1337}")
      let rotated = try await data.devices("rotate", "pump", "--access-token")
      #expect(rotated.code == 0 && rotated.output.first == "pump has a new access token")
      _ = try await serve.line(with: "pump disconnected")
      let token = try #require(rotated.output.first { $0.hasPrefix("token  ") }).dropFirst(7)
      let poll = HTTPClientRequest(url: "\(url)/api/v1/\(token)/rpc?timeout=0")
      #expect(try await HTTPClient.shared.execute(poll, timeout: .seconds(60)).status == .requestTimeout)
    }
  }
}
