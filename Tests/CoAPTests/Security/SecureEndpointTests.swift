import CoAP
import Synchronization
import Testing

/// Knows the keys of `sensor-1` and `sensor-2`, and keeps what it is told.
final class TestAuthority: CoAPAuthority {
  static let keys = ["sensor-1": Array("first-key".utf8), "sensor-2": Array("second-key".utf8)]
  let failures = AsyncStream.makeStream(of: String.self)
  let asked = Mutex<[String]>([])

  func preSharedKey(of identity: String, from peer: CoAPAddress) -> (key: [UInt8], principal: any Sendable)? {
    asked.withLock { $0.append(identity) }
    return Self.keys[identity].map { ($0, identity) }
  }

  func principal(of identity: CoAPIdentity, from peer: CoAPAddress) -> (any Sendable)? { identity }

  func handshakeFailed(from peer: CoAPAddress, identity: String?, reason: String) {
    failures.continuation.yield("\(identity ?? "nobody"): \(reason)")
  }
}

@Suite struct SecureEndpointTests {
  struct Secured {
    let endpoint: CoAPEndpoint
    let loop: EventLoop
    let client: CoAPClient
    let handler: TestHandler
    let authority: TestAuthority

    func address(_ scheme: CoAPScheme) -> CoAPAddress? {
      endpoint.listeners.first { $0.scheme == scheme }?.address
    }

    func connect(
      _ scheme: CoAPScheme = .coaps, as identity: String = "sensor-1", key: [UInt8]? = nil
    ) async throws -> CoAPPeer {
      let key = key ?? TestAuthority.keys[identity] ?? []
      return try await client.connect(
        to: try #require(address(scheme)), over: scheme,
        with: scheme.isSecure ? .preSharedKey(identity: identity, key: key) : nil)
    }
  }

  func withSecured<Result>(
    transmission: CoAPTransmission = CoAPTransmission(), shards: Int = 2, cipherSuites: [String]? = nil,
    certificate: CoAPCertificate? = nil,
    answer: @escaping (CoAPRequest, CoAPSession) -> CoAPResponse? = { _, session in
      CoAPResponse(.content, payload: Array("\(session.scheme) \(session.secured?.identity.name ?? "-")".utf8))
    },
    _ body: (Secured) async throws -> Result
  ) async throws -> Result {
    let handler = TestHandler(answer)
    let authority = TestAuthority()
    let host = try #require(CoAPAddress(host: "127.0.0.1", port: 0))
    var configuration = CoAPEndpoint.Configuration(
      listeners: CoAPScheme.allCases.map { CoAPListener($0, host) }, shardsPerLoop: 2)
    configuration.secureShardsPerLoop = shards
    configuration.security = CoAPSecurity(
      authority: authority, certificate: certificate, cipherSuites: cipherSuites)
    configuration.transmission = transmission
    return try await withEndpoint(configuration, handler) { endpoint, loop, client in
      try await body(Secured(endpoint: endpoint, loop: loop, client: client, handler: handler, authority: authority))
    }
  }

  @Test(arguments: CoAPScheme.allCases)
  func `a request is answered over each transport, and who asks is known where it is proved`(
    scheme: CoAPScheme
  ) async throws {
    try await withSecured { secured in
      let peer = try await secured.connect(scheme)
      let response = try await peer.request(CoAPClientRequest(.get, ["who"]))
      #expect(String(decoding: response.payload, as: UTF8.self) == "\(scheme) \(scheme.isSecure ? "sensor-1" : "-")")
    }
  }

  @Test(arguments: CoAPScheme.allCases)
  func `notifications arrive over each transport, and their arrival is known`(scheme: CoAPScheme) async throws {
    try await withSecured { secured in
      let peer = try await secured.connect(scheme)
      let arrived = AsyncStream.makeStream(of: String.self)
      _ = try await peer.observe(CoAPClientRequest(.get, ["counter"])) {
        arrived.continuation.yield(String(decoding: $0.payload, as: UTF8.self))
      }
      for number in UInt32(1)...3 {
        try await secured.loop.perform { () -> Swift.Result<Void, any Error> in
          Swift.Result {
            let observation = try #require(secured.handler.observations.first)
            try observation.notify(CoAPResponse(.content, payload: Array("\(number)".utf8)), number: number)
          }
        }.get()
        var iterator = arrived.stream.makeAsyncIterator()
        #expect(await iterator.next() == "\(number)")
      }
      for number in 1...3 { await secured.handler.noted("ack \(number)") }
    }
  }

