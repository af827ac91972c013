internal import FoundationEssentials

// Calls as objects: to begin one, to look at it, to wait for its end, to cancel it.
extension DeviceLoop {
  typealias Look = Result<CallInfo?, CallError>

  /// Begins a call, and returns when it has ended or `patience` is over. Throws when the call was refused at once.
  nonisolated(nonsending) func begin(
    _ call: Call, on name: String, waiting patience: Duration?
  ) async throws(CallError) -> CallInfo {
    let completion = CallCompletion(trace: tracing.begin(call, on: name))
    let look = await wait(patience) { loop, deadline, continuation in
      do throws(CallError) {
        var place: (serial: UInt32, number: UInt64)?
        try loop.enter(call, on: name, completion) { serial in
          place = (serial, loop.waiters.add(continuation, for: serial, until: deadline))
        }
        return place
      } catch {
        loop.noteRefused(completion, error)
        continuation.resume(returning: .failure(error))
        return nil
      }
    }
    guard let info = try look.get() else { throw .shuttingDown(.notSent) }
    return info
  }

  /// Looks at a call, when it has ended or `patience` is over; nil if the server does not know it.
  nonisolated(nonsending) func call(_ id: CallID, waiting patience: Duration?) async -> CallInfo? {
    let look = await wait(patience) { loop, deadline, continuation in
      guard loop.openInfo(id) != nil else {
        continuation.resume(returning: .success(loop.endedCall(id)))
        return nil
      }
      return (id.serial, loop.waiters.add(continuation, for: id.serial, until: deadline))
    }
    // A call that was made while the journal could not be read may have the number of a persistent one.
    guard let info = try? look.get(), info.id != id else { return try? look.get() }
    return await now(id)
  }

  /// Ends a call as cancelled by its caller, and returns how far it had come. One that has ended before stays as it is; nil if
  /// the server does not know it.
  func cancel(_ id: CallID) -> CallInfo? {
    guard let entry = openCall(id) else { return endedCall(id) }
    let outcome = Outcome.failure(.cancelled(entry.delivery))
    let record = entry.lane
    finish(entry.serial, outcome)
    pump(record, now: driver.now)
    return info(entry, outcome, ended: driver.now)
  }

  /// The calls that a query asks for, newest first: open ones, and those that have ended and are remembered. Without persistent ones.
  func calls(_ query: CallQuery) -> [CallInfo] {
    let isWanted = { (entry: Pending.Entry) in entry.completion.persistent == nil && query.before.map { self.id(of: entry) < $0 } ?? true }
    // What is shown of a call costs more than to choose it.
    var all: [(id: CallID, info: () -> CallInfo)] = []
    func add(_ open: some Sequence<Pending.Entry>, _ ended: some Sequence<CallHistory.Ended>) {
      for entry in open where isWanted(entry) { all.append((id(of: entry), { self.info(entry) })) }
      for call in ended where isWanted(call.entry) { all.append((id(of: call.entry), { self.info(call) })) }
    }
    if let name = query.device {
      guard let record = devices[name] else { return [] }
      add(pending.calls(of: record), history.calls(of: record))
    } else {
      add(pending.all, history.all)
    }
    all.sort { $0.id > $1.id }
    var infos: [CallInfo] = []
    for call in all {
      guard infos.count < query.limit else { break }
      let info = call.info()
      if query.states.contains(info.state) { infos.append(info) }
    }
    return infos
  }

  // MARK: Waiting

  /// Waits for what `enter` has arranged: it adds a waiter and returns its place, or resumes the continuation itself.
  private nonisolated(nonsending) func wait(
    _ patience: Duration?,
    _ enter: @escaping @Sendable (
      isolated DeviceLoop, _ deadline: Duration?, UnsafeContinuation<Look, Never>
    ) -> (serial: UInt32, number: UInt64)?
  ) async -> Look {
    let visit = Visit()
    return await withTaskCancellationHandler {
      await withUnsafeContinuation { continuation in
        run { loop in
          let deadline = patience.map { loop.driver.now + min(max($0, .zero), loop.limits.longestTimeout) }
          guard let place = enter(loop, deadline, continuation) else { return }
          // The call may have ended meanwhile: then there is nobody to let go.
          if patience == .zero || visit.isCancelled || loop.hasParted { return loop.letGo(place) }
          visit.place = place
          loop.updateWaitAlarm()
        }
      }
    } onCancel: {
      run { loop in
        visit.isCancelled = true
        if let place = visit.place { loop.letGo(place) }
      }
    }
  }

