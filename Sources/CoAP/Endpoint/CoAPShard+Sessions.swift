internal import CLibcoap

/// The sessions of a context, and libcoap's events about them.
extension CoAPShard {
  /// The session of a libcoap session, if there is one already.
  func known(_ handle: OpaquePointer) -> CoAPSession? {
    coap_session_get_app_data(handle).map { Unmanaged<CoAPSession>.fromOpaque($0).takeUnretainedValue() }
  }

  /// The session of a libcoap session, which is created if there is none.
  func session(_ handle: OpaquePointer) -> CoAPSession? { known(handle) ?? begin(handle, nil) }

  func begin(_ handle: OpaquePointer, _ secured: SecuredPeer?) -> CoAPSession? {
    guard let address = CoAPAddress(coap_session_get_addr_remote(handle)),
      let scheme = CoAPScheme(coap_session_get_proto(handle)), scheme.isSecure == (secured != nil)
    else { return nil }
    let session = CoAPSession(handle: handle, address: address, scheme: scheme, secured: secured, shard: self)
    if scheme == .coaps { coap_session_set_mtu(handle, UInt32(AdoptedSocket.largestDatagram)) }
    session.index = sessions.count
    // The array owns the session. libcoap's pointer to it is removed together with it, in `forget(_:)`.
    sessions.append(session)
    coap_session_set_app_data(handle, Unmanaged.passUnretained(session).toOpaque())
    return session
  }

  func forget(_ session: CoAPSession, _ reason: CoAPObservation.End = .closed) {
    guard let handle = session.handle else { return }
    coap_session_set_app_data(handle, nil)
    session.end(reason)
    handler.sessionEnded(session)
    onEnded?(session)
    transferring[ObjectIdentifier(session)] = nil
    let last = sessions.removeLast()
    if last !== session {
      last.index = session.index
      sessions[session.index] = last
    }
  }

  /// Ends a session with its observations, and its connection or DTLS association.
  func close(_ session: CoAPSession, _ reason: CoAPObservation.End = .closed) {
    guard let handle = session.handle else { return }
    forget(session, reason)
    // This sends a close_notify over DTLS and TLS. libcoap frees the session when it walks its sessions.
    if session.scheme != .coap { coap_session_disconnected(handle, COAP_NACK_NOT_DELIVERABLE) }
    pump.note(self, due: loop.passTime)
  }

  func closeSession(of address: CoAPAddress) {
    if let session = sessions.first(where: { $0.address == address }) { close(session) }
  }

  /// Ends the sessions for which `reason` returns a reason. It is called for each session.
  func closeSessions(_ reason: (CoAPSession) -> String?) {
    for session in sessions { if let reason = reason(session) { close(session, .revoked(reason)) } }
  }

  /// Uses this certificate for new handshakes.
  func use(_ certificate: CoAPCertificate) throws(CoAPSystemError) { try secure?.use(certificate) }

  func happened(_ event: coap_event_t, _ handle: OpaquePointer) {
    switch event {
    case COAP_EVENT_TCP_CONNECTED:
      deleted = nil
      let isSecure = coap_session_get_proto(handle) == COAP_PROTO_TLS
      if isSecure { secure?.began(handle) }
      guard let peer = CoAPAddress(coap_session_get_addr_remote(handle)) else { return }
      connections?.opened(handle, from: peer, at: loop.passTime)
      if isSecure { accepting.append(handle) }
    case COAP_EVENT_SERVER_SESSION_NEW:
      deleted = nil
      silence(handle)
      guard secure != nil, CoAPScheme(coap_session_get_proto(handle))?.isSecure == true else { return }
      // For TLS this is done at COAP_EVENT_TCP_CONNECTED: the first message of a connection may have been read by now.
      if coap_session_get_proto(handle) == COAP_PROTO_DTLS {
        // The datagrams of a handshake must not be fragmented on their way (IPv6 has 48 bytes of headers).
        coap_session_set_mtu(handle, 1_152)
        secure?.began(handle)
      }
      // The warnings may be about an earlier session from the same port.
      forgetWarnings(about: handle)
    case COAP_EVENT_SERVER_SESSION_DEL:
      deleted = handle
      pump.hasFreedSession()
      accepting.removeAll { $0 == handle }
      ending.removeAll { $0 == handle }
      connections?.closed(handle)
      sessionDeleted(handle)
      secure?.forget(handle)
    case COAP_EVENT_DTLS_CONNECTED:
      guard let secured = secure?.completed(handle), let session = begin(handle, secured) else {
        pump.note(self, due: loop.passTime)
        return endAtEndOfPass(handle)
      }
      onEstablished?(session)
      handler.sessionBegan(session)
    case COAP_EVENT_DTLS_ERROR, COAP_EVENT_DTLS_CLOSED, COAP_EVENT_TCP_CLOSED, COAP_EVENT_SESSION_CLOSED,
      COAP_EVENT_SESSION_FAILED:
      if event == COAP_EVENT_TCP_CLOSED { closed(handle) }
      lost(handle)
    default: break
    }
  }

  func closed(_ handle: OpaquePointer) {
    connections?.closed(handle)
    // libcoap answers even what the peer has sent after its Release: it opens a connection to the peer for that, and never
    // closes it.
    endAtEndOfPass(handle)
  }

  /// Disconnects a session at the end of the pass, because libcoap is still using it, unless libcoap frees it before.
  private func endAtEndOfPass(_ handle: OpaquePointer) {
    if ending.isEmpty { loop.atEndOfPass { self.endSessions() } }
    ending.append(handle)
  }

  private func endSessions() {
    while let handle = ending.popLast() {
      guard coap_session_get_state(handle) != COAP_SESSION_STATE_NONE else { continue }
      coap_session_disconnected(handle, COAP_NACK_NOT_DELIVERABLE)
    }
  }

  func lost(_ handle: OpaquePointer) {
    // libcoap also reports this when it frees a session that it has reported as deleted.
    guard handle != deleted else { return }
    pump.note(self, due: loop.passTime)
    guard let session = known(handle) else {
      guard secure?.isShakingHands(handle) == true else { return }
      return handshakeFailed(handle)
    }
    guard !session.isLost else { return }
    // If something were sent on it from now on, libcoap would connect to the peer as a client.
    session.isLost = true
    // libcoap is still using the session.
    loop.atEndOfPass { self.forget(session) }
  }

  func handshakeFailed(_ handle: OpaquePointer, _ complaint: HandshakeComplaint? = nil) {
    guard let peer = CoAPAddress(coap_session_get_addr_remote(handle)) else { return }
    secure?.failed(
      handle, from: peer, complaint: complaint ?? HandshakeComplaint(CoAPLibrary.takeWarnings(about: peer)))
  }

  func forgetWarnings(about handle: OpaquePointer) {
    guard let peer = CoAPAddress(coap_session_get_addr_remote(handle)) else { return }
    _ = CoAPLibrary.takeWarnings(about: peer)
  }

  func sessionDeleted(_ handle: OpaquePointer) {
    if let session = known(handle) { forget(session) }
  }

  func ponged(_ handle: OpaquePointer) {
    guard let session = known(handle) else { return }
    loop.atEndOfPass { session.pingEnded(nil, .answered) }
  }
}
