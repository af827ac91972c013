package import CoAP
public import DeviceRPC
public import Logging
internal import Synchronization

extension DeviceRPCServer {
  /// A server that devices reach over CoAP.
  ///
  /// - Throws: `CoAPConfigurationError`, or an error of the system when it has no thread or descriptor left. An address
  ///   that is in use is found by `start()`.
  public convenience init(
    coap configuration: CoAPConfiguration = CoAPConfiguration(), limits: Limits = Limits(),
    logger: Logger = Logger(label: "device-rpc")
  ) throws {
    self.init(
      transport: try CoAPTransport(configuration, log: logger), limits: limits, log: logger)
  }
}

/// Devices over CoAP: the loops, the endpoint on them, and the dialects.
package final class CoAPTransport: DeviceTransport {
  private let configuration: CoAPConfiguration
  private let endpointConfiguration: CoAPEndpoint.Configuration
  private let loops: [EventLoop]
  private let log: Logger
  private let endpoint = Mutex<CoAPEndpoint?>(nil)

  package convenience init(_ configuration: CoAPConfiguration, log: Logger) throws {
    try self.init(configuration, transmission: CoAPTransmission(), log: log)
  }

  package init(_ configuration: CoAPConfiguration, transmission: CoAPTransmission, log: Logger) throws {
    self.configuration = configuration
    self.log = log
    var endpoint = try configuration.endpoint()
    endpoint.transmission = transmission
    endpointConfiguration = endpoint
    loops = try (0..<max(1, configuration.loops)).map { try EventLoop(name: "device-rpc-\($0)") }
    callerExecutors = loops.map(EventLoop.Tasks.init)
  }

  package var drivers: [any LoopDriver] { loops }
  package let callerExecutors: [any TaskExecutor]

  package var addresses: [String] {
    endpoint.withLock { $0?.addresses.map { "coap://\($0)" } ?? [] }
  }

  package func start(_ directory: DeviceDirectory) async throws {
    let handlers = loops.map { _ in
      GoliothEndpoint(directory: directory, configuration: configuration, log: log)
    }
    let started = try await CoAPEndpoint(endpointConfiguration, loops: loops, handlers: handlers, log: log)
    endpoint.withLock { $0 = started }
  }

  package func close() async {
    let open = endpoint.withLock { endpoint in
      defer { endpoint = nil }
      return endpoint
    }
    await open?.close()
    for loop in loops { await loop.stop() }
  }
}

extension EventLoop: LoopDriver {
  package var now: Duration { .nanoseconds(Int64(clamping: isCurrent ? passTime : EventLoop.monotonic)) }

  package func makeAlarm(_ action: @escaping @Sendable () -> Void) -> any LoopAlarm {
    Alarm(makeTimer(action))
  }

  private final class Alarm: LoopAlarm {
    private let timer: LoopTimer

    init(_ timer: LoopTimer) { self.timer = timer }

    func set(_ deadline: Duration?) {
      if let deadline { timer.arm(at: deadline.nanosecondsClamped) } else { timer.disarm() }
    }

    func cancel() { timer.cancel() }
  }
}
