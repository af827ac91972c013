import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Logging
import Testing

/// The commands of ThingsBoard's documentation for RPC over CoAP, typed with libcoap's `coap-client`.
@Suite(.timeLimit(.minutes(2))) struct ThingsBoardClientTests {
  private func withThingsBoard(_ body: (DeviceRPCServer, _ root: String) async throws -> Void) async throws {
    var configuration = CoAPConfiguration(listeners: [.init(port: 0)])
    configuration.shards = 4
    configuration.thingsBoard = ThingsBoardSettings()
    configuration.security = DeviceSecurity(
      credentials: InMemoryCredentials([DeviceCredential(device: "pump-7", token: try #require(AccessToken("A1_TEST_TOKEN")))]))
    var log = Logger(label: "test")
    log.logLevel = .critical
    let transport = try CoAPTransport(configuration, limits: .forTests, log: log)
    try await withServer(transport, log) { server in
      let port = String(try #require(server.addresses.first?.split(separator: ":").last))
      try await body(server, "coap://127.0.0.1:\(port)/api/v1/A1_TEST_TOKEN/rpc")
    }
  }

  /// The next line that is not empty: the first answer has no payload, and `-w` still ends it.
  private func line(_ client: ForeignProcess) async throws -> String {
    while true {
      let line = try await client.line()
      if !line.isEmpty { return line }
    }
  }

  @Test("A call is read from one coap-client and answered with another", arguments: [[], ["-N"]])
  func serverSide(_ options: [String]) async throws {
    try await withThingsBoard { server, root in
      var events = server.events().makeAsyncIterator()
      try await CoAPClient.attempting(at: root, ["-m", "get"] + options) { client in
        while let event = await events.next() { if case .online = event { break } }
        async let result = server.perform(Call("connect", params: .null), on: "pump-7")
        #expect(try await line(client) == #"{"id":29924,"method":"connect","params":null}"#)
        let answer = try await CoAPClient.request(at: "\(root)/29924", ["-m", "post", "-t", "json", "-e", #"{"connected":true}"#])
        #expect(answer == .init())
        #expect(try await result.detail == ["connected": true])
        async let second = server.perform(Call("setGpio", params: ["pin": "26", "value": 1]), on: "pump-7")
        #expect(try await line(client) == #"{"id":29925,"method":"setGpio","params":{"pin":"26","value":1}}"#)
        _ = try await CoAPClient.request(at: "\(root)/29925", ["-m", "post", "-e", "{}"])
        #expect(try await second.detail == [:])
      }
    }
  }

  @Test("A call to the server is answered, or refused with what is wrong")
  func clientSide() async throws {
    try await withThingsBoard { server, root in
      server.handle("getTime") { _ in 1_790_000_000 }
      let asked = try await CoAPClient.request(at: root, ["-m", "post", "-t", "json", "-e", #"{"method":"getTime","params":{}}"#])
      #expect(asked.output == "1790000000\n" || asked.output == "1790000000", "\(asked)")
      let refused = try await CoAPClient.request(at: root, ["-m", "post", "-e", #"{"method":"none"}"#])
      #expect(refused.error.contains(#"4.04 this server has no function "none""#), "\(refused)")
      let wrong = try await CoAPClient.request(at: root.replacing("A1_TEST", with: "A2_TEST"), ["-m", "post", "-e", "{}"])
      #expect(wrong.error.contains("4.01 the access token is that of no device"), "\(wrong)")
    }
  }
}
