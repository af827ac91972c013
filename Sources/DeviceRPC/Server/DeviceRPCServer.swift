package import FoundationEssentials
package import Logging
public import ServiceLifecycle
internal import Synchronization

/// A server that calls functions on devices.
///
/// Devices connect through a transport, which `DeviceRPCCoAP` provides. `device(_:)` returns a handle to call one of them. Run
/// the server as a `Service` in a `ServiceGroup`, or call `start()` and `shutdown()`. All methods may be called from any task or
/// thread, at any time.
///
/// It has metrics, through swift-metrics, and traces, through swift-distributed-tracing: see <doc:Operating>. Bootstrap both before
/// the server is created.
public final class DeviceRPCServer: Service {
  /// The limits with which the server was created.
  public let limits: Limits

  private let transport: any DeviceTransport
  package let directory: DeviceDirectory
  let log: Logger
  private let hub: Hub<DeviceEvent>
  let journal: (any CallJournal)?
  private let metrics = ServerMetrics()
  private let life = Mutex(Life())
  // Reads the journal until that succeeds; nil where it did at once.
  private let loading = Mutex<Task<Void, any Error>?>(nil)

  private struct Life {
    enum Phase { case idle, starting, running, ending, ended }
    var phase = Phase.idle
    // Callers that wait for the end of `starting` or `ending`.
    var waiters: [CheckedContinuation<Void, Never>] = []
  }

  /// - Parameter firstSerial: the number in the id of the first call. It is random by default, so that a late result from
  ///   before a restart matches no call.
  package init(
    transport: any DeviceTransport, limits: Limits, log: Logger, journal: (any CallJournal)? = InMemoryCallJournal(),
    firstSerial: UInt32 = .random(in: 0x1000...0xffff)
  ) {
    self.transport = transport
    self.limits = limits
    self.log = log
    self.journal = journal
    hub = Hub<DeviceEvent>(buffered: limits.bufferedEvents)
    let metrics = metrics
    let drivers = transport.drivers
    let instance = UInt64.random(in: 0...CallID.instanceBits)
    let step = UInt32(drivers.count)
    let hub = hub
    let peerLog = PeerLog(log)
    // Each loop gives numbers that are congruent to its own number modulo the number of loops, so that an id identifies its loop.
    let first = drivers.count == 1 ? firstSerial : firstSerial - firstSerial % step
    directory = DeviceDirectory(
      requests: DeviceRequests(limits: limits, log: log),
      loops: drivers.enumerated().map { number, driver in
        DeviceLoop(
          driver: driver, firstSerial: first + UInt32(number), step: step, instance: instance, limits: limits, log: peerLog,
          hub: hub, metrics: metrics, journal: journal)
      })
  }

  /// The addresses where devices connect, such as `coap://127.0.0.1:5683`; empty before `start()`.
  public var addresses: [String] { transport.addresses }

  /// Starts listening, and returns when devices can connect. Does nothing if the server has been started or shut down before.
  ///
  /// - Throws: the transport's error, such as an address that is in use. `start()` may then be called again.
  public func start() async throws {
    guard await enter(.starting, from: [.idle]) else { return }
    do {
      await load()
      try await transport.start(directory)
    } catch {
      leave(to: .idle)
      throw error
    }
    leave(to: .running)
    log.info("listening", metadata: ["addresses": "\(addresses.joined(separator: ", "))"])
  }

  /// Has the loops know the calls that were open when the last server with this journal ended, before their devices connect.
  ///
  /// When they cannot be read, new ones are refused, and it is tried again: a damaged disk must not keep devices away.
  private func load() async {
    guard let journal, loading.withLock({ $0 == nil }) else { return }
    do throws(CallJournalError) {
      try await load(journal)
    } catch {
      log.error("cannot read the journal of calls; persistent calls are refused until it can be read", metadata: ["error": "\(error)"])
      for loop in directory.loops { await loop.noteUnreadable(error) }
      let task = Task {
        while true {
          try await Task.sleep(for: .seconds(5))
          guard let _ = try? await self.load(journal) else { continue }
          return self.log.notice("the journal of calls can be read again")
        }
      }
      loading.withLock { $0 = task }
    }
  }

  private func load(_ journal: any CallJournal) async throws(CallJournalError) {
    let calls = try await journal.openCalls()
    for (number, loop) in directory.loops.enumerated() {
      let own = calls.filter { directory.number(of: $0.device) == number }
      // Each loop gives numbers of its own, which calls of other loops' devices may have from when there were more or fewer.
      let taken = calls.filter { Int($0.id.serial) % directory.loops.count == number && directory.number(of: $0.device) != number }
      await loop.load(own, taken: taken.map { ($0.id.serial, directory.home(of: $0.device)) })
    }
    if !calls.isEmpty { log.info("open calls in the journal", metadata: ["calls": "\(calls.count)"]) }
  }

  /// Enters a phase that takes time, after waiting for the end of such a phase that is under way. Returns false if the current
  /// phase is not in `allowed`.
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

