internal import CLibcoap

/// A client's connection to one server: one socket.
// Unchecked because every member is touched on the loop's thread only.
package final class CoAPPeer: @unchecked Sendable {
  private let client: CoAPClient
  private var handle: OpaquePointer?
  private var waiting: [CoAPToken: (deadline: UInt64, resume: (Result<CoAPResponse, CoAPFailure>) -> Void)] = [:]
  private var observers: [CoAPToken: (CoAPResponse) -> Void] = [:]
  // Requests made before the connection is established are postponed: libcoap would wait for the connection, and do nothing
  // else, for up to five seconds (`coap_client_delay_first`).
  private var isConnected: Bool
  private var postponed: [() -> Void] = []
  // Why the session is about to end.
  private var ending: CoAPFailure?
  // Tokens of one peer differ; which ones they are does not matter (RFC 7252 §5.3.1).
  private var lastToken = UInt64.random(in: .min ... .max)

  init(client: CoAPClient, handle: OpaquePointer, isConnected: Bool) {
    self.client = client
    self.handle = handle
    self.isConnected = isConnected
  }

  /// Sends a request, in blocks if it is long, and returns the whole response, whatever its code.
  ///
  /// - Throws: `CoAPFailure.timedOut` after `timeout`, `.notAcknowledged`, `.reset`, `.closed`, and `.malformed` when
  ///   the blocks of a response do not fit together.
  package func request(
    _ request: CoAPClientRequest, timeout: Duration = .seconds(93)
  ) async throws(CoAPFailure) -> CoAPResponse {
    let deadline = EventLoop.monotonic + timeout.nanosecondsClamped
    var response = try await sendBody(request, deadline: deadline)
    try await fetchRest(of: &response, request, deadline: deadline)
    return response
  }

  /// Registers as an observer and returns the first response. `onNotification` gets each later one, whole, on the loop's
  /// thread. The observation is established when the response has the Observe option.
  package func observe(
    _ request: CoAPClientRequest, timeout: Duration = .seconds(93),
    onNotification: @escaping @Sendable (CoAPResponse) -> Void
  ) async throws(CoAPFailure) -> (CoAPResponse, token: CoAPToken) {
    var request = request
    request.observe = 0
    let token = await client.loop.perform { self.nextToken() }
    let deadline = EventLoop.monotonic + timeout.nanosecondsClamped
    let outgoing = request
    var response = try await exchange(outgoing, token: token, deadline: deadline) { peer in
      peer.observers[token] = { notification in
        guard notification.block2?.more == true else { return onNotification(notification) }
        Task {
          var whole = notification
          let deadline = EventLoop.monotonic + timeout.nanosecondsClamped
          guard (try? await peer.fetchRest(of: &whole, outgoing, deadline: deadline)) != nil else { return }
          onNotification(whole)
        }
      }
    }
    if response.observe == nil { await client.loop.perform { self.observers[token] = nil } }
    try await fetchRest(of: &response, request, deadline: deadline)
    return (response, token)
  }

  /// Ends an observation with Observe 1 on its token (RFC 7641 §3.6).
  package func stopObserving(
    _ request: CoAPClientRequest, token: CoAPToken, timeout: Duration = .seconds(93)
  ) async throws(CoAPFailure) -> CoAPResponse {
    var request = request
    request.observe = 1
    return try await exchange(
      request, token: token, deadline: EventLoop.monotonic + timeout.nanosecondsClamped
    ) { $0.observers[token] = nil }
  }

  /// Forgets an observation without a message to the server. The next notification is answered with a Reset.
  package func forgetObservation(token: CoAPToken) async {
    await client.loop.perform { self.observers[token] = nil }
  }

  /// Closes the socket; outstanding requests end with `CoAPFailure.closed`.
  package func close() async {
    await client.loop.perform {
      guard let handle = self.handle else { return }
      self.client.forget(handle)
      self.end()
    }
  }

  // MARK: Exchanges

  private func sendBody(
    _ request: CoAPClientRequest, deadline: UInt64
  ) async throws(CoAPFailure) -> CoAPResponse {
    let size = 1_024
    guard request.payload.count > size else { return try await exchange(request, deadline: deadline) }
    var offset = 0
    while true {
      let end = min(offset + size, request.payload.count)
      var part = request
      part.payload = Array(request.payload[offset..<end])
      let block = CoAPBlock(
        number: UInt32(clamping: offset / size), more: end < request.payload.count, exponent: 6)
      let response = try await exchange(part, block1: block, deadline: deadline)
      guard block.more else { return response }
      guard response.code == .continue else { return response }
      offset = end
    }
  }

  private func fetchRest(
    of response: inout CoAPResponse, _ request: CoAPClientRequest, deadline: UInt64
  ) async throws(CoAPFailure) {
    guard var block = response.block2, block.more else { return }
    while block.more {
      guard response.payload.count == block.offset + block.size else {
        throw .malformed("block \(block.number) has not the size that it says")
      }
      var next = request
      next.observe = nil
      next.payload = []
      let wanted = CoAPBlock(number: block.number + 1, more: false, exponent: block.exponent)
      let part = try await exchange(next, block2: wanted, deadline: deadline)
      guard part.code.isSuccess, let got = part.block2, got.number == wanted.number,
        part.etag == response.etag
      else { throw .malformed("block \(wanted.number) was answered with \(part.code)") }
      response.payload += part.payload
      block = got
    }
    response.block2 = nil
  }

  private func exchange(
    _ request: CoAPClientRequest, token: CoAPToken? = nil, block1: CoAPBlock? = nil,
    block2: CoAPBlock? = nil, deadline: UInt64,
    beforeSending: (@Sendable (CoAPPeer) -> Void)? = nil
  ) async throws(CoAPFailure) -> CoAPResponse {
    let result = await withCheckedContinuation { (continuation: CheckedContinuation<Result<CoAPResponse, CoAPFailure>, Never>) in
      client.loop.execute {
        beforeSending?(self)
        self.send(request, token: token ?? self.nextToken(), block1: block1, block2: block2, deadline: deadline) {
          continuation.resume(returning: $0)
        }
      }
    }
    return try result.get()
  }

  // MARK: Loop's thread

  private func nextToken() -> CoAPToken {
    lastToken &+= 1
    return CoAPToken(lastToken)
  }

  private func send(
    _ request: CoAPClientRequest, token: CoAPToken, block1: CoAPBlock?, block2: CoAPBlock?, deadline: UInt64,
    resume: @escaping (Result<CoAPResponse, CoAPFailure>) -> Void
  ) {
    guard isConnected || handle == nil else {
      // The connection may never be established, so the deadline counts from now on.
      waiting[token] = (deadline, resume)
      client.expect(by: deadline)
      return postponed.append {
        guard self.waiting.removeValue(forKey: token) != nil else { return }
        self.send(request, token: token, block1: block1, block2: block2, deadline: deadline, resume: resume)
      }
    }
    guard let handle else { return resume(.failure(ending ?? .closed)) }
    let type = request.isConfirmable ? COAP_MESSAGE_CON : COAP_MESSAGE_NON
    guard
      let pdu = coap_pdu_init(
        type, pdu_code(request.method.rawValue), coap_mid_t(coap_new_message_id(handle)),
        coap_session_max_pdu_size(handle))
    else { return resume(.failure(.closed)) }
    var fits = PDU.addToken(token, to: pdu)
    if let observe = request.observe { fits = PDU.add(COAP_OPTION_OBSERVE, UInt64(observe), to: pdu) && fits }
    for segment in request.path { fits = PDU.add(COAP_OPTION_URI_PATH, segment, to: pdu) && fits }
    if let format = request.contentFormat {
      fits = PDU.add(COAP_OPTION_CONTENT_FORMAT, UInt64(format.rawValue), to: pdu) && fits
    }
    for item in request.query { fits = PDU.add(COAP_OPTION_URI_QUERY, item, to: pdu) && fits }
    if let accept = request.accept { fits = PDU.add(COAP_OPTION_ACCEPT, UInt64(accept.rawValue), to: pdu) && fits }
    if let block2 { fits = PDU.add(COAP_OPTION_BLOCK2, UInt64(block2.optionValue), to: pdu) && fits }
    if let block1 { fits = PDU.add(COAP_OPTION_BLOCK1, UInt64(block1.optionValue), to: pdu) && fits }
    guard fits, PDU.add(request.payload, to: pdu) else {
      coap_delete_pdu(pdu)
      return resume(.failure(.malformed("the request does not fit a datagram")))
    }
    waiting[token] = (deadline, resume)
    client.expect(by: deadline)
    if coap_send(handle, pdu) == COAP_INVALID_MID { fail(token, .closed) }
  }

  func connected() {
    isConnected = true
    let requests = postponed
    postponed = []
    for request in requests { request() }
  }

  func connectsNow() { client.loop.atEndOfPass { self.connected() } }

  /// Called when the connection was closed or could not be established. All waiting requests fail with the first reason.
  func disconnected(_ reason: CoAPFailure) {
    ending = ending ?? reason
    client.loop.atEndOfPass {
      if let handle = self.handle { self.client.forget(handle) }
      self.end()
    }
  }

  func received(_ response: CoAPResponse, token: CoAPToken) -> Bool {
    if let (_, resume) = waiting.removeValue(forKey: token) {
      resume(.success(response))
      return true
    }
    guard let observer = observers[token] else { return false }
    if response.observe == nil { observers[token] = nil }
    observer(response)
    return true
  }

  func fail(_ token: CoAPToken, _ failure: CoAPFailure) {
    waiting.removeValue(forKey: token)?.resume(.failure(failure == .closed ? ending ?? .closed : failure))
  }

  func expire(now: UInt64) -> UInt64 {
    for (token, entry) in waiting where entry.deadline <= now { fail(token, silence) }
    return waiting.values.map(\.deadline).min() ?? .max
  }

  // A server silently drops what it cannot decrypt (RFC 6347 §4.1.2.7). If it has selected a cipher, it is reachable.
  private var silence: CoAPFailure {
    guard let handle, coap_session_get_state(handle) == COAP_SESSION_STATE_HANDSHAKE, tls_cipher(handle) != nil else {
      return .timedOut
    }
    return .refused("the server is there, and does not answer to this key: it may not be the one of the identity")
  }

  func end() {
    guard let handle else { return }
    self.handle = nil
    observers = [:]
    for token in Array(waiting.keys) { fail(token, .closed) }
    // This clears the postponed requests, which have failed with the others.
    connected()
    // libcoap would keep the session for its retransmissions, and the server would get messages of a closed peer.
    coap_session_disconnected(handle, COAP_NACK_NOT_DELIVERABLE)
    coap_session_release(handle)
  }
}

extension Duration {
  /// Whole nanoseconds, at most about 146 years, so that a deadline never overflows.
  package var nanosecondsClamped: UInt64 {
    let (seconds, attoseconds) = components
    guard seconds >= 0 else { return 0 }
    guard seconds < 4_611_686_018 else { return 4_611_686_018_000_000_000 }
    return UInt64(seconds) * 1_000_000_000 + UInt64(max(0, attoseconds) / 1_000_000_000)
  }
}
