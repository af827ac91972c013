package import FoundationEssentials

// What happens to a persistent call, and what then becomes of it: pure functions.
extension PersistentCall {
  package enum Event: Sendable, Hashable {
    /// It is about to be sent.
    case sending
    /// It was not sent after all, which is certain.
    case notSent
    case acknowledged
    /// It has left on a link without acknowledgements, which is as good as it gets there.
    case left
    /// The attempt is over without an acknowledgement.
    case lost(reason: String)
    /// The attempt is over, acknowledged and without a result.
    case unanswered(reason: String)
    case result(RPCStatus, RPCValue?)
    /// It cannot be carried out, for a reason that another attempt would not change.
    case failed(Delivery, reason: String)
    case expired
    case deleted
  }

  /// Whether it may be sent now or later: never again what the device may have run, unless it is repeatable.
  package var maySend: Bool {
    guard !isOver else { return false }
    return progress.attempt == 0 || isRepeatable && !isExhausted
  }

  private var isExhausted: Bool { isRepeatable && attempts.map { progress.attempt >= $0 } ?? false }

  /// What becomes of the call; nil when nothing does, as when it is over.
  package func progress(after event: Event, at now: Date) -> Progress? {
    guard !isOver else { return nil }
    var next = progress
    func end(_ state: State, _ reason: String?) {
      next.state = state
      next.ended = now
      next.reason = reason
    }
    switch event {
    case .sending:
      guard maySend else { return nil }
      next.attempt += 1
      next.reason = nil
      if next.state != .delivered { next.state = .sent }
      if next.delivery == .notSent { next.delivery = .sentNoAck }
      next.sent = next.sent ?? now
    case .notSent:
      guard next.attempt > 0 else { return nil }
      next.attempt -= 1
      if next.attempt == 0 {
        next.delivery = .notSent
        next.sent = nil
      }
    case .acknowledged:
      guard next.attempt > 0, next.state != .delivered else { return nil }
      next.state = .delivered
      next.acknowledged = now
      next.reason = nil
      if next.delivery == .sentNoAck { next.delivery = .delivered }
      if call.isOneWay { next.ended = now }
    case .left:
      guard next.attempt > 0, next.state == .sent || next.state == .timeout else { return nil }
      next.state = .delivered
      next.reason = nil
    case .lost(let reason):
      guard next.attempt > 0 else { return nil }
      if isExhausted {
        end(.failed, reason)
      } else {
        // An earlier attempt may have been acknowledged.
        if next.state == .sent { next.state = .timeout }
        next.reason = reason
      }
    case .unanswered(let reason):
      guard next.attempt > 0 else { return nil }
      if isExhausted { end(.failed, reason) } else { next.reason = reason }
    case .result(let status, let detail):
      guard next.attempt > 0 else { return nil }
      next.answered = now
      if call.isOneWay {
        // It only had to be delivered.
        end(.delivered, nil)
        next.delivery = .delivered
      } else {
        end(status == .ok ? .successful : .failed, nil)
        next.delivery = status == .ok ? .delivered : .refused
        next.status = status
        next.detail = detail
      }
    case .failed(let delivery, let reason):
      end(.failed, reason)
      next.delivery = delivery
    case .expired: end(.expired, next.reason)
    case .deleted: end(.deleted, next.reason)
    }
    return next == progress ? nil : next
  }
}

extension PersistentCall {
  /// What callers see of it.
  package var info: CallInfo {
    let state: CallInfo.State =
      isOver ? .ended
      : progress.attempt == 0 ? .queued : progress.state == .delivered || progress.delivery == .unreadable ? .acknowledged : .sent
    return CallInfo(
      id: id, wireID: wireID, device: device, call: call, state: state, created: created, ended: progress.ended, outcome: outcome,
      evidence: evidence,
      persistence: .init(
        state: progress.state, expires: expires, attempt: progress.attempt, attempts: attempts, isRepeatable: isRepeatable,
        reason: progress.reason, note: note, reference: reference))
  }

  private var evidence: CallEvidence {
    func after(_ date: Date?) -> Duration? { date.map { max(.zero, .seconds($0.timeIntervalSince(created))) } }
    return CallEvidence(
      progress.delivery, sentAfter: after(progress.sent), acknowledgedAfter: after(progress.acknowledged),
      resultAfter: after(progress.answered))
  }

  private var outcome: CallOutcome? {
    guard isOver else { return nil }
    func result(_ status: RPCStatus) -> CallOutcome {
      .result(CallResult(id: wireID, device: device, method: call.method, status: status, detail: progress.detail, evidence: evidence))
    }
    if let status = progress.status { return result(status) }
    let reason = progress.reason ?? "it has failed"
    switch progress.state {
    case .delivered, .successful: return result(.ok)
    case .expired: return .error(.expired(device: device, delivery: progress.delivery))
    case .deleted: return .error(.cancelled(progress.delivery))
    case .queued, .sent, .timeout, .failed:
      switch progress.delivery {
      case .notSent: return .error(.invalidCall(reason))
      case .sentNoAck: return .error(.undelivered(device: device, reason: reason))
      case .delivered: return .error(.unanswered(device: device, after: call.timeout ?? .seconds(10)))
      case .refused: return .error(.rejected(device: device, reason: reason))
      case .unreadable: return .error(.garbled(device: device, reason: reason))
      }
    }
  }
}
