import CoAP
import DeviceRPC
import DeviceRPCCoAP
import DeviceRPCHTTP
import DeviceRPCTesting
import DeviceSimulator
import Logging
import ServiceLifecycle
import Testing

let silentLog = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A server on loopback with the doors that a test needs, and the credentials of two devices.
struct ConformanceServer: Sendable {
  static let names = ["sensor-1", "sensor-2"]
  private static let key = "a-shared-secret"

  let server: DeviceRPCServer
  /// Nil for a server with sockets.
  fileprivate let memory: InMemoryDevices?
  /// The address of ThingsBoard's HTTP API; nil for a server without.
  fileprivate let url: String?

  private static func token(of name: String) -> String { "token-of-\(name)" }

  /// Why a device could not connect.
  struct NotConnected: Error {
    let reason: String
  }

  /// The credentials that devices have at these doors.
  fileprivate static func credentials(for doors: [Door]) throws -> InMemoryCredentials {
    let credentials = InMemoryCredentials([])
    for name in names {
      if doors.contains(where: \.hasKey) {
        let key = DeviceKey(Self.key.utf8)
        credentials.set(DeviceCredential(device: name, identity: name, proof: .preSharedKey(try #require(key))))
      }
      if doors.contains(where: \.hasToken) {
        let token = AccessToken(Self.token(of: name))
        credentials.set(DeviceCredential(device: name, token: try #require(token)))
      }
    }
    return credentials
  }

  /// Connects a device for the length of `body`, which begins when the device can be called. Over CoAP it has deregistered at the end.
  func withDevice(
    _ name: String = ConformanceServer.names[0], through door: Door, _ body: (ConformanceDevice) async throws -> Void
  ) async throws {
    let device = ConformanceDevice(name, memory: memory)
    switch door {
    case .golioth(let format, let transport):
      var simulated = SimulatedDevice(name: name, port: try port(transport), format: format)
      simulated.transport = transport
      try await simulate(simulated, device, body)
    case .thingsBoardCoAP(let transport):
      var simulated = SimulatedDevice(name: name, port: try port(transport), format: .json)
      simulated.transport = transport
      simulated.dialect = .thingsboard
      if door.hasToken { simulated.accessToken = Self.token(of: name) }
      try await simulate(simulated, device, body)
    case .thingsBoardHTTP:
      let server = try #require(self.url)
      try await poll(PollingDevice(url: "\(server)/api/v1/\(Self.token(of: name))/rpc", device: device), body)
    case .memory:
      let memory = try #require(self.memory)
      guard await memory.connect(name, firmware: device.firmware) else { throw NotConnected(reason: "the server takes no device") }
      try await body(device)
      await memory.disconnect(name)
    }
  }

  private func port(_ transport: SimulatedTransport) throws -> UInt16 {
    let prefix = "\(transport.rawValue)://"
    let address = server.addresses.first(where: { $0.hasPrefix(prefix) })
    let port = address?.split(separator: ":").last.flatMap { UInt16($0) }
    return try #require(port)
  }

  private func simulate(
    _ template: SimulatedDevice, _ device: ConformanceDevice, _ body: (ConformanceDevice) async throws -> Void
  ) async throws {
    let (events, continuation) = AsyncStream.makeStream(of: SimulatedEvent.self)
    var simulated = template
    if simulated.transport == .coaps || simulated.transport == .coapsTCP {
      simulated.credentials = .preSharedKey(identity: simulated.name, key: Self.key)
    }
    simulated.functions = ConformanceFunctions.simulated
    simulated.panel = nil
    // A connection that is lost stays lost, so that no test passes by a second one.
    simulated.reconnectDelay = .seconds(3_600) ... .seconds(3_600)
    simulated.onEvent = { event in
      if case .called(_, let method, let params, _) = event { device.take(method, params.map { RPCValue($0) }) }
      continuation.yield(event)
    }
    try await withThrowingTaskGroup(of: Void.self) { [simulated] group in
      group.addTask {
        defer { continuation.finish() }
        try await simulated.run()
      }
      defer { group.cancelAll() }
      switch await events.first(where: { _ in true }) {
      case .connected?: break
      case .disconnected(let reason, _)?: throw NotConnected(reason: reason)
      default: throw NotConnected(reason: "it has ended")
      }
      try await body(device)
    }
  }

  private func poll(_ polling: PollingDevice, _ body: (ConformanceDevice) async throws -> Void) async throws {
    // From before the device asks for the first time.
    let events = server.events()
    let device = polling.device
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { await polling.run() }
      defer { group.cancelAll() }
      let online = await events.first { event in
        if case .online(let info) = event { info.name == device.name } else { false }
      }
      guard online != nil else { throw NotConnected(reason: "the server has ended") }
      try await body(device)
    }
  }
}

/// Runs a server with these doors for the length of `body`, and shuts it down whatever happens.
func withServer(_ doors: [Door], _ body: (ConformanceServer) async throws -> Void) async throws {
  var limits = Limits()
  limits.grace = .zero
  // Tests ask faster than any device, on machines that may be slow.
  limits.requestsPerSecond = 0
  limits.defaultTimeout = .seconds(60)
  if doors.contains(.memory) {
    let memory = InMemoryDevices()
    let server = DeviceRPCServer(memory, limits: limits, logger: silentLog)
    return try await running(server) { () async throws in
      try await body(ConformanceServer(server: server, memory: memory, url: nil))
    }
  }
  let credentials = try ConformanceServer.credentials(for: doors)
  // A device that is slow because the machine is must not get anything twice.
  let transport = try CoAPTransport(
    configuration(for: doors, credentials), limits: limits, transmission: CoAPTransmission(ackTimeout: 30), log: silentLog)
  let server = DeviceRPCServer(transport: transport, limits: limits, log: silentLog)
  try await running(server) { () async throws in
    guard doors.contains(.thingsBoardHTTP) else {
      return try await body(ConformanceServer(server: server, memory: nil, url: nil))
    }
    try await withHTTP(ThingsBoardHTTP(server, credentials: credentials), server) { (url) async throws in
      try await body(ConformanceServer(server: server, memory: nil, url: url))
    }
  }
}

/// Runs a server with one door, and a device that is connected through it, for the length of `body`.
func withDevice(_ door: Door, _ body: (DeviceRPCServer, ConformanceDevice) async throws -> Void) async throws {
  try await withServer([door]) { (conformance) async throws in
    try await conformance.withDevice(through: door) { (device) async throws in
      try await body(conformance.server, device)
    }
  }
}

private func configuration(for doors: [Door], _ credentials: InMemoryCredentials) -> CoAPConfiguration {
  let transports = Set(doors.compactMap(\.transport).compactMap { CoAPConfiguration.Transport(rawValue: $0.rawValue) })
  // A server has one address of CoAP at least.
  var configuration = CoAPConfiguration(
    listeners: (transports.isEmpty ? [.udp] : transports).map { .init($0, host: "127.0.0.1", port: 0) })
  configuration.shards = 2
  if doors.contains(where: { $0.hasKey || $0.hasToken }) {
    configuration.security = DeviceSecurity(credentials: credentials)
  }
  // The simulated devices fetch long calls in blocks, and read whole numbers.
  configuration.golioth.maximumPayload = 65_536
  configuration.golioth.numbers = .asWritten
  configuration.thingsBoard = ThingsBoardSettings()
  return configuration
}

private func running(_ server: DeviceRPCServer, _ body: () async throws -> Void) async throws {
  do {
    try await server.start()
    try await body()
  } catch {
    await server.shutdown()
    throw error
  }
  await server.shutdown()
}

private func withHTTP(
  _ thingsBoard: ThingsBoardHTTP, _ server: DeviceRPCServer, _ body: (String) async throws -> Void
) async throws {
  var configuration = HTTPConfiguration(port: 0)
  configuration.hasConsole = false
  let (urls, found) = AsyncStream.makeStream(of: String.self)
  let http = DeviceRPCHTTPServer(
    server, thingsBoard: thingsBoard, configuration: configuration, logger: silentLog, onListening: { found.yield($0) })
  let services = ServiceGroup(configuration: .init(services: [http], logger: silentLog))
  try await withThrowingTaskGroup(of: Void.self) { group in
    group.addTask {
      defer { found.finish() }
      try await services.run()
    }
    let url = await urls.first(where: { _ in true })
    try await body(try #require(url))
    await services.triggerGracefulShutdown()
    try await group.waitForAll()
  }
}