  /// Starts the server, waits for a graceful shutdown or for the task's cancellation, and shuts the server down.
  ///
  /// - Throws: what `start()` throws.
  public func run() async throws {
    do {
      try await start()
      await withTaskGroup { group in
        if metrics.areCollected { group.addTask { await self.recordRepeatedly() } }
        try? await gracefulShutdown()
        group.cancelAll()
      }
    } catch {
      await shutdown()
      throw error
    }
    await shutdown()
  }

  // For those who are sent metrics, and so do not ask for them.
  private func recordRepeatedly() async {
    while !Task.isCancelled {
      await recordMetrics()
      try? await Task.sleep(for: .seconds(10))
    }
  }

  /// Sets the metrics that say how things are at a moment: devices by state, open calls, packets.
  ///
  /// `run()` does it every 10 s. Call it where metrics are asked for, as `/metrics` does, and from a timer of your own if the
  /// server was started with `start()`.
  public func recordMetrics() async {
    let sample = await sample()
    metrics.record(sample.status, sample.transport)
  }

  /// How things are: how many devices and calls there are, and how full the tables are.
  public func status() async -> ServerStatus { await sample().status }

  private func sample() async -> (status: ServerStatus, transport: TransportCounts) {
    var all = (status: ServerStatus(), transport: TransportCounts())
    for loop in directory.loops {
      let (status, transport) = await loop.sample
      all.status.add(status)
      all.transport.add(transport)
    }
    return all
  }

  /// Why persistent calls cannot be kept at the moment; nil when they can, and when there is no journal.
  public func journalProblem() async -> CallJournalError? {
    for loop in directory.loops { if let problem = await loop.loadProblem { return problem } }
    return await journal?.problem()
  }

  /// Shuts the server down, and returns when all sockets are closed.
  ///
  /// New calls fail with `CallError.shuttingDown`. Open calls have `Limits.grace` to end, and then fail with that error too. Each
  /// device gets a last notification, 5.03 (RFC 7641 §4.2). Further calls of this method only wait for the end of the first.
  public func shutdown() async {
    guard await enter(.ending, from: [.idle, .running]) else { return }
    loading.withLock { $0?.cancel() }
    directory.requests.close()
    await withTaskGroup { group in
      for loop in directory.loops { group.addTask { await loop.drain(self.limits.grace) } }
    }
    for loop in directory.loops { await loop.part() }
    // Results that have come since.
    for loop in directory.loops { await loop.writeRest() }
    await transport.close()
    for loop in directory.loops { await loop.close() }
    hub.finish()
    leave(to: .ended)
    log.info("closed")
  }

  // MARK: Devices and calls

  /// Returns a handle to call the device of this name, whether or not it is connected.
  public func device(_ name: String) -> Device { Device(name: name, server: self) }

  /// Returns all devices that the server remembers, sorted by name.
  public func devices() async -> [DeviceInfo] { await devices(DeviceQuery()) }

  /// Returns the number of connected devices.
  public func onlineDevices() async -> Int {
    var count = 0
    for loop in directory.loops { count += await loop.onlineDevices }
    return count
  }

  /// Returns the thread that serves this device, as an executor for tasks that do little besides calling the device.
  ///
  /// A caller whose task prefers this executor (`withTaskExecutorPreference`) saves two thread switches per call, which are the
  /// larger part of a call's cost in a busy server. What runs there delays the devices of that thread: never block it, and do no
  /// long computations on it. Nil when the transport offers no such executors.
  public func executor(for device: String) -> (any TaskExecutor)? {
    let executors = transport.callerExecutors
    return executors.isEmpty ? nil : executors[directory.number(of: device)]
  }

  /// Performs a call and returns the device's answer, also with a status other than OK.
  ///
  /// - Throws: every case of `CallError` except `refused` and `unreadableResult`.
  nonisolated(nonsending) public func perform(_ call: Call, on device: String) async throws(CallError) -> CallResult {
    try await directory.home(of: device).perform(call, on: device).get()
  }

  /// The same, for a caller that needs the id of the call also when it fails: `slot` contains it then.
  nonisolated(nonsending) package func perform(
    _ call: Call, on device: String, slot: CallSlot
  ) async throws(CallError) -> CallResult {
    try await directory.home(of: device).perform(call, on: device, slot).get()
  }

  /// Returns when each device was last heard, for the devices that were heard within `age`.
  package func heard(within age: Duration) async -> [String: Date] {
    var all: [String: Date] = [:]
    for loop in directory.loops { all.merge(await loop.heard(within: age)) { max($0, $1) } }
    return all
  }

  /// Returns a stream of the events from now on. It ends with the subscriber's task or with the server.
  ///
  /// Each subscriber has a buffer of `Limits.bufferedEvents`. When the buffer is full, the oldest event is dropped.
  public func events() -> AsyncStream<DeviceEvent> { hub.subscribe() }

  public func events(onLoss: @escaping @Sendable () -> Void) -> AsyncStream<DeviceEvent> { hub.subscribe(onDrop: onLoss) }
}