  @Test func `over DTLS an arrival is known though somebody else acknowledges nothing`() async throws {
    try await withSecured(shards: 1) { secured in
      try await withRelay(to: try #require(secured.address(.coaps))) { relay in
        let silent = try await secured.client.connect(
          to: relay.address, over: .coaps, with: .preSharedKey(identity: "sensor-2", key: Array("second-key".utf8)))
        _ = try await silent.observe(CoAPClientRequest(.get, ["counter"])) { _ in }
        relay.cut()
        let peer = try await secured.connect()
        _ = try await peer.observe(CoAPClientRequest(.get, ["counter"])) { _ in }
        try await secured.loop.perform { () -> Swift.Result<Void, any Error> in
          Swift.Result {
            for (number, observation) in secured.handler.observations.enumerated() {
              try observation.notify(CoAPResponse(.content), number: UInt32(number))
            }
          }
        }.get()
        await secured.handler.noted("ack 1")
        let log = secured.handler.log.withLock { $0 }
        #expect(!log.contains("ack 0"))
      }
    }
  }

  @Test(arguments: [CoAPScheme.coaps, .coapsTCP])
  func `an unknown identity and a wrong key are refused`(scheme: CoAPScheme) async throws {
    try await withSecured { secured in
      let stranger = try await secured.connect(scheme, as: "stranger", key: [1])
      await #expect(throws: CoAPFailure.self) { try await stranger.request(CoAPClientRequest(.get, ["who"])) }
      #expect(secured.authority.asked.withLock { $0 }.contains("stranger"))

      let forger = try await secured.connect(scheme, as: "sensor-2", key: Array("first-key".utf8))
      let request = Task { try await forger.request(CoAPClientRequest(.get, ["who"])) }
      var failures = secured.authority.failures.stream.makeAsyncIterator()
      let told = try #require(await failures.next())
      #expect(told == "sensor-2: its key is not the one of this identity")
      await forger.close()
      await #expect(throws: CoAPFailure.self) { try await request.value }
      // Refused by the authority itself, which need not be told.
      #expect(!told.contains("stranger"))
    }
  }

  @Test func `a device that comes back from the same port with a new handshake is connected again`() async throws {
    try await withSecured { secured in
      try await withRelay(to: try #require(secured.address(.coaps))) { relay in
        for round in 1...4 {
          // Another client behind the same address, which knows nothing of the last one's keys.
          relay.mend()
          let client = try await CoAPClient(loop: secured.loop)
          let peer = try await client.connect(
            to: relay.address, over: .coaps,
            with: .preSharedKey(identity: "sensor-1", key: Array("first-key".utf8)))
          let (response, _) = try await peer.observe(CoAPClientRequest(.get, ["counter"])) { _ in }
          #expect(String(decoding: response.payload, as: UTF8.self) == "first")
          let count = await secured.loop.perform { secured.handler.observations.count }
          #expect(count == 1, "round \(round): the observation of the session before is over")
          // Without a close-notify.
          relay.cut()
          await client.close()
        }
      }
    }
  }

  @Test func `a forged hello from the address of a live device does not disturb it`() async throws {
    try await withSecured { secured in
      try await withRelay(to: try #require(secured.address(.coaps))) { relay in
        let peer = try await secured.client.connect(
          to: relay.address, over: .coaps,
          with: .preSharedKey(identity: "sensor-1", key: Array("first-key".utf8)))
        let arrived = AsyncStream.makeStream(of: String.self)
        _ = try await peer.observe(CoAPClientRequest(.get, ["counter"])) {
          arrived.continuation.yield(String(decoding: $0.payload, as: UTF8.self))
        }
        for _ in 0..<50 { relay.forge(Relay.clientHello) }
        let response = try await peer.request(CoAPClientRequest(.get, ["who"]))
        #expect(response.code == .content)
        try await secured.loop.perform { () -> Swift.Result<Void, any Error> in
          Swift.Result {
            try secured.handler.observations.first?.notify(
              CoAPResponse(.content, payload: Array("still here".utf8)), number: 1)
          }
        }.get()
        var iterator = arrived.stream.makeAsyncIterator()
        #expect(await iterator.next() == "still here")
        let log = secured.handler.log.withLock { $0 }
        #expect(!log.contains { $0.hasPrefix("ended") || $0 == "session ended" })
      }
    }
  }

