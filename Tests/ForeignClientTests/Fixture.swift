import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Logging
import Testing

/// A server on a free port of loopback for the length of `body`, closed whatever happens.
///
/// The id of its first call ends in 74e4.
func withServer<Result>(
  _ golioth: GoliothSettings = GoliothSettings(), transmission: CoAPTransmission = CoAPTransmission(),
  _ body: (DeviceRPCServer, _ port: String) async throws -> Result
) async throws -> Result {
  var configuration = CoAPConfiguration(listeners: [.init(port: 0)])
  configuration.golioth = golioth
  var log = Logger(label: "test")
  log.logLevel = .critical
  configuration.shards = 4
  let transport = try CoAPTransport(configuration, limits: .forTests, transmission: transmission, log: log)
  return try await withServer(transport, log) { server in
    try await body(server, String(try #require(server.addresses.first?.split(separator: ":").last)))
  }
}

extension Limits {
  /// With an end that waits for nobody.
  static var forTests: Limits {
    var limits = Limits()
    limits.grace = .zero
    // Foreign clients share the processors with all other tests.
    limits.defaultTimeout = .seconds(40)
    return limits
  }
}

/// A server over this transport.
func withServer<Result>(
  _ transport: CoAPTransport, _ log: Logger, _ body: (DeviceRPCServer) async throws -> Result
) async throws -> Result {
  let server = DeviceRPCServer(transport: transport, limits: .forTests, log: log, firstSerial: 0x74e4)
  do {
    try await server.start()
    let result = try await body(server)
    await server.shutdown()
    return result
  } catch {
    await server.shutdown()
    throw error
  }
}

/// What a device wants its calls in.
enum Format: String, CaseIterable {
  case json, cbor

  /// Its number in the CoAP Content-Formats registry.
  var number: String { self == .json ? "50" : "60" }
}

extension GoliothSettings {
  /// For a device that does block-wise transfer and has 256 KiB of room.
  static var roomy: GoliothSettings {
    var settings = GoliothSettings()
    settings.maximumPayload = 256 << 10
    return settings
  }
}

extension CoAPTransmission {
  /// Gives up after three seconds: the least that libcoap takes.
  static let impatient = CoAPTransmission(ackTimeout: 1, ackRandomFactor: 1, maxRetransmit: 1)
}

extension AsyncStream<DeviceEvent> {
  /// Waits until the device is offline, and tells why.
  func reasonForLeaving(of device: String) async throws -> String {
    for await event in self {
      if case .offline(let info, let reason) = event, info.name == device { return reason }
    }
    throw CancellationError()
  }
}

extension [UInt8] {
  init(hex: String) {
    let digits = hex.compactMap(\.hexDigitValue)
    self = stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }
}
