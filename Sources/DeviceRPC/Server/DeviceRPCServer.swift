// Server: `DeviceRPCServer`, which users make: its limits, events, metrics and log.
// The top of this module: nothing else in it may know this room but for limits, events and metrics.

package import FoundationEssentials
package import Logging
public import ServiceLifecycle
internal import Synchronization

/// Calls functions on devices: the back end's side of everything.
///
/// A transport lets the devices in (`DeviceRPCCoAP` makes one); `device(_:)` calls them. Run it as a `Service` in a
/// `ServiceGroup`, or between `start()` and `shutdown()`. All methods may be called from anywhere, at any time.
///
/// Metrics, through swift-metrics: the counters `device_rpc_calls_sent_total`, `device_rpc_calls_answered_total`,
/// `device_rpc_calls_failed_total`, `device_rpc_stray_results_total`, `device_rpc_forbidden_results_total`,
/// `device_rpc_unreadable_results_total`, `device_rpc_rate_limited_requests_total` (answered with 4.29, see
/// `Limits.requestsPerSecond`) and `device_rpc_dropped_logs_total` (lines of devices that came too fast, and were answered
/// as if they had been taken), the gauge `device_rpc_devices_online` and the timer `device_rpc_round_trip`.
public final class DeviceRPCServer: Service {
  public let limits: Limits

  private let transport: any DeviceTransport
  private let directory: DeviceDirectory
  private let log: Logger
  private let hub: Hub<DeviceEvent>
  private let life = Mutex(Life())

  private struct Life {
    enum Phase { case idle, starting, running, ending, ended }
    var phase = Phase.idle
    // Those who wait for the end of `starting` or `ending`.
    var waiters: [CheckedContinuation<Void, Never>] = []
  }

  /// - Parameter firstSerial: the number in the id of the first call; random by default, so that a late result from
  ///   before a restart finds no call.
  package init(
    transport: any DeviceTransport, limits: Limits, log: Logger,
    firstSerial: UInt32 = .random(in: 0x1000...0xffff)
  ) {
    self.transport = transport
    self.limits = limits
    self.log = log
    hub = Hub<DeviceEvent>(buffered: limits.bufferedEvents)
    let metrics = ServerMetrics()
    let drivers = transport.drivers
    let step = UInt32(drivers.count)
    let hub = hub
    let peerLog = PeerLog(log)
    // A loop's numbers are congruent to its own number, so that an id tells which loop gave it.
    let first = drivers.count == 1 ? firstSerial : firstSerial - firstSerial % step
    directory = DeviceDirectory(
      loops: drivers.enumerated().map { number, driver in
        DeviceLoop(
          driver: driver, firstSerial: first + UInt32(number), step: step, limits: limits, log: peerLog,
          hub: hub, metrics: metrics)
      })
  }

  /// Where devices connect: `coap://127.0.0.1:5683`; empty before `start()`.
  public var addresses: [String] { transport.addresses }

  /// Starts listening; returns when devices can connect. Does nothing when the server has been started, or shut down.
  ///
  /// Throws what the transport throws, such as an address that is in use; it may be tried again then.
  public func start() async throws {
    guard await enter(.starting, from: [.idle]) else { return }
    do {
      try await transport.start(directory)
    } catch {
      leave(to: .idle)
      throw error
    }
    leave(to: .running)
    log.info("listening", metadata: ["addresses": "\(addresses.joined(separator: ", "))"])
  }

  /// Enters a phase that takes time; one that is under way is waited for. False when it is too late, or done already.
  private func enter(_ next: Life.Phase, from allowed: Set<Life.Phase>) async -> Bool {
    while true {
      let isEntered: Bool? = life.withLock { life in
        if life.phase == .starting || life.phase == .ending { return nil }
        guard allowed.contains(life.phase) else { return false }
        life.phase = next
        return true
      }
      if let isEntered { return isEntered }
      await withCheckedContinuation { continuation in
        let isOver = life.withLock { life in
          if life.phase != .starting && life.phase != .ending { return true }
          life.waiters.append(continuation)
          return false
        }
        if isOver { continuation.resume() }
      }
    }
  }

  private func leave(to next: Life.Phase) {
    let waiters = life.withLock { life in
      defer { life.waiters = [] }
      life.phase = next
      return life.waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Starts, waits for a graceful shutdown or for the task's cancellation, and shuts down.
  public func run() async throws {
    do {
      try await start()
      try? await gracefulShutdown()
    } catch {
      await shutdown()
      throw error
    }
    await shutdown()
  }

  /// Takes no new calls, gives the open ones `Limits.grace` to end, ends the rest with `CallError.shuttingDown`, sends each
  /// device a last notification, 5.03 (RFC 7641 §4.2), and closes all sockets. A second one does nothing but wait for the
  /// first.
  public func shutdown() async {
    guard await enter(.ending, from: [.idle, .running]) else { return }
    await withTaskGroup { group in
      for loop in directory.loops { group.addTask { await loop.drain(self.limits.grace) } }
    }
    for loop in directory.loops { await loop.part() }
    await transport.close()
    for loop in directory.loops { await loop.close() }
    hub.finish()
    leave(to: .ended)
    log.info("closed")
  }

  // MARK: Devices and calls

  /// A handle to call the device of that name, whether or not it is connected.
  public func device(_ name: String) -> Device { Device(name: name, server: self) }

  /// All devices that the server remembers, in the order of their names.
  public func devices() async -> [DeviceInfo] {
    var all: [DeviceInfo] = []
    for loop in directory.loops { all += await loop.allDevices() }
    return all.sorted { $0.name < $1.name }
  }

  /// How many devices are connected.
  public func onlineDevices() async -> Int {
    var count = 0
    for loop in directory.loops { count += await loop.onlineDevices }
    return count
  }

  /// The thread that serves this device, as an executor for tasks that do little else than call it.
  ///
  /// A caller whose task prefers it (`withTaskExecutorPreference`) is spared two thread hand-overs a call, the larger
  /// part of a call's cost in a busy server. What runs there keeps the devices waiting: never block it, and do no long
  /// computations. Nil when the transport has no such thread.
  public func executor(for device: String) -> (any TaskExecutor)? {
    let executors = transport.callerExecutors
    return executors.isEmpty ? nil : executors[directory.number(of: device)]
  }

  func info(of device: String) async -> DeviceInfo? {
    await directory.home(of: device).device(device)
  }

  /// Performs a call and returns whatever the device answered, also a status other than OK.
  ///
  /// - Throws: every case of `CallError` but `refused` and `unreadableResult`.
  nonisolated(nonsending) public func perform(_ call: Call, on device: String) async throws(CallError) -> CallResult {
    try await directory.home(of: device).perform(call, on: device).get()
  }

  /// The same, for a caller who wants the id of the call also when it fails: `slot` has it then.
  nonisolated(nonsending) package func perform(
    _ call: Call, on device: String, slot: CallSlot
  ) async throws(CallError) -> CallResult {
    try await directory.home(of: device).perform(call, on: device, slot).get()
  }

  /// When each device was last heard, of those that were within `age`.
  package func heard(within age: Duration) async -> [String: Date] {
    var all: [String: Date] = [:]
    for loop in directory.loops { all.merge(await loop.heard(within: age)) { max($0, $1) } }
    return all
  }

  /// What happens from now on, until the subscriber's task or the server ends. Each subscriber has a buffer of
  /// `Limits.bufferedEvents`; of what it does not read, the oldest is dropped.
  public func events() -> AsyncStream<DeviceEvent> { hub.subscribe() }
}
