import CoAP
import Glibc
import Synchronization
import Testing

@Suite struct EndpointTests {
  @Test("A request reaches the handler with path, query, formats and payload, and its answer comes back")
  func requestAndResponse() async throws {
    try await withEndpoint(answer: { request, _ in
      #expect(request.method == .post)
      #expect(request.path == "a/b%2Fc")
      #expect(request.queryValue("ep") == "sensor-1")
      #expect(request.accept == .cbor)
      var response = CoAPResponse(.changed, contentFormat: request.contentFormat, payload: request.payload.reversed())
      response.maxAge = 5
      return response
    }) { served in
      var request = CoAPClientRequest(.post, ["a", "b/c"], contentFormat: .json, payload: [1, 2, 3])
      request.query = ["x=1", "ep=sensor-1"]
      request.accept = .cbor
      let response = try await served.peer.request(request)
      #expect(response.code == .changed)
      #expect(response.contentFormat == .json)
      #expect(response.maxAge == 5)
      #expect(response.payload == [3, 2, 1])
    }
  }

  @Test("Each method is routed", arguments: [CoAPCode.get, .post, .put, .delete, .fetch, .patch, .iPatch])
  func methods(_ method: CoAPCode) async throws {
    try await withEndpoint(answer: { request, _ in
      CoAPResponse(.content, payload: [request.method.rawValue])
    }) { served in
      // Without a Content-Format libcoap refuses FETCH itself, from 4.3.2 on (RFC 8132 §2.3.1).
      let response = try await served.peer.request(
        CoAPClientRequest(method, ["x"], contentFormat: method == .fetch ? .json : nil))
      #expect(response.payload == [method.rawValue])
    }
  }

  @Test("The endpoint serves IPv6")
  func ipv6() async throws {
    try await withEndpoint(host: "::1", answer: { _, session in
      CoAPResponse(.content, payload: Array(session.address.host.utf8))
    }) { served in
      let response = try await served.peer.request(CoAPClientRequest(.get, []))
      #expect(String(decoding: response.payload, as: UTF8.self) == "::1")
    }
  }

