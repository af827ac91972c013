internal import CLibcoap
internal import Logging

/// Requests and their responses, and the timeout of block-wise transfers.
extension CoAPShard {
  func answer(_ handle: OpaquePointer, _ pdu: OpaquePointer?, _ response: OpaquePointer?) {
    // An acknowledgement cannot carry a request (RFC 7252 §4.2). Over UDP it has been filtered out before.
    guard coap_pdu_get_type(pdu) != COAP_MESSAGE_ACK, let session = session(handle) else { return }
    handler.heard(from: session)
    defer { if !session.farewells.isEmpty { loop.atEndOfPass { session.repeatFarewells() } } }
    guard !session.scheme.isStream else {
      loop.counts.packetsReceived &+= 1
      // There are no retransmissions over TCP.
      if let answer = freshAnswer(to: pdu, mid: 0, token: PDU.token(pdu), on: session) { write(answer, to: response, on: session) }
      return
    }
    // It is acknowledged, with the response or before it.
    if coap_pdu_get_type(pdu) == COAP_MESSAGE_CON { loop.counts.packetsSent &+= 1 }
    let mid = UInt16(truncatingIfNeeded: coap_pdu_get_mid(pdu))
    let token = PDU.token(pdu)
    let method = CoAPCode(rawValue: UInt8(truncatingIfNeeded: coap_pdu_get_code(pdu).rawValue))
    let digest = PDU.digest(ofBodyIn: pdu)
    let now = seconds
    switch session.earlierAnswer(messageID: mid, token: token, method: method, digest: digest, now: now) {
    case .response(let earlier):
      write(earlier, to: response, on: session)
    case .pending:
      // Code 0.00 makes libcoap send the empty acknowledgement again.
      break
    case nil:
      let answer = freshAnswer(to: pdu, mid: mid, token: token, on: session)
      session.remember(answer, messageID: mid, token: token, method: method, digest: digest, now: now)
      if let answer { write(answer, to: response, on: session) }
    }
  }

  func freshAnswer(
    to pdu: OpaquePointer?, mid: UInt16, token: CoAPToken, on session: CoAPSession
  ) -> CoAPResponse? {
    var request: CoAPRequest
    do throws(PDU.Unreadable) {
      request = try PDU.request(pdu, mid: mid, token: token, allowsBERT: session.scheme.isStream)
    } catch {
      // A non-confirmable request with an option that is not understood is ignored (RFC 7252 §5.4.1).
      guard error.code != .badOption || coap_pdu_get_type(pdu) == COAP_MESSAGE_CON else { return nil }
      return session.mayAsk(now: loop.passTime) ? .error(error.code, error.diagnostic) : session.tooManyRequests()
    }
    // A later block belongs to a request that was counted with its first block.
    if !session.isLaterBlock(request), !session.mayAsk(now: loop.passTime) {
      guard handler.mayExceedRate(request) else { return session.tooManyRequests() }
      request.isOverRate = true
    }
    if !truncated.isEmpty, truncated.contains(key(session.address, mid)) {
      return .error(
        .requestEntityTooLarge, "a datagram may have \(AdoptedSocket.largestDatagram) bytes; use Block1")
    }
    var lastBlock: CoAPBlock?
    if let block = request.block1 {
      if let response = session.receive(block, of: &request, now: EventLoop.monotonic) { return response }
      lastBlock = block
    } else if let block = request.block2, block.number > 0,
      request.method == .get || request.method == .fetch
    {
      let (response, notification, isWhole) = session.laterBlock(block, of: request)
      if let notification {
        loop.atEndOfPass {
          for observation in session.observations { observation.fetched(of: notification, isWhole: isWhole) }
        }
      }
      return response
    }
    guard var response = handler.respond(to: request, on: session) else { return nil }
    response.block1 = lastBlock
    session.noteAnswer(response, to: request)
    if !response.code.isSuccess, let observation = session.observation(token: token), request.observe == 0 {
      session.drop(observation, reason: .closed)
    }
    return session.cutting(response, for: request)
  }

  func write(_ response: CoAPResponse, to pdu: OpaquePointer?, on session: CoAPSession) {
    if session.scheme.isStream || coap_pdu_get_type(pdu) != COAP_MESSAGE_ACK { loop.counts.packetsSent &+= 1 }
    if !PDU.write(response, to: pdu) { handler.responseWasCut(response.code, on: session) }
  }

  // MARK: Transfers in blocks

  func watchTransfers(of session: CoAPSession) {
    transferring[ObjectIdentifier(session)] = session
    if transferTimer == nil {
      transferTimer = loop.makeTimer { [unowned self] in self.forgetTransfers() }
    }
    if transferring.count == 1 { armTransferTimer() }
  }

  func armTransferTimer() {
    transferTimer?.arm(at: EventLoop.monotonic + UInt64(limits.transferTimeout) * 1_000_000_000)
  }

  func forgetTransfers() {
    let limit = EventLoop.monotonic - UInt64(limits.transferTimeout) * 1_000_000_000
    transferring = transferring.filter { $0.value.forgetTransfers(before: limit) }
    if !transferring.isEmpty { armTransferTimer() }
  }
}
