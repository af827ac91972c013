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
      guard loop.openCall(id) != nil else {
        continuation.resume(returning: .success(loop.endedCall(id)))
        return nil
      }
      return (id.serial, loop.waiters.add(continuation, for: id.serial, until: deadline))
    }
    return try? look.get()
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

  /// The calls of a device, or of all, newest first: open ones, and those that have ended and are remembered. Of those before
  /// `id`, if there is one.
  func calls(of name: String?, limit: Int, before id: CallID?) -> [CallInfo] {
    var all: [CallInfo]
    if let name {
      guard let record = devices[name] else { return [] }
      all = history.calls(of: record).map(info) + pending.calls(of: record).map { info($0) }
    } else {
      all = history.all.map(info) + pending.all.map { info($0) }
    }
    if let id { all.removeAll { $0.id >= id } }
    return Array(all.sorted { $0.id > $1.id }.prefix(max(0, limit)))
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
          if patience == .zero || visit.isCancelled { return loop.letGo(place) }
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
    continuation.resume(returning: .success(pending[place.serial].map { info($0) }))
  }

  func expireWaiters() {
    waitAlarmDeadline = nil
    for (serial, continuation) in waiters.expire(now: driver.now) {
      continuation.resume(returning: .success(pending[serial].map { info($0) }))
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
    let ended = waiters.end(entry.serial)
    guard !ended.isEmpty else { return }
    let info = info(entry, outcome, ended: driver.now)
    for continuation in ended { continuation.resume(returning: .success(info)) }
  }

  // MARK: What is known of a call

  func id(of entry: Pending.Entry) -> CallID {
    CallID(milliseconds: idEpoch + entry.started.nanoseconds / 1_000_000, instance: instance, serial: entry.serial)
  }

  private func openCall(_ id: CallID) -> Pending.Entry? { pending[id.serial].flatMap { self.id(of: $0) == id ? $0 : nil } }

  private func endedCall(_ id: CallID) -> CallInfo? {
    history[id.serial].flatMap { self.id(of: $0.entry) == id ? info($0) : nil }
  }

  private func info(_ call: CallHistory.Ended) -> CallInfo { info(call.entry, call.outcome, ended: call.ended) }

  func info(_ entry: Pending.Entry, _ outcome: Outcome? = nil, ended: Duration? = nil) -> CallInfo {
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