  /// Resumes somebody who waits no longer, with the call as it is.
  private func letGo(_ place: (serial: UInt32, number: UInt64)) {
    guard let continuation = waiters.remove(place.number, for: place.serial) else { return }
    continuation.resume(returning: .success(openInfo(place.serial)))
  }

  /// The server ends, and persistent calls stay open.
  func letAllGo() {
    for (serial, continuation) in waiters.endAll() { continuation.resume(returning: .success(openInfo(serial))) }
  }

  func expireWaiters() {
    waitAlarmDeadline = nil
    for (serial, continuation) in waiters.expire(now: driver.now) {
      continuation.resume(returning: .success(openInfo(serial)))
    }
    updateWaitAlarm()
  }

  private func updateWaitAlarm() {
    let next = waiters.nextDeadline()
    guard next != waitAlarmDeadline else { return }
    waitAlarm = waitAlarm ?? driver.makeAlarm { self.assumeIsolated { $0.expireWaiters() } }
    waitAlarmDeadline = next
    waitAlarm?.set(next)
  }

  /// A call has ended: it becomes history, and those who wait for it are resumed.
  func note(_ entry: Pending.Entry, _ outcome: Outcome) {
    if entry.completion.caller == nil || limits.remembersAllCalls { history.add(entry, outcome, now: driver.now) }
    guard !waiters.isEmpty else { return }
    resumeWaiters(of: entry.serial) { info(entry, outcome, ended: driver.now) }
  }

  func resumeWaiters(of serial: UInt32, _ info: () -> CallInfo) {
    let ended = waiters.end(serial)
    guard !ended.isEmpty else { return }
    let info = info()
    for continuation in ended { continuation.resume(returning: .success(info)) }
  }

  // MARK: What is known of a call

  func id(of entry: Pending.Entry) -> CallID {
    entry.completion.persistent?.call.id ?? newID(entry.serial, started: entry.started)
  }

  func newID(_ serial: UInt32, started: Duration) -> CallID {
    CallID(milliseconds: idEpoch + started.nanoseconds / 1_000_000, instance: instance, serial: serial)
  }

  private func openCall(_ id: CallID) -> Pending.Entry? { pending[id.serial].flatMap { self.id(of: $0) == id ? $0 : nil } }

  /// A call that is under way, or is persistent and not yet over in the journal.
  private func now(_ id: CallID) -> CallInfo? { openInfo(id) ?? endedCall(id) }

  private func openInfo(_ id: CallID) -> CallInfo? {
    kept?.info(id.serial).flatMap { $0.id == id ? $0 : nil } ?? openCall(id).map { info($0) }
  }

  private func openInfo(_ serial: UInt32) -> CallInfo? { kept?.info(serial) ?? pending[serial].map { info($0) } }

  private func endedCall(_ id: CallID) -> CallInfo? {
    history[id.serial].flatMap { self.id(of: $0.entry) == id ? info($0) : nil }
  }

  private func info(_ call: CallHistory.Ended) -> CallInfo { info(call.entry, call.outcome, ended: call.ended) }

  func info(_ entry: Pending.Entry, _ outcome: Outcome? = nil, ended: Duration? = nil) -> CallInfo {
    if let persistent = entry.completion.persistent { return persistent.call.info }
    lookAtWallClock()
    let state: CallInfo.State =
      outcome != nil ? .ended
      : entry.sent == nil ? .queued : entry.delivery == .sentNoAck && !entry.isAcknowledged ? .sent : .acknowledged
    return CallInfo(
      id: id(of: entry), wireID: entry.id, device: entry.lane.device.name, call: entry.call, state: state,
      created: date(entry.started), ended: ended.map(date), outcome: outcome.map(CallOutcome.init),
      evidence: outcome.map { entry.evidence(of: $0) } ?? entry.evidence(entry.delivery))
  }
}

/// One visit to the loop by somebody who waits for a call.
// Unchecked, because it is used on the loop only.
private final class Visit: @unchecked Sendable {
  var place: (serial: UInt32, number: UInt64)?
  var isCancelled = false
}
