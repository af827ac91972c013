import CoAP
import DeviceRPC
import DeviceRPCCoAP
import DeviceSimulator
import Testing

@Suite struct SecureTests {
  private static let keys = ["sensor-1": "first-key", "sensor-2": "second-key"]

  /// The device of a test: without a proof nobody may bear the name of one that has credentials.
  private static func device(over transport: CoAPConfiguration.Transport) -> String {
    transport.isSecure ? "sensor-1" : "lamp"
  }

  private static func credential(_ device: String, key: String? = nil, isEnabled: Bool = true) throws -> DeviceCredential {
    let key = try #require(DeviceKey((key ?? keys[device] ?? "").utf8))
    return DeviceCredential(
      device: device, identity: "\(device)@lab", proof: .preSharedKey(key), isEnabled: isEnabled)
  }

  /// Where a server listens.
  private struct Addresses {
    let server: DeviceRPCServer

    func callAsFunction(_ transport: CoAPConfiguration.Transport) throws -> CoAPAddress {
      let prefix = "\(transport.rawValue)://127.0.0.1:"
      let address = try #require(server.addresses.first { $0.hasPrefix(prefix) })
      return try #require(CoAPAddress(host: "127.0.0.1", port: UInt16(address.dropFirst(prefix.count)) ?? 0))
    }
  }

  private static func withSecureServer<Result>(
    _ body: (DeviceRPCServer, InMemoryCredentials, Addresses) async throws -> Result
  ) async throws -> Result {
    let credentials = InMemoryCredentials(try keys.keys.map { try credential($0) })
    return try await withSecureServer(credentials) { try await body($0, credentials, $1) }
  }

  private static func withSecureServer<Result>(
    _ credentials: any DeviceCredentials, _ body: (DeviceRPCServer, Addresses) async throws -> Result
  ) async throws -> Result {
    var configuration = CoAPConfiguration.forTests
    configuration.listeners = CoAPConfiguration.Transport.allCases.map { .init($0, port: 0) }
    configuration.security = DeviceSecurity(credentials: credentials)
    return try await withServer(configuration) { server, _ in try await body(server, Addresses(server: server)) }
  }

  /// A device that runs until `body` is done.
  private static func withDevice<Result: Sendable>(
    _ name: String, _ transport: SimulatedTransport, at address: CoAPAddress,
    onEvent: (@Sendable (SimulatedEvent) -> Void)? = nil, _ body: () async throws -> Result
  ) async throws -> Result {
    var device = SimulatedDevice(name: name, port: address.port)
    device.transport = transport
    if transport == .coaps || transport == .coapsTCP {
      device.credentials = .preSharedKey(identity: "\(name)@lab", key: keys[name] ?? "")
    }
    device.onEvent = onEvent
    device.reconnectDelay = .milliseconds(50) ... .milliseconds(200)
    return try await withThrowingTaskGroup(of: Void.self) { [device] group in
      group.addTask { try await device.run() }
      defer { group.cancelAll() }
      return try await body()
    }
  }

