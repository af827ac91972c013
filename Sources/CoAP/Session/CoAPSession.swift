internal import CLibcoap

/// One peer of an endpoint: an address that has sent a request, or has completed a DTLS or TLS handshake.
// Unchecked because every member is touched on the loop's thread only, which the entry points assert.
package final class CoAPSession: @unchecked Sendable {
  package let address: CoAPAddress
  package let scheme: CoAPScheme
  /// The authenticated peer over DTLS and TLS. Nil for `coap` and `coap+tcp`.
  package let secured: SecuredPeer?
  package let loop: EventLoop
  package fileprivate(set) var observations: [CoAPObservation] = []

  let shard: CoAPShard
  // libcoap's session. Nil after the session has ended.
  fileprivate(set) var handle: OpaquePointer?
  // The index of this object in the shard's sessions.
  var index = 0
  private var exchanges: [Exchange] = []
  private var oldestExchange = 0
  // Exchanges whose response cannot be produced again.
  private var keptExchanges: [Exchange] = []
  // Nil until it is needed: most sessions never have a block-wise transfer.
  var transfers: BlockTransfers?
  private var allowance = RequestAllowance()
  // Message id of the confirmable separate response that is not acknowledged yet.
  private(set) var separate: UInt16?
  /// The connection was closed or has failed. Nothing may be sent any more.
  var isLost = false
  /// The last responses to observers, which may not have received them.
  var farewells: [(token: CoAPToken, response: CoAPResponse)] = []
  /// Pings that are not answered yet. Over TCP they have no message id.
  var pings: [(mid: UInt16?, due: UInt64, done: (CoAPPingEnd) -> Void)] = []
  /// When `Retransmissions` calls `transmitAgain(now:)` next.
  var nextTransmission = UInt64.max

  init(
    handle: OpaquePointer, address: CoAPAddress, scheme: CoAPScheme, secured: SecuredPeer?, shard: CoAPShard
  ) {
    self.handle = handle
    self.address = address
    self.scheme = scheme
    self.secured = secured
    self.shard = shard
    loop = shard.loop
  }

  /// Ends the session, over DTLS and TLS with a close_notify. The owners of its observations and the handler are called.
  package func close() {
    assert(loop.isCurrent)
    shard.close(self)
  }

  deinit { assert(handle == nil, "a session was not closed") }

  /// Ends observations, transfers and pings, because the session has ended. libcoap frees its own session.
  func end(_ reason: CoAPObservation.End) {
    for observation in observations { drop(observation, reason: reason) }
    if let separate { takeBack(separate) }
    forgetTransfers()
    endPings()
    handle = nil
  }

  // MARK: Retransmitted requests (RFC 7252 §4.5)

  private struct Exchange {
    var token: CoAPToken
    var seconds: UInt32
    var messageID: UInt16
    var method: CoAPCode
    // 0.00 while the response is still to come.
    var code: CoAPCode
    var digest: UInt32
    var response: CachedResponse?
  }

  private final class CachedResponse {
    let response: CoAPResponse
    init(_ response: CoAPResponse) { self.response = response }
  }

  enum Answer {
    case response(CoAPResponse)
    /// The request is known and its response still to come.
    case pending
  }

  /// The answer already given to this request, if it is a retransmission.
  ///
  /// A device that has rebooted may start with the same message ids and tokens as before. A request with another body, by its
  /// `digest`, is therefore a new request, and so is a registration whose observation has ended.
  func earlierAnswer(
    messageID: UInt16, token: CoAPToken, method: CoAPCode, digest: UInt32, now: UInt32
  ) -> Answer? {
    let isSame = { (exchange: Exchange) in
      exchange.messageID == messageID && exchange.token == token && exchange.method == method
        && exchange.digest == digest && now &- exchange.seconds < UInt32(CoAPTransmission.exchangeLifetime)
    }
    if let exchange = exchanges.first(where: isSame) ?? keptExchanges.first(where: isSame) {
      if exchange.code.rawValue == 0 { return .pending }
      guard let response = exchange.response?.response else { return .response(CoAPResponse(exchange.code)) }
      return response.observe == nil || observation(token: token) != nil ? .response(response) : nil
    }
    return nil
  }

  /// Remembers the response to a request. A nil response is still to come. Without a digest, the one that is stored for the
  /// request is kept.
  func remember(
    _ response: CoAPResponse?, messageID: UInt16, token: CoAPToken, method: CoAPCode, digest: UInt32?, now: UInt32
  ) {
    let index = exchanges.firstIndex { $0.messageID == messageID }
    let hasMore = response.map { $0 != CoAPResponse($0.code) } ?? false
    let exchange = Exchange(
      token: token, seconds: now, messageID: messageID, method: method,
      code: response?.code ?? CoAPCode(rawValue: 0), digest: digest ?? index.map { exchanges[$0].digest } ?? 0,
      response: hasMore ? response.map(CachedResponse.init) : nil)
    if response?.isOnce == true {
      keptExchanges.removeAll { now &- $0.seconds >= UInt32(CoAPTransmission.exchangeLifetime) }
      if keptExchanges.count >= max(1, shard.limits.keptExchangesPerSession) { keptExchanges.removeFirst() }
      keptExchanges.append(exchange)
    }
    if let index {
      exchanges[index] = exchange
    } else if exchanges.count < shard.limits.exchangesPerSession {
      exchanges.append(exchange)
    } else if !exchanges.isEmpty {
      exchanges[oldestExchange] = exchange
      oldestExchange = (oldestExchange + 1) % exchanges.count
    }
  }

  // MARK: Requests per second

  /// The number of requests that the peer may send per second. 0 means no limit.
  package var requestsPerSecond: Int { shard.limits.requestsPerSecond }

  /// Counts a request against the peer's rate. False when the rate is exceeded.
  func mayAsk(now: UInt64) -> Bool {
    let limit = shard.limits.requestsPerSecond
    return limit <= 0 || allowance.take(now: now, perSecond: limit)
  }

  /// The refusal of a request that exceeds the rate (RFC 8516). The handler is called about it.
  package func tooManyRequests() -> CoAPResponse {
    shard.handler.refusedForRate(self, isFirst: allowance.refuse())
    var response = CoAPResponse.error(
      .tooManyRequests, "at most \(shard.limits.requestsPerSecond) requests a second, and one for each call")
    response.maxAge = 1
    return response
  }

  /// Allows one more request: something was sent that the peer answers with a request.
  func allowRequest() { allowance.give() }

  // MARK: Observations

  /// Registers the sender of `request` as an observer. An earlier registration with the same token is replaced, and its
  /// sequence is continued (RFC 7641 §4.1). Otherwise the sequence begins with `sequence`, of which 24 bits are used.
  /// Notifications are confirmable unless `isConfirmable` is false.
  ///
  /// Nil when the peer has as many observations as `CoAPLimits.observationsPerSession` allows.
  package func observe(
    _ request: CoAPRequest, owner: any CoAPObservationOwner, sequence: UInt32 = 2, isConfirmable: Bool = true
  ) -> CoAPObservation? {
    assert(loop.isCurrent)
    var sequence = sequence
    if let earlier = observation(token: request.token) {
      sequence = earlier.nextSequence()
      drop(earlier, reason: .replaced)
    }
    farewells.removeAll { $0.token == request.token }
    guard let handle, observations.count < shard.limits.observationsPerSession else { return nil }
    let observation = CoAPObservation(
      session: self, token: request.token, transfer: TransferKey(request), sequence: sequence, owner: owner,
      exponent: request.block2?.exponent, isConfirmable: isConfirmable)
    observations.append(observation)
    // The session stays and will remember more exchanges. Memory reserved now is close to its other memory.
    exchanges.reserveCapacity(shard.limits.exchangesPerSession)
    // libcoap drops idle sessions; one with an observation must stay.
    coap_session_reference(handle)
    return observation
  }

  package func observation(token: CoAPToken) -> CoAPObservation? {
    observations.first { $0.token == token }
  }

  /// Ends an observation and calls its owner.
  package func drop(_ observation: CoAPObservation, reason: CoAPObservation.End) {
    assert(loop.isCurrent)
    guard let index = observations.firstIndex(where: { $0 === observation }) else { return }
    observations.remove(at: index)
    // It is not retransmitted: a device that has registered again may have run the call already, such as a reboot.
    if let mid = observation.outstanding { takeBack(mid) }
    if let handle { coap_session_release(handle) }
    observation.end(reason)
  }

  /// Sends the last responses to ended observations again, because the peer has sent a request.
  func repeatFarewells() {
    guard let handle else { return }
    for (token, response) in farewells { _ = send(response, token: token, isConfirmable: false, on: handle) }
    farewells = []
  }

  // MARK: Sending

  /// Sends the response to a request for which the handler returned nil, as a separate response (RFC 7252 §5.2.2).
  package func respond(_ response: CoAPResponse, to request: CoAPRequest) {
    assert(loop.isCurrent)
    guard let handle else { return }
    var response = response
    response.block1 = request.block1
    noteAnswer(response, to: request)
    if !scheme.isStream {
      remember(
        response, messageID: request.messageID, token: request.token, method: request.method,
        digest: nil, now: shard.seconds)
    }
    // Only one confirmable message may be outstanding (NSTART), and a response need not be confirmable (RFC 7252 §5.2.2).
    let isConfirmable =
      request.isConfirmable && !scheme.isStream && separate == nil && !observations.contains { $0.outstanding != nil && $0.isConfirmable }
    let answer = cutting(response, for: request)
    if isConfirmable {
      separate = transmit(answer, token: request.token) { .response($0, self) }
    } else {
      _ = send(answer, token: request.token, isConfirmable: false, on: handle)
    }
  }

  /// Called when a separate response has been acknowledged, or never will be.
  func settled(_ messageID: UInt16) {
    if separate == messageID { separate = nil }
  }

  /// Passes a message with a response code to libcoap. Over UDP and DTLS it is non-confirmable. Returns its message id, or
  /// nil when it could not be sent.
  func send(
    _ response: CoAPResponse, token: CoAPToken, isConfirmable: Bool, on handle: OpaquePointer
  ) -> UInt16? {
    guard !isLost else { return nil }
    let mid = coap_new_message_id(handle)
    guard
      let pdu = coap_pdu_init(
        isConfirmable ? COAP_MESSAGE_CON : COAP_MESSAGE_NON, pdu_code(0), coap_mid_t(mid), coap_session_max_pdu_size(handle))
    else { return nil }
    guard PDU.addToken(token, to: pdu), PDU.write(response, to: pdu) else {
      coap_delete_pdu(pdu)
      return nil
    }
    loop.counts.packetsSent &+= 1
    // coap_send frees the PDU, also when it fails.
    return coap_send(handle, pdu) == COAP_INVALID_MID ? nil : mid
  }
}
