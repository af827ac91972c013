internal import DequeModule
internal import FoundationEssentials
internal import Logging
internal import Metrics

/// The devices of one loop, and the calls to them. The actor's executor is the thread of the loop.
package actor DeviceLoop {
  nonisolated package let driver: any LoopDriver
  nonisolated package var unownedExecutor: UnownedSerialExecutor { driver.asUnownedSerialExecutor() }

  typealias Outcome = Result<CallResult, CallError>
  typealias Pending = PendingCalls<DeviceState, CallCompletion>

  let limits: Limits
  nonisolated package let peerLog: PeerLog
  nonisolated var log: Logger { peerLog.log }
  let hub: Hub<DeviceEvent>
  let metrics: ServerMetrics
  nonisolated let tracing = CallTracing()
  // The longest duration used: in practice unlimited, and its sum with any time of the clock fits every representation.
  private static let century = Duration.seconds(100 * 365 * 86_400)
  // The wall clock at zero of the loop's clock; set by `lookAtWallClock()`.
  var epoch: Date
  var pending: Pending
  var history: CallHistory
  var waiters = CallWaiters<UnsafeContinuation<Look, Never>>()
  var waitAlarm: (any LoopAlarm)?
  var waitAlarmDeadline: Duration?
  // What the ids of calls are made of: of which server they are, and milliseconds since 1970 at zero of the loop's clock. Both
  // stay the same, so that a call keeps its id when the wall clock is set.
  let instance: UInt64
  let idEpoch: Int64
  var devices: [String: DeviceRecord] = [:]
  var onlineCount = 0
  // Those of them that are quiet.
  var quietCount = 0
  // Names that have never connected, for which calls wait.
  var unseenCount = 0
  var absent: Deque<(device: DeviceRecord, since: Duration)> = []
  var watched = PresenceQueue()
  /// The number of probes under way.
  var probing = 0
  // Devices that cannot be reached, oldest first, and how many links are kept for them.
  var unreachable: Deque<(record: DeviceRecord, since: Duration)> = []
  var keptLinks = 0
  var replacements = Replacements()
  // Nil when no calls are kept.
  let kept: LoopJournal?
  var presenceAlarm: (any LoopAlarm)?
  var presenceDue: Duration?
  private var alarm: (any LoopAlarm)?
  private var alarmDeadline: Duration?
  var isEnding = false
  // The links of all devices were ended at shutdown.
  var hasParted = false
  private var drainDeadline: Duration?
  private var drainers: [UnsafeContinuation<Void, Never>] = []

  init(
    driver: any LoopDriver, firstSerial: UInt32, step: UInt32, instance: UInt64, limits: Limits, log: PeerLog,
    hub: Hub<DeviceEvent>, metrics: ServerMetrics, journal: (any CallJournal)? = nil
  ) {
    self.driver = driver
    var limits = limits
    limits.longestTimeout = min(max(limits.longestTimeout, .zero), Self.century)
    limits.grace = min(max(limits.grace, .zero), Self.century)
    limits.probeInterval = limits.probeInterval.flatMap { $0 > .zero ? min($0, Self.century) : nil }
    limits.unansweredProbes = max(1, limits.unansweredProbes)
    limits.unreachableTime = min(max(limits.unreachableTime, .zero), Self.century)
    self.limits = limits
    peerLog = log
    self.hub = hub
    self.metrics = metrics
    epoch = driver.date.addingTimeInterval(-driver.now.seconds)
    pending = PendingCalls(firstSerial: firstSerial, step: step)
    history = CallHistory(
      limit: limits.endedCalls, limitPerDevice: limits.endedCallsPerDevice, byteLimit: limits.endedCallBytes)
    kept = journal.map { LoopJournal($0, pacing: limits.pacing) }
    self.instance = instance
    idEpoch = Int64(epoch.timeIntervalSince1970 * 1_000)
    if metrics.areCollected { driver.measurePasses { [pass = metrics.loopPass] in pass.recordNanoseconds($0) } }
  }

  // MARK: Calls

  /// Costs one hop to the loop, and one back when the call ends: `nonsending` avoids the hops to and from the global executor.
  nonisolated(nonsending) func perform(_ call: Call, on name: String, _ slot: CallSlot = CallSlot()) async -> Outcome {
    if Task.isCancelled { return .failure(.cancelled(.notSent)) }
    let trace = tracing.begin(call, on: name)
    return await withTaskCancellationHandler {
      // Unchecked, since the table ends each call exactly once.
      await withUnsafeContinuation { continuation in
        if driver.isCurrent {
          onLoop { $0.begin(call, on: name, slot, CallCompletion(caller: continuation, trace: trace)) }
        } else {
          driver.execute { self.onLoop { $0.begin(call, on: name, slot, CallCompletion(caller: continuation, trace: trace)) } }
        }
      }
    } onCancel: {
      driver.execute { self.assumeIsolated { $0.cancel(slot) } }
    }
  }

  private func begin(
    _ call: consuming Call, on name: String, _ slot: CallSlot, _ completion: CallCompletion
  ) {
    do throws(CallError) {
      if slot.isCancelled { throw .cancelled(.notSent) }
      try enter(call, on: name, completion) { slot.serial = $0 }
    } catch {
      noteRefused(completion, error)
      completion.caller?.resume(returning: .failure(error))
    }
  }

  /// A call was refused before it was entered.
  func noteRefused(_ completion: CallCompletion, _ error: CallError) {
    metrics.count(.failure(error))
    completion.trace?.refused(error, at: driver.date)
  }

  /// Checks a call and enters it in the table. `entered` gets its number before it can have ended. Throws when the call is refused,
  /// which then has no number, and whose completion is not used.
  func enter(
    _ call: consuming Call, on name: String, _ completion: CallCompletion, entered: (UInt32) -> Void
  ) throws(CallError) {
    let now = driver.now
    if isEnding { throw .shuttingDown(.notSent) }
    let wait = min(max(call.wait, .zero), limits.longestTimeout)
    let known = devices[name]
    let link = known?.device.link
    if link == nil && wait == .zero { throw absence(of: name) }
    // No device can connect with such a name.
    if known == nil, DeviceName.problem(with: name, longest: limits.deviceName) != nil { throw .unknownDevice(name) }
    guard pending.count < limits.calls else {
      throw .limitExceeded("\(limits.calls) calls are under way, as many as this server takes")
    }
    guard known?.openCalls ?? 0 < limits.callsPerDevice else {
      throw .limitExceeded("\(limits.callsPerDevice) calls to \(name) are under way, as many as it may have")
    }
    guard let device = known ?? makeDevice(name, now: now) else {
      throw .limitExceeded("\(limits.devices) devices are known, as many as this server remembers")
    }
    let serial = reserveSerial()
    let id = Pending.id(method: call.method, serial: serial)
    if call.wait != wait { call.wait = wait }
    // A call that cannot be encoded is refused at once, before it waits for its turn.
    let payload = try link?.encode(call, id: id)
    let timeout = min(max(call.timeout ?? limits.defaultTimeout, .zero), limits.longestTimeout)
    entered(serial)
    let entry = pending.add(
      serial, id: id, call, to: device, payload: payload, timeout: timeout, completion: completion, now: now)
    pump(device, now: now)
    if entry.sent == nil { hub.send(.callQueued(info(entry))) }
    if alarmDeadline.map({ entry.nextAlarm < $0 }) ?? true { updateAlarm() }
  }

  /// A number for a new call, which no persistent call has.
  func reserveSerial() -> UInt32 {
    var serial = pending.reserve()
    while kept?.isTaken(serial) == true { serial = pending.reserve() }
    return serial
  }

  func pump(_ device: DeviceRecord, now: Duration) {
    guard device.hasWaiting, device.device.isReady, let link = device.device.link else { return }
    let acknowledgement = link.acknowledgement
    if device.device.isProbing, acknowledgement == .each { return }
    while let entry = pending.nextToSend(device, window: link.window, unanswered: link.unansweredWindow), link.takesCalls {
      do throws(CallError) {
        let payload: [UInt8]
        if let encoded = entry.payload { payload = encoded } else { payload = try link.encode(entry.call, id: entry.id) }
        noteSent(entry, acknowledgement, now: now)
        link.transmit(payload, serial: entry.serial)
        if acknowledgement == .ping, entry.call.isOneWay { link.confirm(entry.serial) }
      } catch {
        finish(entry.serial, .failure(error))
      }
    }
    if acknowledgement == .ping { updateAlarm() }
  }

  func noteSent(_ entry: Pending.Entry, _ acknowledgement: Acknowledgement, now: Duration) {
    pending.sent(entry, acknowledgement, now: now)
    metrics.callsSent.increment()
    hub.send(.callSent(info(entry)))
  }

  func finish(_ serial: UInt32, _ outcome: Outcome) {
    guard let entry = pending.end(serial) else { return }
    complete(entry, outcome)
    forgetIfOnlyCalled(entry.lane)
  }

  func complete(_ entry: Pending.Entry, _ outcome: Outcome) {
    if let persistent = entry.completion.persistent {
      attemptEnded(persistent, outcome)
    } else {
      metrics.count(outcome)
      hub.send(.callEnded(info(entry, outcome, ended: driver.now)))
      // Before anybody learns of the end, who may end the trace.
      if let trace = entry.completion.trace { trace.record(info(entry, outcome, ended: driver.now)) }
      note(entry, outcome)
      entry.completion.caller?.resume(returning: outcome)
    }
    if isEnding, pending.isEmpty { finishDraining() }
  }

  private func cancel(_ slot: CallSlot) {
    slot.isCancelled = true
    guard let serial = slot.serial, let entry = pending[serial] else { return }
    let device = entry.lane
    finish(serial, .failure(.cancelled(entry.delivery)))
    pump(device, now: driver.now)
  }

  private func expire() {
    alarmDeadline = nil
    let now = driver.now
    let expired = pending.expire(now: now) { $0.lane.device.link?.confirm($0.serial) }
    for (entry, wasReachable) in expired { complete(entry, .failure(timeout(of: entry, wasReachable, now: now))) }
    // The end of a call that was sent makes room for the next one.
    for (entry, _) in expired { pump(entry.lane, now: now) }
    // Only after the loops above: other calls of the same device may still have needed its record.
    for (entry, _) in expired { forgetIfOnlyCalled(entry.lane) }
    if let drainDeadline, drainDeadline <= now { finishDraining() }
    updateAlarm()
  }

  private func timeout(of entry: Pending.Entry, _ wasReachable: Bool, now: Duration) -> CallError {
    let name = entry.lane.device.name
    let after = now - (entry.sent ?? entry.started)
    switch entry.delivery {
    case .delivered, .refused: return .unanswered(device: name, after: entry.timeout)
    case .unreadable: return .garbled(device: name, reason: entry.problem ?? "malformed")
    case .sentNoAck where entry.isAcknowledgeable:
      return .undelivered(device: name, reason: entry.problem ?? "no acknowledgement seen within \(after.readable)")
    case .sentNoAck: return .unconfirmed(device: name, after: after)
    case .notSent where entry.lane.device.isProbing:
      return .notSent(device: name, reason: "it has not answered a ping that was sent before for \(after.readable)")
    case .notSent where entry.lane.device.link?.takesCalls == false:
      return .notSent(device: name, reason: "it has not asked for a call within \(after.readable)")
    case .notSent where wasReachable:
      return .notSent(device: name, reason: "its turn behind other calls did not come within \(after.readable)")
    case .notSent: return absence(of: name)
    }
  }

  func updateAlarm() {
    var next = pending.nextDeadline()
    if let drainDeadline { next = min(next ?? drainDeadline, drainDeadline) }
    guard next != alarmDeadline else { return }
    if alarm == nil {
      // A strong reference until `close()`: a weak reference to the actor would make each use of it twice as expensive.
      alarm = driver.makeAlarm { self.assumeIsolated { $0.expire() } }
    }
    alarmDeadline = next
    alarm?.set(next)
  }

  // MARK: Shutdown

  /// Refuses new calls, and returns when the open ones have ended. Those that are open after `grace` fail.
  func drain(_ grace: Duration) async {
    isEnding = true
    if !pending.isEmpty {
      drainDeadline = driver.now + grace
      updateAlarm()
      await withUnsafeContinuation { drainers.append($0) }
    }
    await writeRest()
  }

  private func finishDraining() {
    drainDeadline = nil
    for entry in pending.endAll() { complete(entry, .failure(.shuttingDown(entry.delivery))) }
    let waiting = drainers
    drainers = []
    for drainer in waiting { drainer.resume() }
  }

  /// Ends the observations of all devices, each with a notification, and refuses new ones.
  ///
  /// Called after the last call has ended, since results come over the sockets, and before the transport closes the sockets.
  func part() {
    isEnding = true
    hasParted = true
    let reason = "the server is shutting down"
    for record in devices.values {
      guard let link = record.device.link ?? takeKept(of: record) else { continue }
      unobserved(link, reason: reason)
      link.end(reason)
    }
  }

  func close() {
    isEnding = true
    hasParted = true
    finishDraining()
    letAllGo()
    alarm?.cancel()
    alarm = nil
    presenceAlarm?.cancel()
    presenceAlarm = nil
    waitAlarm?.cancel()
    waitAlarm = nil
    kept?.close()
    history.removeAll()
    watched = PresenceQueue()
  }
}