  @Test(arguments: [("/nowhere/a.pem", "No such file or directory"), ("/", "Is a directory")])
  func `a file that cannot be read is told with the system's reason`(path: String, reason: String) {
    var configuration = CoAPConfiguration.forTests
    let certificate = ServerCertificate(certificate: path, key: path, trusted: path)
    configuration.security = DeviceSecurity(credentials: InMemoryCredentials([]), certificate: certificate)
    #expect(throws: CoAPConfigurationError.unusableCertificate("\(path) cannot be read: \(reason)")) {
      try DeviceRPCServer(coap: configuration)
    }
  }

  @Test(arguments: CoAPConfiguration.Transport.allCases)
  func `a call is answered over each transport`(transport: CoAPConfiguration.Transport) async throws {
    try await Self.withSecureServer { server, _, address in
      let simulated = try #require(SimulatedTransport(rawValue: transport.rawValue))
      try await Self.withDevice(Self.device(over: transport), simulated, at: address(transport)) {
        let result = try await server.device(Self.device(over: transport)).call("multiply", 7, 191, wait: .seconds(20))
        #expect(result.detail?["value"]?.doubleValue == 1337)
        let several = try await withThrowingTaskGroup(of: Double?.self) { group in
          for number in 1...20 {
            group.addTask {
              try await server.device(Self.device(over: transport)).call("multiply", number, 2).detail?["value"]?.doubleValue
            }
          }
          return try await group.reduce(into: 0) { $0 += $1 ?? 0 }
        }
        #expect(several == 420)
      }
    }
  }

  @Test(arguments: CoAPConfiguration.Transport.allCases)
  func `that a call has arrived is known over each transport`(transport: CoAPConfiguration.Transport) async throws {
    try await Self.withSecureServer { server, _, address in
      let simulated = try #require(SimulatedTransport(rawValue: transport.rawValue))
      try await Self.withDevice(Self.device(over: transport), simulated, at: address(transport)) {
        let device = server.device(Self.device(over: transport))
        // It never answers.
        try await device.callOneWay("sleep", 3_600, wait: .seconds(20))
        let error = await failure { try await device.call("sleep", 3_600, timeout: .seconds(2)) }
        #expect(error == .unanswered(device: Self.device(over: transport), after: .seconds(2)))
      }
    }
  }

  @Test(arguments: CoAPConfiguration.Transport.allCases)
  func `a server that ends says so over each transport`(transport: CoAPConfiguration.Transport) async throws {
    try await Self.withSecureServer { server, _, address in
      let simulated = try #require(SimulatedTransport(rawValue: transport.rawValue))
      let (events, continuation) = AsyncStream.makeStream(of: SimulatedEvent.self)
      try await Self.withDevice(Self.device(over: transport), simulated, at: address(transport), onEvent: { continuation.yield($0) }) {
        var iterator = events.makeAsyncIterator()
        while let event = await iterator.next() {
          if case .connected = event { break }
        }
        await server.shutdown()
        while let event = await iterator.next() {
          guard case .disconnected(let reason, _) = event else { continue }
          #expect(reason == "the server ended the observation: 5.03 the server is shutting down")
          break
        }
      }
    }
  }

  @Test func `a name that the credentials do not give is forbidden`() async throws {
    try await Self.withSecureServer { server, _, address in
      let loop = try EventLoop(name: "client")
      let client = try await CoAPClient(loop: loop)
      let peer = try await client.connect(
        to: try address(.dtls), over: .coaps,
        with: .preSharedKey(identity: "sensor-1@lab", key: Array("first-key".utf8)))
      var request = CoAPClientRequest(.get, [".rpc"])
      request.query = ["ep=sensor-2"]
      let (refusal, _) = try await peer.observe(request) { _ in }
      #expect(refusal.code == .forbidden)
      request.query = ["ep=sensor-1"]
      let (answer, _) = try await peer.observe(request) { _ in }
      #expect(answer.code == .content)
      #expect(await server.device("sensor-1").info?.isOnline == true)
      await client.close()
      await loop.stop()
    }
  }

  @Test func `a result counts only from the device that was called`() async throws {
    try await Self.withSecureServer { server, _, address in
      try await Self.withClient(of: "sensor-1", at: address(.dtls)) { called in
        try await Self.withClient(of: "sensor-2", at: address(.dtls)) { other in
          let calls = try await called.observe()
          var events = server.events().makeAsyncIterator()
          async let result = server.device("sensor-1").call("multiply", 7, 191)
          var iterator = calls.makeAsyncIterator()
          _ = await iterator.next()
          #expect(try await other.post(#"{"id":"multiply/74e4","status":0,"detail":666}"#) == .forbidden)
          #expect(try await called.post(#"{"id":"multiply/74e4","status":0,"detail":1337}"#) == .changed)
          #expect(try await result.detail == 1337)
          // Nor when it is over.
          #expect(try await other.post(#"{"id":"multiply/74e4","status":0}"#) == .forbidden)
          #expect(try await called.post(#"{"id":"multiply/74e4","status":0}"#) == .changed)
          // An id that was never given is nobody's.
          #expect(try await other.post(#"{"id":"multiply/74ff","status":0}"#) == .changed)
          while let event = await events.next() {
            guard case .forbiddenResult(let id, let device) = event else { continue }
            #expect(id == "multiply/74e4")
            #expect(device == "sensor-2")
            break
          }
        }
      }
    }
  }

  @Test func `a newer session of a device takes the place of the older, which is closed`() async throws {
    try await Self.withSecureServer { server, _, address in
      try await Self.withClient(of: "sensor-1", at: address(.dtls)) { old in
        _ = try await old.observe()
        try await Self.withClient(of: "sensor-1", at: address(.dtls)) { new in
          let calls = try await new.observe()
          async let result = server.device("sensor-1").call("multiply", 7, 191)
          var iterator = calls.makeAsyncIterator()
          _ = await iterator.next()
          // On a session that observes nothing, as firmware does with a result that it could not deliver before.
          try await Self.withClient(of: "sensor-1", at: address(.dtls)) { third in
            let code = try await third.post(#"{"id":"multiply/74e4","status":0,"detail":1337}"#)
            #expect(code == .changed)
          }
          #expect(try await result.detail == 1337)
          await #expect(throws: (any Error).self) { _ = try await old.post(#"{"id":"multiply/74e4","status":0}"#) }
          #expect(await server.device("sensor-1").info?.isOnline == true)
        }
      }
    }
  }

  @Test(arguments: [CoAPScheme.coap, .coapTCP])
  func `whoever proves nothing neither is nor answers for a device that does`(scheme: CoAPScheme) async throws {
    try await Self.withSecureServer { server, credentials, address in
      try await Self.withClient(of: "sensor-1", at: address(.dtls)) { device in
        try await Self.withClient(of: "lamp", at: address(scheme == .coap ? .udp : .tcp), over: scheme) { stranger in
          var calls = try await device.observe().makeAsyncIterator()
          async let result = server.device("sensor-1").call("multiply", 7, 191)
          _ = await calls.next()
          #expect(try await stranger.post(#"{"id":"multiply/74e4","status":0,"detail":666}"#) == .forbidden)
          #expect(try await stranger.post(#"{"id":"multiply/74e4","status":0}"#, "ep=sensor-1") == .forbidden)
          #expect(try await stranger.post(#"{"id":"multiply/74e4","status":"?"}"#) == .badRequest)
          #expect(try await stranger.listen("ep=sensor-1", observe: true) == .forbidden)
          #expect(try await stranger.listen("ep=sensor-1", observe: false) == .forbidden)
          // Also when it is a device itself, though not when it has become one that must prove it.
          _ = try await stranger.observe("ep=lamp")
          #expect(try await stranger.post(#"{"id":"multiply/74e4","status":0,"detail":666}"#) != .forbidden)
          #expect(await server.device("sensor-1").info?.openCalls == 1)
          #expect(try await device.post(#"{"id":"multiply/74e4","status":0,"detail":1337}"#) == .changed)
          #expect(try await result.detail == 1337)
          var events = server.events().makeAsyncIterator()
          credentials.set(try Self.credential("lamp", key: "k"))
          while let event = await events.next() {
            guard case .offline(let device, _) = event else { continue }
            #expect(device.name == "lamp")
            break
          }
        }
      }
    }
  }

  /// A client that speaks for a device, word by word.
  private struct Client {
    let peer: CoAPPeer

    func listen(_ query: String, observe: Bool) async throws -> CoAPCode {
      var request = CoAPClientRequest(.get, [".rpc"])
      request.query = [query]
      return observe ? try await peer.observe(request) { _ in }.0.code : try await peer.request(request).code
    }

    /// The payloads of the calls that come.
    func observe(_ query: String...) async throws -> AsyncStream<[UInt8]> {
      let calls = AsyncStream.makeStream(of: [UInt8].self)
      var request = CoAPClientRequest(.get, [".rpc"])
      request.query = query
      let (answer, _) = try await peer.observe(request) { calls.continuation.yield($0.payload) }
      #expect(answer.code == .content)
      return calls.stream
    }

    func post(_ text: String, _ query: String...) async throws -> CoAPCode {
      var request = CoAPClientRequest(.post, [".rpc", "status"], contentFormat: .json, payload: Array(text.utf8))
      request.query = query
      return try await peer.request(request).code
    }
  }

  private static func withClient<Result>(
    of device: String, at address: CoAPAddress, over scheme: CoAPScheme = .coaps, _ body: (Client) async throws -> Result
  ) async throws -> Result {
    let loop = try EventLoop(name: device)
    let client = try await CoAPClient(loop: loop)
    func close() async {
      await client.close()
      await loop.stop()
    }
    do {
      let peer = try await client.connect(
        to: address, over: scheme,
        with: scheme.isSecure ? .preSharedKey(identity: "\(device)@lab", key: Array((keys[device] ?? "").utf8)) : nil)
      let result = try await body(Client(peer: peer))
      await close()
      return result
    } catch {
      await close()
      throw error
    }
  }

  /// Gives a device another key as soon as its own has been looked up.
  private final class Rotating: DeviceCredentials {
    let table: InMemoryCredentials
    let next: DeviceCredential

    init(_ first: DeviceCredential, _ next: DeviceCredential) { (table, self.next) = (InMemoryCredentials([first]), next) }

    func credential(_ kind: DeviceCredential.Kind, identity: String) -> DeviceCredential? {
      defer { if table.credential(kind, identity: identity) != next { table.set(next) } }
      return table.credential(kind, identity: identity)
    }

    func knows(device: String) -> Bool { table.knows(device: device) }
    func changes() -> AsyncStream<Void> { AsyncStream { $0.finish() } }
  }

  @Test func `a key that is rotated in the middle of a handshake opens nothing`() async throws {
    let credentials = Rotating(try Self.credential("sensor-1"), try Self.credential("sensor-1", key: "another-key"))
    try await Self.withSecureServer(credentials) { server, address in
      try await Self.withClient(of: "sensor-1", at: address(.dtls)) { client in
        _ = await #expect(throws: (any Error).self) { _ = try await client.observe() }
      }
      #expect(await server.devices() == [])
    }
  }

  enum Change: String, CaseIterable, Sendable {
    case disable = "it was disabled"
    case remove = "its key was removed"
    case rotate = "its key was replaced"
  }

  @Test(arguments: Change.allCases)
  func `a call under way ends at once when its device's credential changes`(change: Change) async throws {
    try await Self.withSecureServer { server, credentials, address in
      for polls in [false, true] {
        credentials.set(try Self.credential("sensor-1"))
        try await Self.withClient(of: "sensor-1", at: address(.dtls)) { device in
          let calls = polls ? nil : try await device.observe()
          async let failed = failure {
            try await server.device("sensor-1").call("m", timeout: .seconds(600), wait: .seconds(polls ? 60 : 0))
          }
          if let calls {
            for await _ in calls { break }
          } else {
            await server.entered(1, for: "sensor-1")
            #expect(try await device.listen("ep=sensor-1", observe: false) == .content)
          }
          try Self.make(change, credentials)
          guard case .revoked("sensor-1", change.rawValue, let delivery) = await failed else {
            Issue.record("it has ended otherwise")
            return
          }
          #expect(delivery == .sentNoAck || delivery == .delivered && !polls)
        }
      }
    }
  }

  @Test(arguments: Change.allCases)
  func `a call to a device whose session is over ends at once when its credential changes`(change: Change) async throws {
    try await Self.withSecureServer { server, credentials, address in
      var events = server.events().makeAsyncIterator()
      async let failed = failure {
        try await server.device("sensor-1").call("m", timeout: .seconds(600), wait: .seconds(60))
      }
      try await Self.withClient(of: "sensor-1", at: address(.dtls)) { device in
        for await _ in try await device.observe() { break }
      }
      while let event = await events.next() { if case .offline = event { break } }
      try Self.make(change, credentials)
      guard case .revoked("sensor-1", change.rawValue, _) = await failed else {
        Issue.record("it has ended otherwise")
        return
      }
    }
  }

  private static func make(_ change: Change, _ credentials: InMemoryCredentials) throws {
    switch change {
    case .disable: credentials.set(try credential("sensor-1", isEnabled: false))
    case .remove: credentials.remove(.preSharedKey, identity: "sensor-1@lab")
    case .rotate: credentials.set(try credential("sensor-1", key: "another-key"))
    }
  }

  @Test(arguments: Change.allCases)
  func `a credential that changes ends the sessions that were opened with it`(change: Change) async throws {
    try await Self.withSecureServer { server, credentials, address in
      try await Self.withDevice("sensor-1", .coaps, at: address(.dtls)) {
        try await Self.withDevice("sensor-2", .coaps, at: address(.dtls)) {
          for name in Self.keys.keys { try await server.device(name).call("echo", 1, wait: .seconds(20)) }
          var events = server.events().makeAsyncIterator()
          try Self.make(change, credentials)
          while let event = await events.next() {
            guard case .offline(let device, let reason) = event else { continue }
            #expect(device.name == "sensor-1" && reason == change.rawValue)
            break
          }
          // The other one does not notice.
          try await server.device("sensor-2").call("echo", 1)
          await #expect(throws: CallError.offline("sensor-1")) { try await server.device("sensor-1").call("echo", 1) }
        }
      }
    }
  }
}
