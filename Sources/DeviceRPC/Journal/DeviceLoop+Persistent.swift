internal import FoundationEssentials

// Persistent calls: to make one, to send it when its device can be reached, and what becomes of it.
extension DeviceLoop {
  /// Makes a persistent call, and returns when it is in the journal. Throws when it is refused.
  nonisolated(nonsending) func submit(
    _ call: Call, _ persistence: CallPersistence, on name: String
  ) async throws(CallError) -> CallInfo {
    let kept: Result<CallInfo, CallError> = await withUnsafeContinuation { continuation in
      run { loop in
        do throws(CallError) {
          try loop.keep(call, persistence, on: name) { continuation.resume(returning: $0) }
        } catch {
          loop.metrics.count(.failure(error))
          continuation.resume(returning: .failure(error))
        }
      }
    }
    return try kept.get()
  }

  private func keep(
    _ call: Call, _ persistence: CallPersistence, on name: String, _ answer: @escaping @Sendable (Result<CallInfo, CallError>) -> Void
  ) throws(CallError) {
    guard let kept else { throw .notKept(reason: "this server has no journal of calls") }
    if isEnding { throw .shuttingDown(.notSent) }
    guard kept.isLoaded else { throw .notKept(reason: kept.problem?.description ?? "the server has not started yet") }
    if devices[name] == nil, DeviceName.problem(with: name, longest: limits.deviceName) != nil { throw .unknownDevice(name) }
    guard persistence.reference.map({ $0.utf8.count <= 1_000 && !$0.utf8.contains(0) }) ?? true else {
      throw .invalidCall("a reference has up to 1000 bytes, without U+0000")
    }
    // SQLite would cut it there.
    if call.method.utf8.contains(0) { throw .invalidCall("the name of a method has no U+0000") }
    var call = call
    call.timeout = call.timeout.map { min(max($0, .zero), limits.longestTimeout) }
    guard call.params.approximateBytes + (persistence.note?.approximateBytes ?? 0) <= limits.persistentCallBytes else {
      throw .limitExceeded("the parameters of a persistent call and its note may take \(limits.persistentCallBytes) bytes")
    }
    guard kept.waiting.count < LoopJournal.mostWaiting else {
      throw .limitExceeded("\(LoopJournal.mostWaiting) calls wait to be kept, as many as this server takes")
    }
    guard kept.calls.bytes < limits.persistentBytes else {
      throw .limitExceeded("the open persistent calls take \(limits.persistentBytes) bytes of memory, as many as they may")
    }
    guard kept.calls.waitingCount(name) < limits.persistentCallsPerDevice else {
      throw .limitExceeded("\(limits.persistentCallsPerDevice) calls to \(name) are kept, as many as it may have")
    }
    let serial = reserveSerial()
    let wireID = Pending.id(method: call.method, serial: serial)
    // A call that cannot be encoded is refused at once, if it is known how its device wants it.
    if let link = devices[name]?.device.link { _ = try link.encode(call, id: wireID) }
    lookAtWallClock()
    let now = driver.now
    let created = date(now)
    let lifetime = min(max(persistence.expires, .zero), .seconds(10 * 365 * 86_400))
    let persistent = PersistentCall(
      id: newID(serial, started: now), wireID: wireID, device: name, call: call, created: created,
      expires: created.addingTimeInterval(lifetime.seconds), attempts: persistence.attempts.map { max(1, $0) },
      isRepeatable: persistence.isRepeatable, note: persistence.note, reference: persistence.reference)
    write(.add(persistent), failed: { answer(.failure(.notKept(reason: "\($1)"))) }) { loop, outcome in
      switch outcome {
      case .done:
        kept.calls.add(persistent)
        loop.updateKeptAlarm()
        loop.hub.send(.callQueued(persistent.info))
        answer(.success(persistent.info))
        if let record = loop.devices[name] { loop.sendKept(record) }
      case .full(let limit): answer(.failure(.limitExceeded("the journal has \(limit) open calls, as many as it takes")))
      case .invalid(let reason): answer(.failure(.invalidCall(reason)))
      case .conflict: answer(.failure(.notKept(reason: "the journal has a call with this id already")))
      }
    }
  }

  // MARK: Attempts

