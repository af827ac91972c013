import CoAP
import DeviceRPC
import DeviceRPCCoAP
import DeviceSimulator
import Glibc
import Logging
import Synchronization
import Testing

/// A server on all transports with a device that is called all the time while somebody else misbehaves.
struct FuzzServer: Sendable {
  static let key = "fuzzed-key"
  /// Identities that know the key.
  static let identities = ["live", "fuzzer"]
  /// Access tokens of devices with ThingsBoard's firmware.
  static let tokens = (0..<4).map { "fuzzed-access-token-\($0)" }

  let server: DeviceRPCServer
  let addresses: [CoAPConfiguration.Transport: CoAPAddress]

  func address(_ transport: CoAPConfiguration.Transport) throws -> CoAPAddress { try #require(addresses[transport]) }

  /// Runs `attack` on a thread of its own while the device is called; every call must be answered with its own number.
  ///
  /// - Parameter port: where the device sends to, when it is not the server itself.
  static func withstand(
    _ transport: CoAPConfiguration.Transport, through port: (FuzzServer) throws -> UInt16? = { _ in nil },
    _ attack: @escaping @Sendable (FuzzServer) throws -> Void
  ) async throws {
    let fuzz = try await start()
    do {
      // Without a proof nobody may bear the name of a device that has credentials.
      let name = transport.isSecure ? "live" : "lamp"
      var device = SimulatedDevice(name: name, port: try port(fuzz) ?? fuzz.address(transport).port)
      device.transport = try #require(SimulatedTransport(rawValue: transport.rawValue))
      if transport.isSecure { device.credentials = .preSharedKey(identity: name, key: key) }
      try await withThrowingTaskGroup(of: Void.self) { [device] group in
        group.addTask { try await device.run() }
        try await fuzz.call(name, while: attack)
        group.cancelAll()
      }
    } catch {
      await fuzz.server.shutdown()
      throw error
    }
    await fuzz.server.shutdown()
  }

  private static func start() async throws -> FuzzServer {
    var configuration = CoAPConfiguration()
    configuration.listeners = CoAPConfiguration.Transport.allCases.map { .init($0, port: 0) }
    configuration.shards = 2
    let key = try #require(DeviceKey(key.utf8))
    let tokens = try tokens.map { DeviceCredential(device: "device of \($0)", token: try #require(AccessToken($0))) }
    configuration.security = DeviceSecurity(
      credentials: InMemoryCredentials(
        identities.map { DeviceCredential(device: $0, identity: $0, proof: .preSharedKey(key)) } + tokens))
    configuration.thingsBoard = ThingsBoardSettings()
    var limits = Limits()
    limits.grace = .zero
    limits.handshakes = 1_000
    // Whoever throws packets is to get further than 4.29.
    limits.requestsPerSecond = 0
    var log = Logger(label: "fuzz")
    log.logLevel = .critical
    let server = DeviceRPCServer(transport: try CoAPTransport(configuration, limits: limits, log: log), limits: limits,
      log: log)
    server.handle("echo") { $0.params }
    try await server.start()
    var addresses: [CoAPConfiguration.Transport: CoAPAddress] = [:]
    for listener in server.addresses {
      let parts = listener.split(separator: ":")
      let transport = try #require(CoAPConfiguration.Transport(rawValue: String(parts[0])))
      addresses[transport] = CoAPAddress(host: "127.0.0.1", port: try #require(parts.last.flatMap { UInt16($0) }))
    }
    return FuzzServer(server: server, addresses: addresses)
  }

  private func call(_ name: String, while attack: @escaping @Sendable (FuzzServer) throws -> Void) async throws {
    let isOver = Flag()
    // Connected: a handshake under way is more easily disturbed.
    try await server.device(name).call("echo", 0, wait: .seconds(60))
    var calls = 0
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        defer { isOver.isSet.store(true, ordering: .relaxed) }
        try await onThread { try attack(self) }
      }
      // Once more when all is over.
      var isLast = false
      while !isLast {
        isLast = isOver.isSet.load(ordering: .relaxed)
        calls += 1
        let result = try await server.device(name).call(
          "echo", calls, timeout: .seconds(60), wait: .seconds(10))
        #expect(result.detail?["value"]?.doubleValue == Double(calls))
      }
      try await group.waitForAll()
    }
    #expect(calls > 1)
  }
}

/// How much a process grows while something is done to it again and again.
struct MemoryWatch {
  private let count: Int
  private var before = residentBytes()
  private let start = ContinuousClock.now

  init(_ count: Int) { self.count = count }

  /// What grows at first is what is kept for good: tables, buffers, arenas.
  mutating func done(_ number: Int) { if number <= count / 10 { before = residentBytes() } }

  /// At the end.
  func check(_ what: String) {
    let grown = (residentBytes() - before) / (1 << 20)
    #expect(grown < setting("FUZZ_MEMORY", 64), "\(grown) MiB more, \(what)")
    if getenv("FUZZ_PACKETS") != nil {
      print("\(what): \(count) in \(ContinuousClock.now - start), \(grown) MiB more, \(residentBytes() >> 20) MiB")
    }
  }
}
