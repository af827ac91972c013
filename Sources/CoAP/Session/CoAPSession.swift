internal import CLibcoap

/// One peer of an endpoint: an address that has sent us a request.
// Unchecked because every member is touched on the loop's thread only, which the entry points assert.
package final class CoAPSession: @unchecked Sendable {
  package let address: CoAPAddress
  package let scheme: CoAPScheme
  /// What there is besides over DTLS and TLS; nil for `coap` and `coap+tcp`.
  package let secured: SecuredPeer?
  package let loop: EventLoop
  package fileprivate(set) var observations: [CoAPObservation] = []

  let shard: CoAPShard
  // libcoap's session; nil once it is gone.
  fileprivate(set) var handle: OpaquePointer?
  // Where the shard keeps this object.
  var index = 0
  private var exchanges: [Exchange] = []
  private var oldestExchange = 0
  // Those whose answer cannot be given anew.
  private var keptExchanges: [Exchange] = []
  // Most sessions never transfer anything in blocks: those that do pay for the room.
  var transfers: BlockTransfers?
  private var allowance = RequestAllowance()
  // Message id of the confirmable separate response that is not acknowledged yet.
  private(set) var separate: UInt16?
  /// The connection is gone; nothing may be sent any more.
  var isLost = false
  /// The last words to observers that may not have heard them.
  var farewells: [(token: CoAPToken, response: CoAPResponse)] = []
  /// Without a message id over TCP.
  var pings: [(mid: UInt16?, due: UInt64, done: (CoAPPingEnd) -> Void)] = []
  /// When `Retransmissions` looks at it next.
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

  /// Ends the session, with a close-notify where there is one; observations and the handler are told.
  package func close() {
    assert(loop.isCurrent)
    shard.close(self)
  }

  deinit { assert(handle == nil, "a session was not closed") }

  /// Tells observations and transfers that the peer is gone. libcoap frees its session itself.
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
  /// A device that has rebooted may begin with the same message ids and tokens as before. So another body, by its `digest`,
  /// makes another request of it, and so does an observation that is not there any more.
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

  /// Remembers the answer to a request; nil stands for one that is still to come. Without a digest it is that of the same
  /// request as before.
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

  /// How many the peer may send in a second; 0 for no bound.
  package var requestsPerSecond: Int { shard.limits.requestsPerSecond }

  /// Takes a request off what the peer is allowed; false when there is nothing left.
  func mayAsk(now: UInt64) -> Bool {
    let limit = shard.limits.requestsPerSecond
    return limit <= 0 || allowance.take(now: now, perSecond: limit)
  }

  /// The refusal of a request that is beyond it (RFC 8516), which the handler is told of.
  package func tooManyRequests() -> CoAPResponse {
    shard.handler.refusedForRate(self, isFirst: allowance.refuse())
    var response = CoAPResponse.error(
      .tooManyRequests, "at most \(shard.limits.requestsPerSecond) requests a second, and one for each call")
    response.maxAge = 1
    return response
  }

  /// The peer may ask once more: something was sent that it answers with a request.
  func allowRequest() { allowance.give() }

  // MARK: Observations

  /// Registers the sender of `request` as an observer, in place of an earlier registration with the same token, whose
  /// sequence goes on (RFC 7641 §4.1); else it begins with `sequence`, of which 24 bits count.
  ///
  /// Nil when the peer has as many observations as `CoAPLimits.observationsPerSession` allows.
  package func observe(
    _ request: CoAPRequest, owner: any CoAPObservationOwner, sequence: UInt32 = 2
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
      exponent: request.block2?.exponent)
    observations.append(observation)
    // It stays and will send more: what it needs then lies beside the rest of it.
    exchanges.reserveCapacity(shard.limits.exchangesPerSession)
    // libcoap drops idle sessions; one with an observation must stay.
    coap_session_reference(handle)
    return observation
  }

  package func observation(token: CoAPToken) -> CoAPObservation? {
    observations.first { $0.token == token }
  }

  /// Ends an observation; its owner is told.
  package func drop(_ observation: CoAPObservation, reason: CoAPObservation.End) {
    assert(loop.isCurrent)
    guard let index = observations.firstIndex(where: { $0 === observation }) else { return }
    observations.remove(at: index)
    // A device that has registered anew may have run the call, and be back from a reboot that was the call.
    if let mid = observation.outstanding { takeBack(mid) }
    if let handle { coap_session_release(handle) }
    observation.end(reason)
  }

  /// The peer is heard again: observers whose observation has ended meanwhile are told so once more.
  func repeatFarewells() {
    guard let handle else { return }
    for (token, response) in farewells { _ = send(response, token: token, isConfirmable: false, on: handle) }
    farewells = []
  }

  // MARK: Sending

  /// The response to a request whose handler answered `.deferred`: as a separate response (RFC 7252 §5.2.2).
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
    // One confirmable message at a time (NSTART): a response need not be one (RFC 7252 §5.2.2).
    let isConfirmable =
      request.isConfirmable && !scheme.isStream && separate == nil && !observations.contains { $0.outstanding != nil }
    let answer = cutting(response, for: request)
    if isConfirmable {
      separate = transmit(answer, token: request.token) { .response($0, self) }
    } else {
      _ = send(answer, token: request.token, isConfirmable: false, on: handle)
    }
  }

  /// A separate response has been acknowledged, or never will be.
  func settled(_ messageID: UInt16) {
    if separate == messageID { separate = nil }
  }

  /// Hands a message with a response code to libcoap, over UDP and DTLS one that is not confirmable. Returns its message id,
  /// or nil when it could not be built.
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
    // coap_send frees the PDU, also when it fails.
    return coap_send(handle, pdu) == COAP_INVALID_MID ? nil : mid
  }
}