  /// Sends the persistent calls that may be sent now. That they are sent is in the journal before they are.
  func sendKept(_ record: DeviceRecord) {
    guard let kept, kept.calls.count > 0, !isEnding, record.device.isReady, record.device.link?.takesCalls == true else {
      return
    }
    while let (entry, change) = kept.calls.next(for: record.device.name, now: driver.date) {
      write(change) { loop, outcome in
        if outcome == .done { loop.attempt(entry) } else { loop.lose(entry) }
      }
    }
  }

  private func attempt(_ entry: PersistentCalls.Entry) {
    // It may have been taken back, or have expired.
    guard entry.isUnderWay else { return }
    let (call, name, now) = (entry.call.call, entry.call.device, driver.now)
    guard !isEnding, let record = devices[name], let link = record.device.link else { return attemptOver(entry, .notSent) }
    // A call that was made while the journal could not be read may have its number.
    guard pending.count < limits.calls, record.openCalls < limits.callsPerDevice, pending[entry.call.id.serial] == nil else {
      return attemptOver(entry, .notSent)
    }
    let payload: [UInt8]
    do throws(CallError) {
      payload = try link.encode(call, id: entry.call.wireID)
    } catch {
      return attemptOver(entry, .failed(.notSent, reason: error.shortReason))
    }
    // Not shorter, since attempts follow each other for as long as the call is open.
    let timeout = min(max(call.timeout ?? limits.defaultTimeout, LoopJournal.retryInterval), limits.longestTimeout)
    let added = pending.add(
      entry.call.id.serial, id: entry.call.wireID, call, to: record, payload: payload, timeout: timeout,
      completion: CallCompletion(persistent: entry), now: now)
    pump(record, now: now)
    if pending[added.serial] === added { updateAlarm() }
  }

  func attemptAcknowledged(_ entry: PersistentCalls.Entry) {
    guard let kept else { return }
    if let change = kept.calls.acknowledged(entry, now: driver.date) {
      tell(entry, change, then: { $0.hub.send(.callAcknowledged($1)) })
    }
    if let record = devices[entry.call.device] { sendKept(record) }
  }

  /// The attempt has left on a link without acknowledgements.
  func attemptLeft(_ entry: PersistentCalls.Entry) {
    guard let kept else { return }
    if let change = kept.calls.left(entry, now: driver.date) { tell(entry, change) }
    if let record = devices[entry.call.device] { sendKept(record) }
  }

  func attemptEnded(_ entry: PersistentCalls.Entry, _ outcome: Outcome) {
    switch outcome {
    case .success(let result): attemptOver(entry, .result(result.status, result.detail))
    case .failure(let error):
      let reason = error.shortReason
      switch error.delivery {
      case .notSent:
        if case .invalidCall = error { attemptOver(entry, .failed(.notSent, reason: reason)) } else { attemptOver(entry, .notSent) }
      // A device that has restarted may have run an earlier copy of a message that it now rejects.
      case .sentNoAck, .refused: attemptOver(entry, .lost(reason: reason))
      case .delivered: attemptOver(entry, .unanswered(reason: reason))
      case .unreadable: attemptOver(entry, .failed(.unreadable, reason: reason))
      }
    }
  }

  private func attemptOver(_ entry: PersistentCalls.Entry, _ event: PersistentCall.Event) {
    guard let kept else { return }
    if let change = kept.calls.over(entry, event, now: driver.date) { tell(entry, change) }
    let name = entry.call.device
    if entry.call.maySend {
      // It is the next one again: not at once, whatever the reason is.
      kept.refused.insert(name)
      updateKeptAlarm()
    } else if let record = devices[name] {
      sendKept(record)
    }
  }

  /// Has the journal make a change to a call, and then tells of it, first with `then`. `delayed` is called when that takes longer
  /// than usual.
  private func tell(
    _ entry: PersistentCalls.Entry, _ change: CallJournalChange, delayed: (@Sendable () -> Void)? = nil,
    then: @escaping @Sendable (isolated DeviceLoop, CallInfo) -> Void = { _, _ in }
  ) {
    let info = entry.call.info
    if entry.call.isOver { kept?.ending[info.id.serial] = info }
    write(change, delayed: delayed) { loop, outcome in
      then(loop, info)
      if outcome != .done { loop.lose(entry) }
      guard let end = info.outcome else { return }
      loop.kept?.ending[info.id.serial] = nil
      if outcome == .done {
        loop.metrics.count(end)
        loop.hub.send(.callEnded(info))
      }
      loop.resumeWaiters(of: info.id.serial) { info }
    }
  }

