internal import DequeModule
internal import FoundationEssentials
internal import Logging
internal import Metrics

/// The devices whose home is one loop, and the calls to them. Its executor is the loop's thread.
package actor DeviceLoop {
  nonisolated package let driver: any LoopDriver
  nonisolated package var unownedExecutor: UnownedSerialExecutor { driver.asUnownedSerialExecutor() }

  typealias Outcome = Result<CallResult, CallError>
  private typealias Pending = PendingCalls<Int, UnsafeContinuation<Outcome, Never>>

  private let limits: Limits
  private let log: Logger
  private let hub: EventHub
  private let metrics: ServerMetrics
  // Longer is as good as for ever, and the sum with any time of the clock fits every representation.
  private static let century = Duration.seconds(100 * 365 * 86_400)
  // The wall clock at zero of the loop's clock.
  private let epoch: Date
  private var pending: Pending
  private var devices: [String: DeviceState] = [:]
  private var devicesByIndex: [Int: DeviceState] = [:]
  private var nextIndex = 0
  private var onlineCount = 0
  private var absent: Deque<(index: Int, since: Duration)> = []
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
        run { $0.begin(call, on: name, slot, continuation) }
      }
    } onCancel: {
      driver.execute { self.assumeIsolated { $0.cancel(slot) } }
    }
  }

  private func begin(
    _ call: Call, on name: String, _ slot: CallSlot, _ completion: UnsafeContinuation<Outcome, Never>
  ) {
    let now = driver.now
    do throws(CallError) {
      if isEnding { throw .shuttingDown(.notSent) }
      if slot.isCancelled { throw .cancelled(.notSent) }
      let wait = min(max(call.wait, .zero), limits.longestTimeout)
      if devices[name]?.link == nil && wait == .zero { throw absence(of: name) }
      // No device can ever have such a name.
      if name.utf8.count > limits.deviceName { throw .unknownDevice(name) }
      guard pending.count < limits.calls else {
        throw .limitExceeded("\(limits.calls) calls are under way, as many as this server takes")
      }
      guard devices[name].map({ pending.count(for: $0.index) }) ?? 0 < limits.callsPerDevice else {
        throw .limitExceeded("\(limits.callsPerDevice) calls to \(name) are under way, as many as it may have")
      }
      guard let device = devices[name] ?? makeDevice(name, now: now) else {
        throw .limitExceeded("\(limits.devices) devices are known, as many as this server remembers")
      }
      let serial = pending.reserve()
      var call = call
      call.wait = wait
      // What cannot be sent is refused before it waits for its turn.
      let payload = try device.link?.encode(call, id: Pending.id(method: call.method, serial: serial))
      let timeout = min(max(call.timeout ?? limits.defaultTimeout, .zero), limits.longestTimeout)
      slot.serial = serial
      pending.add(serial, call, to: device.index, timeout: timeout, completion: completion, now: now)
      if let payload { pending.keep(payload, for: serial) }
      pump(device, now: now)
      if let entry = pending[serial], entry.sent == nil {
        hub.send(.callQueued(id: entry.id, device: name, call: entry.call))
      }
      updateAlarm()
    } catch {
      completion.resume(returning: .failure(error))
    }
  }

  private func pump(_ device: DeviceState, now: Duration) {
    guard let link = device.link, device.isReady else { return }
    while let entry = pending.nextToSend(device.index, window: link.window) {
      do throws(CallError) {
        let payload: [UInt8]
        if let encoded = entry.payload { payload = encoded } else { payload = try link.encode(entry.call, id: entry.id) }
        noteSent(entry, to: device, now: now)
        link.transmit(payload, serial: entry.serial)
      } catch {
        finish(entry.serial, .failure(error))
      }
    }
  }

  private func noteSent(_ entry: Pending.Entry, to device: DeviceState, isSettled: Bool = false, now: Duration) {
    pending.sent(entry.serial, isSettled: isSettled, now: now)
    metrics.callsSent.increment()
    hub.send(.callSent(id: entry.id, device: device.name, call: entry.call))
  }

  private func finish(_ serial: UInt32, _ outcome: Outcome) {
    guard let entry = pending.end(serial) else { return }
    complete(entry, outcome)
    forgetIfOnlyCalled(entry.device)
  }

  private func complete(_ entry: Pending.Entry, _ outcome: Outcome) {
    switch outcome {
    case .success(let result):
      metrics.callsAnswered.increment()
      metrics.roundTrip.recordNanoseconds(Int64(clamping: result.roundTrip.nanoseconds))
    case .failure: metrics.callsFailed.increment()
    }
    hub.send(
      .callEnded(
        id: entry.id, device: devicesByIndex[entry.device]?.name ?? "", outcome: CallOutcome(outcome)))
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
      let name = devicesByIndex[entry.device]?.name ?? ""
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
    for (entry, _) in expired { forgetIfOnlyCalled(entry.device) }
    if let drainDeadline, drainDeadline <= now { finishDraining() }
    updateAlarm()
  }

  private func updateAlarm() {
    var next = pending.nextDeadline()
    if let drainDeadline { next = min(next ?? drainDeadline, drainDeadline) }
    guard next != alarmDeadline else { return }
    if alarm == nil {
      alarm = driver.makeAlarm { [weak self] in self?.assumeIsolated { $0.expire() } }
    }
    alarmDeadline = next
    alarm?.set(next)
  }

  // MARK: What the transport tells

  /// A device has opened a link, in place of any other it had. Nil when the server has no room for another device.
  ///
  /// Say `ready(_:)` when calls may go out on it.
  package func observed(_ name: String, on link: any DeviceLink) -> Bool {
    let now = driver.now
    guard let device = devices[name] ?? makeDevice(name, now: now) else { return false }
    let earlier = device.link
    device.link = link
    device.isReady = false
    device.firstSeen = device.firstSeen ?? now
    device.lastHeard = now
    device.offlineSince = nil
    if earlier == nil {
      onlineCount += 1
      metrics.devicesOnline.increment()
    }
    if let earlier, earlier !== link { earlier.replaced() }
    log.debug("device online", metadata: ["device": "\(name)", "address": "\(link.address)"])
    hub.send(.online(info(device)))
    pending.open(device.index, now: now)
    updateAlarm()
    return true
  }

  /// Calls that wait for the device may leave on its link.
  package func ready(_ name: String) {
    guard let device = devices[name], device.link != nil else { return }
    device.isReady = true
    pump(device, now: driver.now)
    updateAlarm()
  }

  /// A link has ended. It means nothing if the device has another one by now.
  package func unobserved(_ name: String, _ link: any DeviceLink, reason: String) {
    guard let device = devices[name], device.link === link else { return }
    let now = driver.now
    device.lastHeard = max(device.lastHeard, link.lastHeard)
    device.lastAddress = link.address
    device.lastDialect = link.dialect
    device.link = nil
    device.offlineSince = now
    noteAbsent(device, since: now)
    onlineCount -= 1
    metrics.devicesOnline.decrement()
    for entry in pending.close(device.index, now: now) { complete(entry, .failure(.offline(name))) }
    log.debug("device offline", metadata: ["device": "\(name)", "reason": "\(reason)"])
    hub.send(.offline(info(device), reason: reason))
    updateAlarm()
  }

  /// The message that carried a call has reached the device.
  package func acknowledged(_ serial: UInt32, on name: String) {
    guard let device = devices[name] else { return }
    let now = driver.now
    pending.settled(serial, on: device.index, isDelivered: true)
    if let entry = pending[serial], entry.call.isOneWay {
      finish(serial, .success(result(of: entry, name, .ok, nil, now: now)))
    }
    pump(device, now: now)
    updateAlarm()
  }

  /// The message that carried a call will never reach the device. Say `unobserved` too when the link is gone.
  package func failed(_ serial: UInt32, on name: String, reason: String) {
    guard let device = devices[name] else { return }
    pending.settled(serial, on: device.index, isDelivered: false)
    finish(serial, .failure(.undelivered(device: name, reason: reason)))
    pump(device, now: driver.now)
    updateAlarm()
  }

  /// A result has arrived, from `name` if the sender is known to be a device. Whatever becomes of it, the sender gets
  /// a success: it must not send the result again.
  package func received(id: String, status: RPCStatus, detail: RPCValue?, from name: String?) {
    let now = driver.now
    let index = name.flatMap { devices[$0]?.index }
    // A known name that is no device of ours cannot have been called.
    if name != nil && index == nil { return noteStray(id, name, isLate: false) }
    switch pending.result(id: id, from: index) {
    case .call(let entry):
      let device = devicesByIndex[entry.device]
      device?.lastHeard = now
      let name = device?.name ?? ""
      // That it was delivered is all that a one-way call asks, whichever of the two packets tells it.
      let result =
        entry.call.isOneWay
        ? result(of: entry, name, .ok, nil, now: now) : result(of: entry, name, status, detail, now: now)
      complete(entry, .success(result))
      if let device { pump(device, now: now) }
    case .ended: noteStray(id, name, isLate: true)
    case .unknown: noteStray(id, name, isLate: false)
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
    guard let device = devices[name] else { return nil }
    device.firstSeen = device.firstSeen ?? now
    device.lastHeard = now
    while let entry = pending.oldestWaiting(device.index) {
      do throws(CallError) {
        let payload = try encode(entry.call, entry.id)
        noteSent(entry, to: device, isSettled: true, now: now)
        updateAlarm()
        return payload
      } catch {
        finish(entry.serial, .failure(error))
      }
    }
    return nil
  }

  private func result(
    of entry: Pending.Entry, _ name: String, _ status: RPCStatus, _ detail: RPCValue?, now: Duration
  ) -> CallResult {
    CallResult(
      id: entry.id, device: name, method: entry.call.method, status: status, detail: detail,
      roundTrip: now - (entry.sent ?? entry.started))
  }

  // MARK: Devices

  private func makeDevice(_ name: String, now: Duration) -> DeviceState? {
    if devices.count >= limits.devices, !forgetLongestAbsent() {
      log.warning("no room for another device", metadata: ["device": "\(name)", "limit": "\(limits.devices)"])
      return nil
    }
    let device = DeviceState(name: name, index: nextIndex, now: now)
    nextIndex += 1
    devices[name] = device
    devicesByIndex[device.index] = device
    noteAbsent(device, since: now)
    return device
  }

  private func noteAbsent(_ device: DeviceState, since now: Duration) {
    absent.append((device.index, now))
    // A device that comes and goes leaves an entry each time.
    if absent.count > 2 * devices.count + 64 {
      absent = Deque(absent.filter { devicesByIndex[$0.index]?.offlineSince == $0.since })
    }
  }

  private func forgetIfOnlyCalled(_ index: Int) {
    guard let device = devicesByIndex[index], device.firstSeen == nil, pending.count(for: index) == 0 else { return }
    devices[device.name] = nil
    devicesByIndex[index] = nil
  }

  private func absence(of name: String) -> CallError {
    devices[name]?.firstSeen == nil ? .unknownDevice(name) : .offline(name)
  }

  private func forgetLongestAbsent() -> Bool {
    for _ in 0..<absent.count {
      guard let (index, since) = absent.popFirst() else { break }
      guard let device = devicesByIndex[index], device.offlineSince == since else { continue }
      if pending.count(for: index) > 0 {
        absent.append((index, since))
        continue
      }
      devices[device.name] = nil
      devicesByIndex[index] = nil
      return true
    }
    return false
  }

  private func info(_ device: DeviceState) -> DeviceInfo {
    let heard = max(device.lastHeard, device.link?.lastHeard ?? .zero)
    return DeviceInfo(
      name: device.name, isOnline: device.link != nil,
      address: device.link?.address ?? device.lastAddress, dialect: device.link?.dialect ?? device.lastDialect,
      firstSeen: epoch.addingTimeInterval((device.firstSeen ?? heard).seconds),
      lastHeard: epoch.addingTimeInterval(heard.seconds), openCalls: pending.count(for: device.index))
  }

  func allDevices() -> [DeviceInfo] { devices.values.filter { $0.firstSeen != nil }.map(info) }
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