  @Test("Notifications arrive in order and are acknowledged one by one")
  func notifications() async throws {
    try await withEndpoint { served in
      let (stream, continuation) = AsyncStream.makeStream(of: CoAPResponse.self)
      let (first, _) = try await served.peer.observe(CoAPClientRequest(.get, ["counter"])) {
        continuation.yield($0)
      }
      #expect(first.observe == 2)
      var iterator = stream.makeAsyncIterator()
      for number in UInt32(1)...5 {
        await served.loop.perform {
          #expect(throws: Never.self) {
            try served.handler.observations[0].notify(
              CoAPResponse(.content, payload: Array("\(number)".utf8)), number: number)
          }
        }
        let notification = try #require(await iterator.next())
        #expect(String(decoding: notification.payload, as: UTF8.self) == "\(number)")
        #expect(notification.observe == 2 + number)
      }
      await served.handler.noted("ack 5")
      #expect(served.handler.log.withLock { $0 } == (1...5).map { "ack \($0)" })
    }
  }

  @Test("A notification of 256 KiB is fetched in blocks; that it has arrived whole nobody says")
  func largeNotification() async throws {
    try await withEndpoint { served in
      let (stream, continuation) = AsyncStream.makeStream(of: CoAPResponse.self)
      _ = try await served.peer.observe(CoAPClientRequest(.get, ["counter"])) { continuation.yield($0) }
      let body = (0..<256 * 1_024).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      await served.loop.perform {
        #expect(throws: Never.self) {
          try served.handler.observations[0].notify(CoAPResponse(.content, payload: body), number: 9)
        }
      }
      var iterator = stream.makeAsyncIterator()
      let notification = try #require(await iterator.next())
      #expect(notification.payload == body)
      await served.handler.noted("settled 9")
      #expect(served.handler.log.withLock { $0 } == ["settled 9"])
    }
  }

  @Test("A request body of 256 KiB arrives in blocks and is handled once")
  func largeRequest() async throws {
    let body = (0..<256 * 1_024).map { UInt8(truncatingIfNeeded: $0 &* 17) }
    try await withEndpoint(answer: { request, _ in
      CoAPResponse(request.payload == body ? .changed : .badRequest)
    }) { served in
      let response = try await served.peer.request(CoAPClientRequest(.post, ["x"], payload: body))
      #expect(response.code == .changed)
    }
  }

  @Test("A body beyond the limit gets 4.13 with the limit, and the session goes on")
  func tooLarge() async throws {
    var limits = CoAPLimits()
    limits.bodyBytes = 4_096
    try await withEndpoint(limits: limits, answer: { _, _ in CoAPResponse(.changed) }) { served in
      let request = CoAPClientRequest(.post, ["x"], payload: [UInt8](repeating: 7, count: 5_000))
      let response = try await served.peer.request(request)
      #expect(response.code == .requestEntityTooLarge)
      #expect(response.size == 4_096)
      #expect(try await served.peer.request(CoAPClientRequest(.post, ["x"])).code == .changed)
    }
  }

  @Test("Observe 1 ends an observation")
  func deregistration() async throws {
    try await withEndpoint(answer: { _, _ in CoAPResponse(.content) }) { served in
      let request = CoAPClientRequest(.get, ["counter"])
      let (_, token) = try await served.peer.observe(request) { _ in }
      let response = try await served.peer.stopObserving(request, token: token)
      #expect(response.code == .content && response.observe == nil)
      #expect(served.handler.log.withLock { $0 } == ["ended: deregistered"])
    }
  }

  @Test("A Reset ends an observation and says so")
  func reset() async throws {
    try await withEndpoint(answer: { _, _ in CoAPResponse(.content) }) { served in
      let (_, token) = try await served.peer.observe(CoAPClientRequest(.get, ["counter"])) { _ in }
      await served.peer.forgetObservation(token: token)
      await served.loop.perform {
        #expect(throws: Never.self) {
          try served.handler.observations[0].notify(CoAPResponse(.content), number: 1)
        }
      }
      _ = try await served.peer.request(CoAPClientRequest(.get, ["x"]))
      #expect(
        served.handler.log.withLock { $0 }
          == ["ended: failed(rejected with a Reset)", "failed 1: rejected with a Reset"])
    }
  }

  @Test("An address in use is refused with a clear error")
  func addressInUse() async throws {
    try await withEndpoint { served in
      let error = await #expect(throws: CoAPSystemError.self) {
        _ = try await CoAPEndpoint(
          CoAPEndpoint.Configuration(addresses: [served.address]), loops: [served.loop],
          handlers: [served.handler])
      }
      #expect(error?.isAddressInUse == true)
      #expect(error?.description.contains("cannot listen on \(served.address)") == true)
    }
  }

  @Test("Child processes do not inherit the endpoint's sockets")
  func closeOnExec() async throws {
    try await withEndpoint { served in
      var count = 0
      for descriptor in Int32(0)..<4_096 {
        var name = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutableBytes(of: &name) {
          getsockname(descriptor, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, &size)
        }
        guard code == 0, name.sin_family == AF_INET, name.sin_port == served.address.port.bigEndian else { continue }
        count += 1
        #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0)
      }
      #expect(count >= 4)
    }
  }

  @Test("Closing ends observations and may be done twice")
  func closing() async throws {
    try await withEndpoint { served in
      _ = try await served.peer.observe(CoAPClientRequest(.get, ["counter"])) { _ in }
      await served.endpoint.close()
      await served.endpoint.close()
      #expect(served.handler.log.withLock { $0 } == ["ended: closed", "session ended"])
    }
  }

  @Test("Nothing of a client or a session is left when all is closed")
  func memory() async throws {
    weak var client: CoAPClient?
    weak var peer: CoAPPeer?
    weak var session: CoAPSession?
    let seen = Mutex<CoAPSession?>(nil)
    try await withEndpoint(answer: { _, session in
      seen.withLock { $0 = session }
      return CoAPResponse(.content)
    }) { served in
      _ = try await served.peer.observe(CoAPClientRequest(.get, ["counter"])) { _ in }
      _ = try await served.peer.request(CoAPClientRequest(.get, ["x"]))
      client = served.client
      peer = served.peer
      session = seen.withLock { $0 }
      #expect(session != nil)
    }
    seen.withLock { $0 = nil }
    #expect(client == nil && peer == nil && session == nil)
  }
}