  /// Somebody else has changed a call in the journal, which then knows more of it than this server.
  private func lose(_ entry: PersistentCalls.Entry) {
    kept?.calls.forget(entry)
    for continuation in waiters.end(entry.call.id.serial) { continuation.resume(returning: .success(nil)) }
  }

  // MARK: Late results

  /// A result that no attempt waits for any longer. Returns false if it answers no persistent call.
  func takeLate(_ id: String, _ status: RPCStatus, _ detail: RPCValue?, from name: String?) -> Bool {
    guard let kept, let entry = kept.calls.call(wireID: id), name.map({ $0 == entry.call.device }) ?? true,
      pending[entry.call.id.serial].map({ $0.completion.persistent === entry }) ?? true,
      let change = kept.calls.happened(.result(status, detail), to: entry, now: driver.date)
    else { return false }
    tell(entry, change)
    // Another attempt may wait for its turn behind the message that was answered.
    devices[entry.call.device]?.device.link?.hasArrived(entry.call.id.serial)
    leave(entry)
    return true
  }

  /// Whether a persistent call to this device has this id on the wire, and may have been sent.
  func isKept(_ id: String, of name: String) -> Bool {
    kept?.calls.call(wireID: id).map { $0.call.device == name && $0.call.progress.attempt > 0 } ?? false
  }

  func isKept(_ id: String, ofOtherThan name: String) -> Bool {
    kept?.calls.call(wireID: id).map { $0.call.device != name } ?? false
  }

  // MARK: Ends

  /// Takes back a persistent call, and returns it when the journal has it so; nil when no such call is open.
  nonisolated(nonsending) func delete(_ id: CallID) async -> CallInfo? {
    await withUnsafeContinuation { continuation in
      run { loop in
        guard let kept = loop.kept, let entry = kept.calls[id],
          let change = kept.calls.happened(.deleted, to: entry, now: loop.driver.date)
        else { return continuation.resume(returning: nil) }
        let info = entry.call.info
        let answer = OnlyOnce { continuation.resume(returning: info) }
        // It may take a long time until the journal can be written to.
        if kept.problem != nil { answer.give() }
        loop.tell(entry, change, delayed: { answer.give() }) { _, _ in answer.give() }
        loop.leave(entry)
      }
    }
  }

  func expireKept() {
    guard let kept else { return }
    while let (entry, change) = kept.calls.expire(now: driver.date) {
      tell(entry, change)
      leave(entry)
    }
  }

  // Ends the attempt of a call that is over, and lets the next one have its turn.
  private func leave(_ entry: PersistentCalls.Entry) {
    let serial = entry.call.id.serial
    if let attempt = pending[serial], attempt.completion.persistent === entry {
      finish(serial, .failure(.cancelled(attempt.delivery)))
      pump(attempt.lane, now: driver.now)
    }
    if let record = devices[entry.call.device] { sendKept(record) }
  }
}

/// An answer that several may want to give.
// Unchecked, because it is used on one loop only.
private final class OnlyOnce: @unchecked Sendable {
  private var answer: (() -> Void)?

  init(_ answer: @escaping () -> Void) { self.answer = answer }

  func give() {
    answer?()
    answer = nil
  }
}

extension CallError {
  /// The reason without the advice of the description, for a call that is kept.
  fileprivate var shortReason: String {
    switch self {
    case .invalidCall(let reason), .limitExceeded(let reason), .notKept(let reason): reason
    case .notSent(_, let reason), .undelivered(_, let reason), .rejected(_, let reason), .garbled(_, let reason),
      .unreadableResult(_, let reason), .revoked(_, let reason, _):
      reason
    case .unconfirmed(_, let after): "no result within \(after.readable), and its connection knows no acknowledgements"
    case .unanswered(_, let after): "no result within \(after.readable)"
    case .unknownDevice, .offline: "it is not connected"
    case .refused(let result): "\(result.status)"
    case .cancelled: "its caller took it back"
    case .shuttingDown: "the server was shut down"
    case .expired: "its time was over"
    }
  }
}
