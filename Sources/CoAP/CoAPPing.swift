internal import CLibcoap

/// What became of a question whether the peer is there.
package enum CoAPPingEnd: Sendable, Hashable {
  case answered
  /// Sent, after everything before it, and again and again, without an answer.
  case unanswered
  /// Not sent, or the session has ended first.
  case closed

  init(_ failure: CoAPFailure) {
    self =
      switch failure {
      case .reset: .answered
      case .notAcknowledged: .unanswered
      default: .closed
      }
  }
}

/// Questions to a peer whether it is there, and what else their answers prove.
extension CoAPSession {
  /// Asks the peer for a sign of life: an empty confirmable message, which it answers with a Reset (RFC 7252 §4.3), or a
  /// Ping (RFC 8323 §5.4). `done` is called once, on the loop's thread.
  package func ping(_ done: @escaping (CoAPPingEnd) -> Void) {
    assert(loop.isCurrent)
    guard let handle, !isLost, pings.count < 4 else { return loop.atEndOfPass { done(.closed) } }
    let mid = coap_session_send_ping(handle)
    guard mid != COAP_INVALID_MID else { return loop.atEndOfPass { done(.closed) } }
    pings.append((scheme.isStream ? nil : UInt16(truncatingIfNeeded: mid), loop.passTime, done))
    shard.watchPings(of: self)
  }

  func isPing(_ mid: UInt16) -> Bool { pings.contains { $0.mid == mid } }

  func pingEnded(_ mid: UInt16?, _ end: CoAPPingEnd) {
    guard let index = pings.firstIndex(where: { $0.mid == mid }) else { return }
    let ping = pings.remove(at: index)
    if end == .answered { shard.heard(from: self) }
    ping.done(end)
  }

  /// Ends pings from before a time: libcoap says nothing of one that is answered with an acknowledgement, or over TCP not at
  /// all.
  func endPings(before time: UInt64) {
    while let first = pings.first, first.sent < time {
      pings.removeFirst()
      first.done(.unanswered)
    }
  }

  func endPings() {
    let all = pings
    pings = []
    shard.pinging[ObjectIdentifier(self)] = nil
    for ping in all { ping.done(.closed) }
  }

  // MARK: DTLS: what is not known to have arrived

  func noteUnconfirmed(_ message: SentMessage, _ mid: UInt16) {
    if !isAnythingUnderWay { secured?.isDoubtful = false }
    secured?.unconfirmed.append((mid, message, loop.passTime))
  }

  private var isAnythingUnderWay: Bool { !pings.isEmpty || secured?.unconfirmed.isEmpty == false }

  func noteDoubt() { if isAnythingUnderWay { secured?.isDoubtful = true } }

  func takeUnconfirmed(_ mid: UInt16) -> SentMessage? {
    guard let index = secured?.unconfirmed.firstIndex(where: { $0.mid == mid }) else { return nil }
    return secured?.unconfirmed.remove(at: index).message
  }

  /// libcoap waits for nothing any more: all that was sent has been acknowledged. In doubt that is not said: a Reset takes
  /// all messages with its token along.
  func confirmUnconfirmed() {
    guard let secured else { return }
    let confirmed = secured.unconfirmed
    let isCertain = !secured.isDoubtful
    secured.unconfirmed = []
    secured.isDoubtful = false
    for (_, message, _) in confirmed { if isCertain { message.acknowledged() } else { message.settled() } }
  }

  func endSecured() {
    guard let secured else { return }
    secured.unconfirmed = []
    shard.expectNothing(from: self)
  }

  /// Asks for proof that what has been sent has arrived, where acknowledgements cannot always be seen: without being told
  /// so, that happens after a second.
  package func confirm() {
    assert(loop.isCurrent)
    guard scheme == .coaps, secured?.unconfirmed.isEmpty == false else { return }
    shard.expectConfirmation(of: self, after: BarrierQueue.haste)
  }

  func sendBarrier() {
    guard let secured, !secured.isConfirming, let last = secured.unconfirmed.last?.mid else { return }
    guard !secured.isDoubtful else { return waitForCertainty(secured) }
    secured.isConfirming = true
    secured.lastBarrier = loop.passTime
    ping { end in
      secured.isConfirming = false
      guard end != .closed, !secured.isDoubtful else {
        if !secured.unconfirmed.isEmpty { self.shard.expectConfirmation(of: self, after: BarrierQueue.patience) }
        return
      }
      // Answered or not, it has left, and so nothing before it is under way any more. What was given up has gone from the
      // list with that.
      if let index = secured.unconfirmed.firstIndex(where: { $0.mid == last }) {
        let confirmed = secured.unconfirmed[...index]
        secured.unconfirmed.removeFirst(index + 1)
        for (_, message, _) in confirmed { message.acknowledged() }
      }
      // What was sent meanwhile is behind the ping.
      if !secured.unconfirmed.isEmpty { self.shard.expectConfirmation(of: self, after: 0) }
    }
  }

  /// No ping proves anything now. Sooner or later libcoap waits for nothing; where that is not seen because it always waits
  /// for somebody, the device gets a new session, which is better than one in which nothing is known and nothing leaves.
  private func waitForCertainty(_ secured: SecuredPeer) {
    let longest = shard.transmission.longestTransmission
    guard let first = secured.unconfirmed.first, loop.passTime > first.sent + longest else {
      return shard.expectConfirmation(of: self, after: BarrierQueue.patience)
    }
    let lost = secured.unconfirmed
    secured.unconfirmed = []
    for (_, message, _) in lost { message.failed(.notAcknowledged) }
    close()
  }
}
