import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Logging
import Testing

let silentLog = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A server on loopback for the length of `body`, closed whatever happens.
func withServer<Result>(
  _ configuration: CoAPConfiguration = .forTests, limits: Limits = .forTests,
  // A peer that is slow because the machine is must not get anything twice; tests of retransmission say so.
  transmission: CoAPTransmission = CoAPTransmission(ackTimeout: 30), log: Logger = silentLog,
  _ body: (DeviceRPCServer, CoAPAddress) async throws -> Result
) async throws -> Result {
  let transport = try CoAPTransport(configuration, limits: limits, transmission: transmission, log: log)
  let server = DeviceRPCServer(transport: transport, limits: limits, log: log, firstSerial: 0x74e4)
  do {
    try await server.start()
    let address = try #require(
      server.addresses.first.flatMap { address in
        let parts = address.dropFirst("coap://".count).split(separator: ":")
        return CoAPAddress(host: parts.dropLast().joined(separator: ":"), port: UInt16(parts.last ?? "") ?? 0)
      })
    let result = try await body(server, address)
    await server.shutdown()
    return result
  } catch {
    await server.shutdown()
    throw error
  }
}

extension CoAPConfiguration {
  /// Loopback, a port of the system's choice, few shards.
  static var forTests: CoAPConfiguration {
    var configuration = CoAPConfiguration()
    configuration.listeners = [.init(port: 0)]
    configuration.shards = 4
    return configuration
  }
}

extension Limits {
  /// Without a grace period: what a test left open must not hold it up. Without a bound on requests.
  static var forTests: Limits {
    var limits = Limits()
    limits.grace = .zero
    // Tests ask faster than any device.
    limits.requestsPerSecond = 0
    return limits
  }
}
