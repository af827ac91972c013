import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Access tokens: whose they are, what a wrong one gets, and what happens when one is revoked.
@Suite struct ThingsBoardTokenTests {
  private let token = AccessToken("A1_TEST_TOKEN")!
  private let other = AccessToken("B2")!

  private var credentials: InMemoryCredentials {
    InMemoryCredentials([DeviceCredential(device: "pump-7", token: token), DeviceCredential(device: "lamp", token: other)])
  }

  @Test("A token is that of a device, whose name nobody can use without it")
  func known() async throws {
    try await withServer(.thingsBoard(credentials)) { server, address in
      let device = try ThingsBoardDevice(to: address, token.text)
      try await device.observe()
      async let result = server.device("pump-7").call("get")
      #expect(try await device.reply("1", to: try await device.receiveCall()).code == .created)
      #expect(try await result.detail == 1)
      let impostor = try RawDevice(to: address, name: "pump-7")
      #expect(try await impostor.request(impostor.get(observe: 0)).code == .forbidden)
    }
  }

  @Test("A device cannot answer the call of another one")
  func foreign() async throws {
    try await withServer(.thingsBoard(credentials)) { server, address in
      let device = try ThingsBoardDevice(to: address, token.text)
      let stranger = try ThingsBoardDevice(to: address, other.text)
      try await device.observe()
      async let result = server.device("pump-7").call("get")
      let call = try await device.receiveCall()
      let refused = try await stranger.reply("666", to: call)
      #expect(refused.code == .forbidden && refused.text == "this call was made to another device")
      #expect(try await device.reply("1", to: call).code == .created)
      #expect(try await result.detail == 1)
    }
  }

  @Test("A wrong token gets 4.01, and after ten of them 4.29; a device that is connected goes on")
  func wrong() async throws {
    try await withServer(.thingsBoard(credentials)) { server, address in
      let device = try ThingsBoardDevice(to: address, token.text)
      try await device.observe()
      let wrong = try ThingsBoardDevice(to: address, "nope")
      for _ in 0..<AccessTokens.burst {
        let refused = try await wrong.request(wrong.get(observe: 0))
        #expect(refused.code == .unauthorized && refused.text == "the access token is that of no device")
      }
      let slowed = try await wrong.request(wrong.get(observe: 0))
      #expect(slowed.code == .tooManyRequests && slowed.uint(14) == 1)
      async let result = server.device("pump-7").call("get")
      #expect(try await device.reply("1", to: try await device.receiveCall()).code == .created)
      #expect(try await result.detail == 1)
      // From elsewhere nothing is slowed.
      let elsewhere = try ThingsBoardDevice(to: address, other.text, from: "127.0.0.2")
      try await elsewhere.observe()
    }
  }

  @Test("A device whose token is revoked, or is disabled, loses its observation and its calls")
  func revoked() async throws {
    let credentials = credentials
    try await withServer(.thingsBoard(credentials)) { server, address in
      let device = try ThingsBoardDevice(to: address, token.text)
      try await device.observe()
      async let failed = failure { try await server.device("pump-7").call("get") }
      let call = try await device.receiveCall()
      credentials.remove(.accessToken, identity: token.digest)
      let error = await failed
      #expect(error == .revoked(device: "pump-7", reason: "its access token was removed", delivery: .delivered))
      // The last notification, which comes again with the next request: the device may have been away.
      let ends = [try await device.peer.receiveMessage(), try await device.reply("1", to: call), try await device.peer.receiveMessage()]
      #expect(ends.map(\.code) == [.unauthorized, .unauthorized, .unauthorized])
      #expect(ends.map { $0.token == [1] } == [true, false, true])
      credentials.set(DeviceCredential(device: "pump-7", token: token, isEnabled: false))
      let refused = try await device.request(device.get(observe: 0))
      #expect(refused.code == .unauthorized && refused.text == "the device is disabled")
    }
  }

