internal import CLibcoap

/// What is under way to peers, and how its arrival is known: by its acknowledgement on UDP, which is peeked, and over DTLS by
/// what libcoap lets see.
extension CoAPShard {
  func expectAcknowledgement(of messageID: UInt16, number: UInt32, on observation: CoAPObservation) {
    expect(.notification(number, observation), messageID, from: observation.session)
  }

  func expectAcknowledgement(of messageID: UInt16, on session: CoAPSession) {
    expect(.response(messageID, session), messageID, from: session)
  }

  private func expect(_ message: SentMessage, _ messageID: UInt16, from session: CoAPSession) {
    switch session.scheme {
    case .coap: break
    case .coaps:
      // What arrives is encrypted.
      session.noteUnconfirmed(message, messageID)
      unconfirmed[ObjectIdentifier(session)] = session
      watchRetransmission()
      return barriers.add(session)
    case .coapTCP, .coapsTCP:
      // There is nothing to wait for.
      return loop.atEndOfPass { message.acknowledged() }
    }
    expected[key(session.address, messageID)] = message
    watchRetransmission()
  }

  func expectNothing(from session: CoAPSession) { unconfirmed[ObjectIdentifier(session)] = nil }

  /// Nobody wants to know of it any more. Over DTLS it stays on its list, which has to be complete.
  func expectNothing(of messageID: UInt16, on session: CoAPSession) {
    if session.scheme == .coap { expected[key(session.address, messageID)] = nil }
  }

  /// Takes what is under way to a peer off the list that it is on.
  func takeSent(_ mid: UInt16, to session: CoAPSession) -> SentMessage? {
    session.scheme == .coap ? expected.removeValue(forKey: key(session.address, mid)) : session.takeUnconfirmed(mid)
  }

  func expectConfirmation(of session: CoAPSession, after delay: UInt64) { barriers.add(session, after: delay) }

  /// libcoap tells nobody of an acknowledgement over DTLS, but it does tell whether it waits for any. When it does not, all
  /// have come: with what was given up it has told that, and no list has it any more.
  func confirmArrivals() {
    guard !unconfirmed.isEmpty, coap_can_exit(context) == 1 else { return }
    let sessions = unconfirmed
    unconfirmed = [:]
    for session in sessions.values where !session.isLost { session.confirmUnconfirmed() }
  }

  func watchPings(of session: CoAPSession) {
    pinging[ObjectIdentifier(session)] = session
    watchRetransmission()
    pump.note(self, due: loop.passTime + longestPing)
  }

  // Longer than libcoap's own patience, which it does tell of.
  private var longestPing: UInt64 { transmission.longestTransmission + 2_000_000_000 }

  func endOverduePings() {
    for (id, session) in pinging {
      if loop.passTime > longestPing { session.endPings(before: loop.passTime - longestPing) }
      if session.pings.isEmpty { pinging[id] = nil }
    }
    if !pinging.isEmpty { pump.note(self, due: loop.passTime + 1_000_000_000) }
  }

  /// A Reset has come that is for nothing under way, such as the second one to a ping that was repeated. libcoap counts it
  /// as the end of what is under way, and lets the next message leave beside it (net.c, `coap_dispatch`): that a ping waits
  /// for the messages before it is not true then, until there are none.
  func strayReset(from peer: PeerKey) {
    for session in sessions where session.scheme == .coaps && PeerKey(session.address) == peer { session.noteDoubt() }
  }

  /// A message has come that is not confirmable. Where it has the id of a confirmable one of ours, libcoap takes that off
  /// its queue, as if it were the answer, and keeps its only slot: nothing would ever leave again.
  func receivedNonConfirmable(_ mid: UInt16, on session: CoAPSession) {
    let isPing = session.isPing(mid)
    guard session.scheme == .coaps else {
      guard isPing else { return }
      // Of notifications it has been peeked. Whoever sends it is there, which is what was asked.
      return loop.atEndOfPass {
        session.freeSlot()
        session.pingEnded(mid, .answered)
      }
    }
    let sent = session.takeUnconfirmed(mid)
    guard sent != nil || isPing else { return }
    // Its answer is still to be sent.
    loop.atEndOfPass {
      sent?.failed(.notAcknowledged)
      self.close(session)
    }
  }

  /// An empty message: a keep-alive, or a ping, which libcoap answers with a Reset.
  func pinged(_ handle: OpaquePointer, _ pdu: OpaquePointer?, _ mid: UInt16) {
    // Not of somebody who has asked for nothing yet.
    guard let session = known(handle) else { return }
    heard(from: session)
    if coap_pdu_get_type(pdu) == COAP_MESSAGE_NON { receivedNonConfirmable(mid, on: session) }
  }
}
