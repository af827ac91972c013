internal import DequeModule
internal import FoundationEssentials
internal import Logging
internal import Metrics

/// The devices whose home is one loop, and the calls to them. Its executor is the loop's thread.
package actor DeviceLoop {
  nonisolated package let driver: any LoopDriver
  nonisolated package var unownedExecutor: UnownedSerialExecutor { driver.asUnownedSerialExecutor() }

  typealias Outcome = Result<CallResult, CallError>
  private typealias Pending = PendingCalls<DeviceState, UnsafeContinuation<Outcome, Never>>

  private let limits: Limits
  private let log: Logger
  private let hub: EventHub
  private let metrics: ServerMetrics
  // Longer is as good as for ever, and the sum with any time of the clock fits every representation.
  private static let century = Duration.seconds(100 * 365 * 86_400)
  // The wall clock at zero of the loop's clock.
  private let epoch: Date
  private var pending: Pending
  private var devices: [String: DeviceRecord] = [:]
  private var onlineCount = 0
  private var absent: Deque<(device: DeviceRecord, since: Duration)> = []
  private var alarm: (any LoopAlarm)?
  private var alarmDeadline: Duration?
  private var isEnding = false
  private var drainDeadline: Duration?
  private var drainers: [UnsafeContinuation<Void, Never>] = []

  init(
    driver: any LoopDriver, firstSerial: UInt32, step: UInt32, limits: Limits, log: Logger, hub: EventHub,
    metrics: ServerMetrics
  ) {
    self.driver = driver
    var limits = limits
    limits.longestTimeout = min(max(limits.longestTimeout, .zero), Self.century)
    limits.grace = min(max(limits.grace, .zero), Self.century)
    self.limits = limits
    self.log = log
    self.hub = hub
    self.metrics = metrics
    epoch = Date().addingTimeInterval(-driver.now.seconds)
    pending = PendingCalls(firstSerial: firstSerial, step: step)
  }

  // MARK: Calls

  /// One hop to the loop, and one back when the call ends: `nonsending` spares those to and from nowhere.
  nonisolated(nonsending) func perform(_ call: Call, on name: String) async -> Outcome {
    if Task.isCancelled { return .failure(.cancelled(.notSent)) }
    let slot = CallSlot()
    return await withTaskCancellationHandler {
      // The table ends each call exactly once, which is what a checked continuation would watch over.
      await withUnsafeContinuation { continuation in
        if driver.isCurrent {
          onLoop { $0.begin(call, on: name, slot, continuation) }
        } else {
          driver.execute { self.onLoop { $0.begin(call, on: name, slot, continuation) } }
        }
      }
    } onCancel: {
      driver.execute { self.assumeIsolated { $0.cancel(slot) } }
    }
  }

  private func begin(
    _ call: consuming Call, on name: String, _ slot: CallSlot, _ completion: UnsafeContinuation<Outcome, Never>
  ) {
    let now = driver.now
    do throws(CallError) {
      if isEnding { throw .shuttingDown(.notSent) }
      if slot.isCancelled { throw .cancelled(.notSent) }
      let wait = min(max(call.wait, .zero), limits.longestTimeout)
      let known = devices[name]
      if known?.device.link == nil && wait == .zero { throw absence(of: name) }
      // No device can ever have such a name.
      if name.utf8.count > limits.deviceName { throw .unknownDevice(name) }
      guard pending.count < limits.calls else {
        throw .limitExceeded("\(limits.calls) calls are under way, as many as this server takes")
      }
      guard known?.openCalls ?? 0 < limits.callsPerDevice else {
        throw .limitExceeded("\(limits.callsPerDevice) calls to \(name) are under way, as many as it may have")
      }
      guard let device = known ?? makeDevice(name, now: now) else {
        throw .limitExceeded("\(limits.devices) devices are known, as many as this server remembers")
      }
      let serial = pending.reserve()
      let id = Pending.id(method: call.method, serial: serial)
      if call.wait != wait { call.wait = wait }
      // What cannot be sent is refused before it waits for its turn.
      let payload = try device.device.link?.encode(call, id: id)
      let timeout = min(max(call.timeout ?? limits.defaultTimeout, .zero), limits.longestTimeout)
      slot.serial = serial
      let entry = pending.add(
        serial, id: id, call, to: device, payload: payload, timeout: timeout, completion: completion, now: now)
      pump(device, now: now)
      if entry.sent == nil { hub.send(.callQueued(id: id, device: name, call: call)) }
      if alarmDeadline.map({ entry.deadline < $0 }) ?? true { updateAlarm() }
    } catch {
      completion.resume(returning: .failure(error))
    }
  }

  private func pump(_ device: DeviceRecord, now: Duration) {
    guard device.hasWaiting, device.device.isReady, let link = device.device.link else { return }
    while let entry = pending.nextToSend(device, window: link.window) {
      do throws(CallError) {
        let payload: [UInt8]
        if let encoded = entry.payload { payload = encoded } else { payload = try link.encode(entry.call, id: entry.id) }
        noteSent(entry, now: now)
        link.transmit(payload, serial: entry.serial)
      } catch {
        finish(entry.serial, .failure(error))
      }
    }
  }

  private func noteSent(_ entry: Pending.Entry, isSettled: Bool = false, now: Duration) {
    pending.sent(entry, isSettled: isSettled, now: now)
    metrics.callsSent.increment()
    hub.send(.callSent(id: entry.id, device: entry.lane.device.name, call: entry.call))
  }

  private func finish(_ serial: UInt32, _ outcome: Outcome) {
    guard let entry = pending.end(serial) else { return }
    complete(entry, outcome)
    forgetIfOnlyCalled(entry.lane)
  }

  private func complete(_ entry: Pending.Entry, _ outcome: Outcome) {
    switch outcome {
    case .success(let result):
      metrics.callsAnswered.increment()
      metrics.roundTrip.recordNanoseconds(Int64(clamping: result.roundTrip.nanoseconds))
    case .failure: metrics.callsFailed.increment()
    }
    hub.send(.callEnded(id: entry.id, device: entry.lane.device.name, outcome: CallOutcome(outcome)))
    entry.completion.resume(returning: outcome)
    if isEnding, pending.isEmpty { finishDraining() }
  }

  private func cancel(_ slot: CallSlot) {
    slot.isCancelled = true
    guard let serial = slot.serial, let entry = pending[serial] else { return }
    finish(serial, .failure(.cancelled(entry.delivery)))
  }

  private func expire() {
    alarmDeadline = nil
    let now = driver.now
    let expired = pending.expire(now: now)
    for (entry, wasReachable) in expired {
      let name = entry.lane.device.name
      let after = now - (entry.sent ?? entry.started)
      let error: CallError =
        switch entry.delivery {
        case .delivered: .unanswered(device: name, after: entry.timeout)
        case .sent: .undelivered(device: name, reason: "no acknowledgement within \(after.readable)")
        case .notSent where wasReachable: .notSent(device: name, after: after)
        case .notSent: absence(of: name)
        }
      complete(entry, .failure(error))
    }
    // Not before: other calls of the same device may still have needed its name.
    for (entry, _) in expired { forgetIfOnlyCalled(entry.lane) }
    if let drainDeadline, drainDeadline <= now { finishDraining() }
    updateAlarm()
  }

  private func updateAlarm() {
    var next = pending.nextDeadline()
    if let drainDeadline { next = min(next ?? drainDeadline, drainDeadline) }
    guard next != alarmDeadline else { return }
    if alarm == nil {
      // Strong until `close()`: a weak reference to the actor would make each use of it twice as dear.
      alarm = driver.makeAlarm { self.assumeIsolated { $0.expire() } }
    }
    alarmDeadline = next
    alarm?.set(next)
  }

  // MARK: What the transport tells

  /// A device has opened a link, in place of any other it had. False when the server has no room for another device.
  ///
  /// Say `ready(_:)` when calls may go out on it.
  package func observed(_ name: String, on link: any DeviceLink) -> Bool {
    let now = driver.now
    guard let record = devices[name] ?? makeDevice(name, now: now) else { return false }
    let earlier = record.device.link
    link.record = record
    record.device.link = link
    record.device.isReady = false
    record.device.firstSeen = record.device.firstSeen ?? now
    record.device.lastHeard = now
    record.device.absence = nil
    if earlier == nil {
      onlineCount += 1
      metrics.devicesOnline.increment()
    }
    if let earlier, earlier !== link { earlier.replaced() }
    log.debug("device online", metadata: ["device": "\(name)", "address": "\(link.address)"])
    hub.send(.online(info(record)))
    pending.open(record, now: now)
    updateAlarm()
    return true
  }

  /// Calls that wait for the device may leave on this link, unless it has another one by now.
  package func ready(_ link: any DeviceLink) {
    guard let record = link.record, record.device.link === link else { return }
    record.device.isReady = true
    pump(record, now: driver.now)
  }

  /// A link has ended. It means nothing if the device has another one by now.
  package func unobserved(_ link: any DeviceLink, reason: String) {
    guard let record = link.record, record.device.link === link else { return }
    let now = driver.now
    record.device.lastHeard = max(record.device.lastHeard, link.lastHeard)
    record.device.link = nil
    record.device.absence = .init(since: now, address: link.address, dialect: link.dialect)
    noteAbsent(record, since: now)
    onlineCount -= 1
    metrics.devicesOnline.decrement()
    let name = record.device.name
    for entry in pending.close(record, now: now) { complete(entry, .failure(.offline(name))) }
    log.debug("device offline", metadata: ["device": "\(name)", "reason": "\(reason)"])
    hub.send(.offline(info(record), reason: reason))
    updateAlarm()
  }

  /// The message that carried a call has reached the device.
  package func acknowledged(_ serial: UInt32, on link: any DeviceLink) {
    guard let record = link.record else { return }
    let now = driver.now
    if let entry = pending.settled(serial, on: record, isDelivered: true), entry.call.isOneWay {
      finish(serial, .success(result(of: entry, .ok, nil, now: now)))
    }
    pump(record, now: now)
  }

  /// The message that carried a call will never reach the device. Say `unobserved` too when the link is gone.
  package func failed(_ serial: UInt32, on link: any DeviceLink, reason: String) {
    guard let record = link.record else { return }
    pending.settled(serial, on: record, isDelivered: false)
    finish(serial, .failure(.undelivered(device: record.device.name, reason: reason)))
    pump(record, now: driver.now)
  }

  /// A result has arrived, from `name` if the sender is known to be a device. Whatever becomes of it, the sender gets
  /// a success: it must not send the result again.
  package func received(id: String, status: RPCStatus, detail: RPCValue?, from name: String?) {
    let record = name.flatMap { devices[$0] }
    // A known name that is no device of ours cannot have been called.
    if name != nil && record == nil { return noteStray(id, name, isLate: false) }
    received(id: id, status: status, detail: detail, from: record)
  }

  /// A result has arrived on a link of the device that sent it.
  package func received(id: String, status: RPCStatus, detail: RPCValue?, on link: any DeviceLink) {
    received(id: id, status: status, detail: detail, from: link.record)
  }

  private func received(id: String, status: RPCStatus, detail: RPCValue?, from record: DeviceRecord?) {
    switch pending.result(id: id, from: record) {
    case .call(let entry):
      let now = driver.now
      entry.lane.device.lastHeard = now
      // That it was delivered is all that a one-way call asks, whichever of the two packets tells it.
      let isOneWay = entry.call.isOneWay
      complete(entry, .success(result(of: entry, isOneWay ? .ok : status, isOneWay ? nil : detail, now: now)))
      pump(entry.lane, now: now)
    case .ended: noteStray(id, record?.device.name, isLate: true)
    case .unknown: noteStray(id, record?.device.name, isLate: false)
    }
  }

  private func noteStray(_ id: String, _ name: String?, isLate: Bool) {
    metrics.strayResults.increment()
    log.debug(
      isLate ? "late or repeated result" : "result of an unknown call",
      metadata: ["id": "\(id)", "device": "\(name ?? "not known")"])
    hub.send(.strayResult(id: id, device: name, isLate: isLate))
  }

  /// The oldest call that waits for a device which asks for it; `encode` is tried until one can be sent.
  package func poll(_ name: String, encode: (Call, String) throws(CallError) -> [UInt8]) -> [UInt8]? {
    let now = driver.now
    guard let record = devices[name] else { return nil }
    record.device.firstSeen = record.device.firstSeen ?? now
    record.device.lastHeard = now
    while let entry = pending.oldestWaiting(record) {
      do throws(CallError) {
        let payload = try encode(entry.call, entry.id)
        noteSent(entry, isSettled: true, now: now)
        updateAlarm()
        return payload
      } catch {
        finish(entry.serial, .failure(error))
      }
    }
    return nil
  }

  private func result(
    of entry: Pending.Entry, _ status: RPCStatus, _ detail: RPCValue?, now: Duration
  ) -> CallResult {
    CallResult(
      id: entry.id, device: entry.lane.device.name, method: entry.call.method, status: status, detail: detail,
      roundTrip: now - (entry.sent ?? entry.started))
  }

  // MARK: Devices

  private func makeDevice(_ name: String, now: Duration) -> DeviceRecord? {
    if devices.count >= limits.devices, !forgetLongestAbsent() {
      log.warning("no room for another device", metadata: ["device": "\(name)", "limit": "\(limits.devices)"])
      return nil
    }
    let record = DeviceRecord(DeviceState(name: name, now: now))
    devices[name] = record
    noteAbsent(record, since: now)
    return record
  }

  private func noteAbsent(_ record: DeviceRecord, since now: Duration) {
    absent.append((record, now))
    // A device that comes and goes leaves an entry each time.
    if absent.count > 2 * devices.count + 64 { absent = Deque(absent.filter { isAbsent($0.device, since: $0.since) }) }
  }

  private func isAbsent(_ record: DeviceRecord, since: Duration) -> Bool {
    record.device.absence?.since == since && devices[record.device.name] === record
  }

  private func forgetIfOnlyCalled(_ record: DeviceRecord) {
    let name = record.device.name
    if record.device.firstSeen == nil, record.openCalls == 0, devices[name] === record { devices[name] = nil }
  }

  private func absence(of name: String) -> CallError {
    devices[name]?.device.firstSeen == nil ? .unknownDevice(name) : .offline(name)
  }

  private func forgetLongestAbsent() -> Bool {
    for _ in 0..<absent.count {
      guard let (record, since) = absent.popFirst() else { break }
      guard isAbsent(record, since: since) else { continue }
      if record.openCalls > 0 {
        absent.append((record, since))
        continue
      }
      devices[record.device.name] = nil
      return true
    }
    return false
  }

  private func info(_ record: DeviceRecord) -> DeviceInfo {
    let device = record.device
    let heard = max(device.lastHeard, device.link?.lastHeard ?? .zero)
    return DeviceInfo(
      name: device.name, isOnline: device.link != nil,
      address: device.link?.address ?? device.absence?.address,
      dialect: device.link?.dialect ?? device.absence?.dialect,
      firstSeen: epoch.addingTimeInterval((device.firstSeen ?? heard).seconds),
      lastHeard: epoch.addingTimeInterval(heard.seconds), openCalls: record.openCalls)
  }

  func allDevices() -> [DeviceInfo] { devices.values.filter { $0.device.firstSeen != nil }.map(info) }
  func device(_ name: String) -> DeviceInfo? { devices[name].map(info) }
  var onlineDevices: Int { onlineCount }

  // MARK: The end

  /// Takes no new calls, and returns when the open ones have ended: by themselves, or after `grace`.
  func drain(_ grace: Duration) async {
    isEnding = true
    if pending.isEmpty { return }
    drainDeadline = driver.now + grace
    updateAlarm()
    await withUnsafeContinuation { drainers.append($0) }
  }

  private func finishDraining() {
    drainDeadline = nil
    for entry in pending.endAll() { complete(entry, .failure(.shuttingDown(entry.delivery))) }
    let waiting = drainers
    drainers = []
    for drainer in waiting { drainer.resume() }
  }

  func close() {
    isEnding = true
    finishDraining()
    alarm?.cancel()
    alarm = nil
  }
}
