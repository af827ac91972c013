import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Who a sender is, from what it has proved and says at this moment, on every path.
@Suite struct IdentityWireTests {
  /// Credentials that change without a word: what a server does when it is told comes a moment later.
  private struct Untold: DeviceCredentials {
    let credentials: InMemoryCredentials
    func credential(_ kind: DeviceCredential.Kind, identity: String) -> DeviceCredential? {
      credentials.credential(kind, identity: identity)
    }
    func knows(device: String) -> Bool { credentials.knows(device: device) }
    func changes() -> AsyncStream<Void> { AsyncStream { _ in } }
  }

  /// A server with plain CoAP and DTLS, and the credentials that it looks at.
  private func withServers(
    tellsChanges: Bool = true,
    _ body: (DeviceRPCServer, InMemoryCredentials, _ plain: CoAPAddress, _ secure: CoAPAddress) async throws -> Void
  ) async throws {
    let credentials = InMemoryCredentials([])
    var configuration = CoAPConfiguration.forTests
    configuration.listeners = [.init(.udp, port: 0), .init(.dtls, port: 0)]
    configuration.security = DeviceSecurity(
      credentials: tellsChanges ? credentials : Untold(credentials: credentials) as any DeviceCredentials)
    try await withServer(configuration) { server, plain in
      let port = try #require(server.addresses.last?.split(separator: ":").last.flatMap { UInt16($0) })
      try await body(server, credentials, plain, try #require(CoAPAddress(host: "127.0.0.1", port: port)))
    }
  }

  private func credential(_ device: String) throws -> DeviceCredential {
    DeviceCredential(
      device: device, identity: device, proof: .preSharedKey(try #require(DeviceKey("secret".utf8))))
  }

  /// `vic`, which proves itself with its key and observes, while `body` runs.
  private func withProvedDevice(
    _ secure: CoAPAddress, _ body: (CoAPPeer) async throws -> Void
  ) async throws {
    let loop = try EventLoop(name: "client")
    let client = try await CoAPClient(loop: loop)
    do {
      let peer = try await client.connect(
        to: secure, over: .coaps, with: .preSharedKey(identity: "vic", key: Array("secret".utf8)))
      let (answer, _) = try await peer.observe(CoAPClientRequest(.get, [".rpc"])) { _ in }
      #expect(answer.code == .content)
      try await body(peer)
    } catch {
      await client.close()
      await loop.stop()
      throw error
    }
    await client.close()
    await loop.stop()
  }

  @Test("A plain peer that once observed by a name says nothing for the device that proves it by now", arguments: [true, false])
  func formerObserver(_ saysItsName: Bool) async throws {
    try await withServers { server, credentials, plain, secure in
      let stranger = try RawDevice(to: plain, name: "vic")
      try await stranger.observe()
      #expect(try await stranger.exchange(stranger.get(observe: 1)).code == .content)
      credentials.set(try credential("vic"))
      try await withProvedDevice(secure) { peer in
        let events = server.events()
        async let result = server.device("vic").call("f", timeout: .seconds(10))
        await server.entered(1, for: "vic")
        func post(_ json: String) -> Packet {
          var packet = stranger.result(Array(json.utf8))
          if saysItsName { packet.options.append((15, Array("ep=vic".utf8))) }
          return packet
        }
        // Ids can be tried.
        let forged = post(#"{"id":"f/74e4","status":0,"detail":"forged"}"#)
        #expect(try await stranger.exchange(forged).code == .forbidden)
        let garbled = post(#"{"id":"f/74e4","status":0,"detail":"#)
        #expect(try await stranger.exchange(garbled).code == .badRequest)
        // Nor does it take the device's calls, or its place.
        #expect(try await stranger.exchange(stranger.get(observe: nil)).code == .forbidden)
        #expect(try await stranger.exchange(stranger.get(observe: 0)).code == .forbidden)
        var request = CoAPClientRequest(.post, [".rpc", "status"])
        request.contentFormat = .json
        request.payload = Array(#"{"id":"f/74e4","status":0,"detail":"real"}"#.utf8)
        #expect(try await peer.request(request).code == .changed)
        let detail = try await result.detail
        #expect(detail == "real")
        for await event in events {
          if case .unreadableResult(let id, let device, _) = event { #expect(id == nil && device == nil) }
          if case .callEnded = event { break }
        }
      }
    }
  }

  @Test("A plain observer is refused from the moment at which its name has credentials")
  func reservedMeanwhile() async throws {
    try await withServers(tellsChanges: false) { server, credentials, plain, _ in
      let device = try RawDevice(to: plain, name: "vic")
      try await device.observe()
      async let outcome = failure { try await server.device("vic").call("f", timeout: .seconds(2)) }
      let call = try await device.receiveCall()
      credentials.set(try credential("vic"))
      #expect(try await device.exchange(device.result(Array(#"{"id":"\#(call.id)","status":0}"#.utf8))).code == .forbidden)
      let error = try #require(await outcome)
      #expect(error.delivery == .delivered, "\(error)")
    }
  }

  @Test("A device whose session says another name in ep is refused on every path")
  func otherName() async throws {
    try await withServers { server, credentials, _, secure in
      credentials.set(try credential("vic"))
      try await withProvedDevice(secure) { peer in
        for (method, path) in [(CoAPCode.get, [".rpc"]), (.post, [".rpc", "status"])] {
          var request = CoAPClientRequest(method, path)
          request.query = ["ep=other"]
          if method == .post {
            request.contentFormat = .json
            request.payload = Array(#"{"id":"f/74e4","status":0}"#.utf8)
          }
          let code = try await peer.request(request).code
          #expect(code == .forbidden)
        }
      }
    }
  }

  @Test("Behind a gateway a result counts for the device that still observes when another one has deregistered")
  func gateway() async throws {
    try await withServer { server, address in
      let gateway = try RawDevice(to: address, name: "gw-A", token: [1])
      try await gateway.observe()
      func other(_ observe: Int) -> Packet {
        var packet = gateway.get(observe: observe, token: [2])
        packet.options = Packet.path(".rpc") + [(15, Array("ep=gw-B".utf8)), (17, [50]), (6, Packet.uint(observe))]
        return packet
      }
      #expect(try await gateway.exchange(other(0)).code == .content)
      #expect(try await gateway.exchange(other(1)).code == .content)
      async let result = server.device("gw-A").call("f").detail
      let call = try await gateway.receiveCall()
      #expect(try await gateway.post(#"{"id":"\#(call.id)","status":0,"detail":1}"#).code == .changed)
      #expect(try await result == .integer(1))
    }
  }
}
