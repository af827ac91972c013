import CoAP
import DeviceRPC
import DeviceRPCCoAP
import DeviceSimulator
import Logging
import Testing

/// A server on loopback; port 0 for any. A test that frees a port and wants it back has an address of its own, where
/// nobody else's sockets can take it.
private func startServer(host: String = "127.0.0.1", port: UInt16 = 0) async throws -> (server: DeviceRPCServer, port: UInt16) {
  var configuration = CoAPConfiguration()
  configuration.listeners = [.init(.udp, host: host, port: port)]
  configuration.shards = 2
  var limits = Limits()
  limits.grace = .zero
  var log = Logger(label: "test")
  log.logLevel = .critical
  let server = try DeviceRPCServer(coap: configuration, limits: limits, logger: log)
  do {
    try await server.start()
    let port = server.addresses.first?.split(separator: ":").last.flatMap { UInt16($0) }
    return (server, try #require(port))
  } catch {
    await server.shutdown()
    throw error
  }
}

/// A device that runs for the length of `body`, with what happens to it.
private func withDevice(
  _ device: SimulatedDevice, _ body: (inout AsyncStream<SimulatedEvent>.Iterator) async throws -> Void
) async throws {
  let (events, continuation) = AsyncStream.makeStream(of: SimulatedEvent.self)
  var device = device
  device.reconnectDelay = .milliseconds(10) ... .milliseconds(50)
  device.onEvent = { continuation.yield($0) }
  try await withThrowingTaskGroup(of: Void.self) { [device] group in
    group.addTask {
      defer { continuation.finish() }
      try await device.run()
    }
    defer { group.cancelAll() }
    var iterator = events.makeAsyncIterator()
    try await body(&iterator)
  }
}

@Suite(.timeLimit(.minutes(1))) struct EndToEndTests {
  private func withServerAndDevice(
    _ format: SimulatedFormat = .cbor, _ body: (DeviceRPCServer, Device) async throws -> Void
  ) async throws {
    let (server, port) = try await startServer()
    do {
      try await withDevice(SimulatedDevice(name: "sensor-1", port: port, format: format)) { events in
        _ = await events.next()
        try await body(server, server.device("sensor-1"))
      }
    } catch {
      await server.shutdown()
      throw error
    }
    #expect(await server.onlineDevices() == 0, "the device has not deregistered")
    await server.shutdown()
  }

  @Test("7 times 191 is 1337", arguments: SimulatedFormat.allCases)
  func multiply(_ format: SimulatedFormat) async throws {
    try await withServerAndDevice(format) { _, device in
      let result = try await device.call("multiply", 7, 191)
      #expect(result.status == .ok)
      #expect(result.detail?["value"]?.intValue == 1_337)
      #expect(await device.info?.dialect == "Golioth, \(format.rawValue.uppercased())")
    }
  }

  @Test("Each kind of value goes to the device and comes back", arguments: SimulatedFormat.allCases)
  func echo(_ format: SimulatedFormat) async throws {
    let values: [RPCValue] = [
      nil, true, false, -7.5, "", "Grüße \"\\\n", [], [[], nil], [:], ["a": ["b": [true]]], 1e300,
    ]
    try await withServerAndDevice(format) { _, device in
      for value in values {
        #expect(try await device.call("echo", value).detail?["value"] == value)
      }
      #expect(try await device.call("echo", 7).detail?["value"]?.intValue == 7)
      #expect(try await device.call("echo", "a", "b").detail == ["value": ["a", "b"]])
      guard format == .cbor else {
        // JSON has no byte strings.
        let error = await #expect(throws: CallError.self) { try await device.call("echo", RPCValue.bytes([0, 255])) }
        guard case .invalidCall = error else { throw CancellationError() }
        return
      }
      #expect(try await device.call("echo", RPCValue.bytes([0, 255])).detail?["value"] == .bytes([0, 255]))
    }
  }

  @Test("A device's refusal arrives with its status and detail", arguments: SimulatedFormat.allCases)
  func refusal(_ format: SimulatedFormat) async throws {
    try await withServerAndDevice(format) { _, device in
      let refused = await #expect(throws: CallError.self) { try await device.call("fail", 9, "out of paper") }
      guard case .refused(let result) = refused else { throw CancellationError() }
      #expect(result.status == .failedPrecondition)
      #expect(result.detail == ["error": "out of paper"])
      let unknown = await #expect(throws: CallError.self) { try await device.call("nope") }
      guard case .refused(let result) = unknown else { throw CancellationError() }
      #expect(result.status == .notFound)
      #expect(result.detail == nil)
    }
  }

  @Test("A result that is not there by the deadline fails the call, and not the device")
  func deadline() async throws {
    try await withServerAndDevice { _, device in
      let timeout = Duration.seconds(1)
      await #expect(throws: CallError.unanswered(device: "sensor-1", after: timeout)) {
        try await device.call("sleep", 3_600, timeout: timeout)
      }
      try await device.call("sleep", 0.01)
      try await device.call("multiply", 7, 191)
    }
  }

  @Test("A slow call does not hold up the others")
  func concurrency() async throws {
    try await withServerAndDevice { _, device in
      await withTaskGroup(of: Void.self) { group in
        group.addTask { _ = try? await device.call("sleep", 3_600, timeout: .seconds(50)) }
        for number in 0..<100 {
          group.addTask {
            let result = try? await device.call("echo", number)
            #expect(result?.detail?["value"]?.intValue == number)
          }
        }
        for _ in 0..<100 { await group.next() }
        group.cancelAll()
      }
    }
  }

  @Test("A device comes back to a server that is started again on the same port")
  func reconnect() async throws {
    let (first, port) = try await startServer(host: "127.0.7.1")
    var device = SimulatedDevice(name: "sensor-1", server: "127.0.7.1", port: port)
    device.keepAlive = .milliseconds(10)
    try await withDevice(device) { events in
      guard case .connected = await events.next() else { throw CancellationError() }
      try await first.device("sensor-1").call("multiply", 7, 191)
      await first.shutdown()
      // The call's own events come before.
      var isConnected = true
      while isConnected, let event = await events.next() {
        if case .disconnected = event { isConnected = false }
      }
      let (second, _) = try await startServer(host: "127.0.7.1", port: port)
      let result = try? await second.device("sensor-1").call("multiply", 7, 191, wait: .seconds(30))
      await second.shutdown()
      #expect(result?.detail?["value"]?.intValue == 1_337)
    }
  }

  @Test("A device notices a server that was restarted")
  func renewal() async throws {
    let (first, port) = try await startServer(host: "127.0.7.2")
    var device = SimulatedDevice(name: "sensor-1", server: "127.0.7.2", port: port)
    device.keepAlive = .seconds(60)
    device.renewal = .milliseconds(10)
    try await withDevice(device) { events in
      guard case .connected = await events.next() else { throw CancellationError() }
      await first.shutdown()
      let (second, _) = try await startServer(host: "127.0.7.2", port: port)
      let result = try? await second.device("sensor-1").call("multiply", 7, 191, wait: .seconds(30))
      await second.shutdown()
      #expect(result?.detail?["value"]?.intValue == 1_337)
    }
  }

  @Test("A device without a server keeps trying until it is cancelled")
  func noServer() async throws {
    let (server, port) = try await startServer(host: "127.0.7.3")
    await server.shutdown()
    try await withDevice(SimulatedDevice(name: "sensor-1", server: "127.0.7.3", port: port)) { events in
      for delay in [10, 20, 40, 50, 50] {
        guard case .disconnected(let reason, let retry) = await events.next() else { throw CancellationError() }
        #expect(reason == "nobody listens at that address")
        #expect(retry == .milliseconds(delay))
      }
    }
  }

  @Test("A fleet of more devices than share a context is connected and callable")
  func fleet() async throws {
    let (server, port) = try await startServer()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        try await DeviceFleet((0..<130).map { SimulatedDevice(name: "device-\($0)", port: port) }).run()
      }
      for number in 0..<130 {
        let result = try await server.device("device-\(number)").call("multiply", number, 2, wait: .seconds(30))
        #expect(result.detail?["value"]?.intValue == 2 * number)
      }
      group.cancelAll()
    }
    #expect(await server.onlineDevices() == 0)
    await server.shutdown()
  }

  @Test("What cannot be an address or a name is refused before anything is sent")
  func configuration() async {
    await #expect(throws: SimulatorError.notAnAddress("nowhere")) {
      try await SimulatedDevice(name: "a", server: "nowhere").run()
    }
    await #expect(throws: SimulatorError.notAName("")) { try await SimulatedDevice(name: "").run() }
    let long = String(repeating: "x", count: 253)
    await #expect(throws: SimulatorError.notAName(long)) { try await SimulatedDevice(name: long).run() }
  }
}