  @Test func `records of a session that the server does not know keep nobody from a handshake`() async throws {
    try await withSecured { secured in
      try await withRelay(to: try #require(secured.address(.coaps))) { relay in
        for number in UInt8(0)..<50 {
          relay.forge([23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, number, 0, 32] + [UInt8](repeating: number, count: 32))
        }
        let peer = try await secured.client.connect(
          to: relay.address, over: .coaps,
          with: .preSharedKey(identity: "sensor-1", key: Array("first-key".utf8)))
        #expect(try await peer.request(CoAPClientRequest(.get, ["who"])).code == .content)
      }
    }
  }

  /// Messages of a handshake by which a server gets the keys.
  enum Message: UInt8, CaseIterable {
    case clientKeyExchange = 22
    case changeCipherSpec = 20

    func isIn(_ record: [UInt8]) -> Bool {
      record.count > 13 && record[0] == rawValue && record[3...4] == [0, 0] && (self == .changeCipherSpec || record[13] == 16)
    }
  }

  @Test(arguments: Message.allCases)
  func `a device with the right key is not told to have another one, whatever is lost`(message: Message) async throws {
    try await withSecured { secured in
      let lost = Mutex(0)
      let isLost = { @Sendable (record: [UInt8]) in
        message.isIn(record)
          && lost.withLock { lost in
            lost += 1
            return lost <= 2
          }
      }
      try await withRelay(to: try #require(secured.address(.coaps)), losing: isLost) { relay in
        // What is encrypted arrives three times, with the keys at the last.
        let peer = try await secured.client.connect(
          to: relay.address, over: .coaps,
          with: .preSharedKey(identity: "sensor-1", key: Array("first-key".utf8)))
        #expect(try await peer.request(CoAPClientRequest(.get, ["who"])).code == .content)
        #expect(lost.withLock { $0 } > 2)
      }
      secured.authority.failures.continuation.finish()
      let failures = await secured.authority.failures.stream.reduce(into: []) { $0.append($1) }
      #expect(failures == [])
    }
  }

  @Test(arguments: [
    "PSK-AES128-GCM-SHA256", "PSK-CHACHA20-POLY1305", "PSK-AES128-CCM", "PSK-AES128-CCM8", "PSK-AES128-CBC-SHA256",
    "PSK-AES256-CBC-SHA384", "PSK-AES128-CBC-SHA",
  ])
  func `forged records of no length end a session, whatever its cipher suite`(suite: String) async throws {
    try await withSecured(cipherSuites: [suite]) { secured in
      try await withRelay(to: try #require(secured.address(.coaps))) { relay in
        let peer = try KeyedPeer(to: relay.address, identity: "sensor-1", key: Array("first-key".utf8))
        try await peer.barrier()
        for length in UInt8(0)...100 {
          for type in UInt8(20)...23 {
            let head = [type, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 1, length, 0, length]
            relay.forge(head + [UInt8](repeating: length, count: Int(length)))
          }
        }
        try await peer.barrier()
        let log = secured.handler.log.withLock { $0 }
        #expect(!log.contains("session ended"))
      }
    }
  }

  private func withRelay<Result>(
    to server: CoAPAddress, losing isLost: (@Sendable ([UInt8]) -> Bool)? = nil,
    _ body: (Relay) async throws -> Result
  ) async throws -> Result {
    let relay = try Relay(to: server, losing: isLost)
    do {
      let result = try await body(relay)
      await relay.close()
      return result
    } catch {
      await relay.close()
      throw error
    }
  }
}
