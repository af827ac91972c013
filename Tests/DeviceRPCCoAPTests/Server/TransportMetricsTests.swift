import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Glibc
import Metrics
import MetricsTestKit
import TestSupport
import Testing

struct TransportMetricsTests {
  private let metrics = TestMetrics()

  private func count(_ name: String, _ dimensions: [(String, String)] = []) throws -> Int64 {
    try metrics.expectCounter("device_rpc_\(name)_total", dimensions).totalValue
  }

  @Test func `packets and retransmissions are counted, once each`() async throws {
    try await withMetricsFactory(metrics) {
      try await withServer(transmission: CoAPTransmission(ackTimeout: 1)) { server, address in
        let device = try RawDevice(to: address)
        try await device.observe()
        async let result = server.device("sensor-1").call("multiply", 7, 191)
        let first = try await device.peer.receiveMessage()
        let second = try await device.receiveCall()
        #expect(first.messageID == second.messageID)
        #expect(try await device.post(#"{"id":"\#(second.id)","status":0,"detail":1337}"#).code == .changed)
        #expect(try await result.detail == 1337)
        for _ in 0..<2 {
          await server.recordMetrics()
          // The observation, the acknowledgement and the result.
          #expect(try count("packets", [("direction", "received")]) == 3)
          // The answers to the first and the last of them, and the call, twice.
          #expect(try count("packets", [("direction", "sent")]) == 4)
          #expect(try count("retransmissions") == 1)
        }
        #expect(try !metrics.expectTimer("device_rpc_loop_pass_seconds").values.isEmpty)
      }
    }
  }

  @Test func `a device without its proof is a refused connection`() async throws {
    var configuration = CoAPConfiguration.forTests
    configuration.listeners.append(.init(.dtls, port: 0))
    let key = try #require(DeviceKey("key".utf8))
    configuration.security = DeviceSecurity(
      credentials: InMemoryCredentials([DeviceCredential(device: "sensor-1", identity: "sensor-1@lab", proof: .preSharedKey(key))]))
    try await withMetricsFactory(metrics) {
      try await withServer(configuration) { server, address in
        let device = try RawDevice(to: address)
        #expect(try await device.request(device.get(observe: 0)).code == .forbidden)
        #expect(try count("refused_connections", [("reason", "credentials")]) == 1)
      }
    }
  }

  @Test func `a connection above the limit is a refused one`() async throws {
    var configuration = CoAPConfiguration.forTests
    configuration.listeners = [.init(.tcp, port: 0)]
    configuration.shards = 1
    var limits = Limits.forTests
    limits.connections = 1
    try await withMetricsFactory(metrics) {
      let transport = try CoAPTransport(configuration, limits: limits, log: silentLog)
      let server = DeviceRPCServer(transport: transport, limits: limits, log: silentLog)
      try await server.start()
      let port = try #require(server.addresses.first?.split(separator: ":").last.flatMap { UInt16($0) })
      let connections = (0..<2).map { _ in socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0) }
      for descriptor in connections { #expect(connectToLoopback(descriptor, port) == 0) }
      // A connection that is served gets a CSM, one that is refused nothing but its end.
      let bytes = connections.map { descriptor in
        var byte: UInt8 = 0
        return recv(descriptor, &byte, 1, 0)
      }
      #expect(bytes == [1, 0])
      await server.recordMetrics()
      #expect(try count("refused_connections", [("reason", "limit")]) == 1)
      for descriptor in connections { close(descriptor) }
      await server.shutdown()
    }
  }
}