  @Test("Of two devices at one address, only the one whose token is revoked loses its observation")
  func gateway() async throws {
    let credentials = credentials
    try await withServer(.thingsBoard(credentials)) { server, address in
      let gateway = try ThingsBoardDevice(to: address, token.text)
      try await gateway.observe()
      var lamp = gateway.get(observe: 0, token: [2])
      lamp.options = [(6, [])] + Packet.path("api", "v1", other.text, "rpc")
      #expect(try await gateway.request(lamp).code == .valid)
      credentials.remove(.accessToken, identity: token.digest)
      let end = try await gateway.peer.receiveMessage()
      #expect(end.code == .unauthorized && end.token == [1] && end.text == "its access token was removed")
      async let result = server.device("lamp").call("get")
      let call = try await gateway.peer.receiveMessage()
      #expect(call.token == [2] && call.code == .content)
      gateway.peer.send(call.acknowledgement)
      var reply = gateway.post("1")
      reply.options = Packet.path("api", "v1", other.text, "rpc", call.number)
      gateway.peer.send(reply.bytes)
      #expect(try await result.detail == 1)
    }
  }

  @Test("A change of other credentials leaves the device alone")
  func otherChange() async throws {
    let credentials = credentials
    try await withServer(.thingsBoard(credentials)) { server, address in
      let device = try ThingsBoardDevice(to: address, token.text)
      try await device.observe()
      let lamp = try ThingsBoardDevice(to: address, other.text)
      try await lamp.observe()
      async let failed = failure { try await server.device("lamp").call("get") }
      _ = try await lamp.receiveCall()
      credentials.remove(.accessToken, identity: other.digest)
      // The change has been handled when this call has ended.
      _ = await failed
      async let result = server.device("pump-7").call("get")
      #expect(try await device.reply("1", to: try await device.receiveCall()).code == .created)
      #expect(try await result.detail == 1)
    }
  }

  @Test("Over DTLS a device needs no token, and cannot use another one's")
  func secure() async throws {
    let credentials = credentials
    credentials.set(DeviceCredential(device: "vic", identity: "vic", proof: .preSharedKey(DeviceKey("secret".utf8)!)))
    var configuration = CoAPConfiguration.thingsBoard(credentials)
    configuration.listeners = [.init(.udp, port: 0), .init(.dtls, port: 0)]
    try await withServer(configuration) { server, _ in
      let port = try #require(server.addresses.last?.split(separator: ":").last.flatMap { UInt16($0) })
      let loop = try EventLoop(name: "client")
      let client = try await CoAPClient(loop: loop)
      do {
        let peer = try await client.connect(
          to: try #require(CoAPAddress(host: "127.0.0.1", port: port)), over: .coaps,
          with: .preSharedKey(identity: "vic", key: Array("secret".utf8)))
        let (calls, continuation) = AsyncStream<CoAPResponse>.makeStream()
        let (answer, _) = try await peer.observe(CoAPClientRequest(.get, ["api", "v1", "rpc"])) { continuation.yield($0) }
        #expect(answer.code == .valid && answer.observe == 0)
        async let result = server.device("vic").call("get")
        let call = try #require(await calls.first { _ in true })
        let id = String(String(decoding: call.payload, as: UTF8.self).drop { $0 != ":" }.dropFirst().prefix { $0 != "," })
        let reply = try await peer.request(CoAPClientRequest(.post, ["api", "v1", "rpc", id], payload: Array("1".utf8)))
        #expect(reply.code == .created)
        #expect(try await result.detail == 1)
        let foreign = try await peer.request(CoAPClientRequest(.post, ["api", "v1", token.text, "rpc", id], payload: Array("1".utf8)))
        #expect(foreign.code == .unauthorized)
      } catch {
        await client.close()
        await loop.stop()
        throw error
      }
      await client.close()
      await loop.stop()
    }
  }
}
