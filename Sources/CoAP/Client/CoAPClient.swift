// Client: the client side of CoAP over libcoap's client sessions: connections to a server, requests and observations. Used by
// DeviceSimulator and the tests; the server does not use it.

internal import CLibcoap

/// A request to send as a client.
package struct CoAPClientRequest: Sendable {
  package var method: CoAPCode
  /// Segments of the path: `[".rpc", "status"]`.
  package var path: [String]
  package var query: [String] = []
  package var contentFormat: ContentFormat?
  package var accept: ContentFormat?
  package var observe: UInt32?
  package var isConfirmable = true
  package var payload: [UInt8] = []

  package init(
    _ method: CoAPCode, _ path: [String], contentFormat: ContentFormat? = nil, payload: [UInt8] = []
  ) {
    self.method = method
    self.path = path
    self.contentFormat = contentFormat
    self.payload = payload
  }
}

/// The credentials of a client.
package enum CoAPClientCredentials: Sendable {
  case preSharedKey(identity: String, key: [UInt8])
  /// PEM each; `trusted` has the CA of the server.
  case certificate(CoAPCertificate)
}

/// The client side of CoAP, on a loop that it may share with servers.
// Unchecked because every member is touched on the loop's thread only.
package final class CoAPClient: EventLoop.EventSource, @unchecked Sendable {
  package let loop: EventLoop
  private let transmission: CoAPTransmission
  private var context: OpaquePointer?
  private var source = 0
  private var peers: [OpaquePointer: CoAPPeer] = [:]
  private var timer: LoopTimer?
  // libcoap reads them when a connection has been established.
  private var certificates: [PEMBuffers] = []

  /// Throws `CoAPSystemError` when the system has no descriptor left.
  package init(loop: EventLoop, transmission: CoAPTransmission = CoAPTransmission()) async throws(CoAPSystemError) {
    CoAPLibrary.start()
    self.loop = loop
    self.transmission = transmission
    let failure = await loop.perform { () -> CoAPSystemError? in
      guard let context = coap_new_context(nil) else { return CoAPSystemError("coap_new_context") }
      coap_set_app_data(context, Unmanaged.passUnretained(self).toOpaque())
      coap_register_response_handler(context, onResponse)
      coap_register_nack_handler(context, onClientNack)
      coap_register_event_handler(context, onClientEvent)
      do throws(CoAPSystemError) {
        self.source = try loop.add(self, descriptor: coap_context_get_coap_fd(context), tag: 0)
      } catch {
        coap_free_context(context)
        return error
      }
      self.context = context
      self.timer = loop.makeTimer { [unowned self] in self.expire() }
      return nil
    }
    if let failure { throw failure }
  }

  deinit { assert(context == nil, "a client was not closed") }

  func ready(_ tag: UInt32) {
    if let context { _ = run_own_events(context) }
  }

  /// Opens a socket to `address`. Over UDP nothing is sent yet. `local` is the local address, with port 0 for a port chosen
  /// by the system. Requests wait for the end of the handshake. Throws `CoAPFailure.closed` when no socket can be opened.
  ///
  /// Use one kind of credentials per client: libcoap keeps the last certificate for the whole context.
  package func connect(
    to address: CoAPAddress, from local: CoAPAddress? = nil, over scheme: CoAPScheme = .coap,
    with credentials: CoAPClientCredentials? = nil
  ) async throws(CoAPFailure) -> CoAPPeer {
    let peer = await loop.perform { () -> CoAPPeer? in
      guard let handle = self.open(address, local, scheme, credentials) else { return nil }
      self.transmission.apply(to: handle)
      let peer = CoAPPeer(client: self, handle: handle, isConnected: !scheme.isStream)
      self.peers[handle] = peer
      return peer
    }
    guard let peer else { throw .closed }
    return peer
  }

  /// Ends all requests with `CoAPFailure.closed` and frees the sockets. May be called twice.
  package func close() async {
    await loop.perform {
      guard let context = self.context else { return }
      for peer in self.peers.values { peer.end() }
      // Each peer refers to the client.
      self.peers = [:]
      self.loop.remove(self.source, descriptor: coap_context_get_coap_fd(context))
      self.timer?.cancel()
      coap_register_nack_handler(context, nil)
      coap_free_context(context)
      self.context = nil
    }
  }

  // MARK: Loop's thread

  private func open(
    _ address: CoAPAddress, _ local: CoAPAddress?, _ scheme: CoAPScheme, _ credentials: CoAPClientCredentials?
  ) -> OpaquePointer? {
    guard let context else { return nil }
    var remote = address.libcoap
    var source = local?.libcoap ?? coap_address_t()
    return withUnsafePointer(to: &source) { source in
      let source = local == nil ? nil : source
      switch credentials {
      case nil: return coap_new_client_session(context, source, &remote, scheme.libcoap)
      case .preSharedKey(let identity, let key):
        var setup = coap_dtls_cpsk_t()
        setup.version = UInt8(COAP_DTLS_CPSK_SETUP_VERSION)
        return Array(identity.utf8).withUnsafeBufferPointer { identity in
          key.withUnsafeBufferPointer { key in
            setup.psk_info.identity = coap_bin_const_t(length: identity.count, s: identity.baseAddress)
            setup.psk_info.key = coap_bin_const_t(length: key.count, s: key.baseAddress)
            return coap_new_client_session_psk2(context, source, &remote, scheme.libcoap, &setup)
          }
        }
      case .certificate(let certificate):
        let buffers = PEMBuffers(certificate)
        certificates.append(buffers)
        var setup = buffers.setup
        return coap_new_client_session_pki(context, source, &remote, scheme.libcoap, &setup)
      }
    }
  }

  func peer(_ handle: OpaquePointer?) -> CoAPPeer? { handle.flatMap { peers[$0] } }

  func forget(_ handle: OpaquePointer) { peers[handle] = nil }

  func expect(by deadline: UInt64) {
    nextDeadline = min(nextDeadline, deadline)
    timer?.arm(at: nextDeadline)
  }

  private var nextDeadline = UInt64.max

  private func expire() {
    let now = EventLoop.monotonic
    nextDeadline = .max
    for peer in peers.values { nextDeadline = min(nextDeadline, peer.expire(now: now)) }
    if nextDeadline != .max { timer?.arm(at: nextDeadline) }
  }
}

// MARK: Callbacks of libcoap, on the loop's thread

private func client(of session: OpaquePointer?) -> CoAPClient? {
  guard let data = coap_get_app_data(coap_session_get_context(session)) else { return nil }
  return Unmanaged<CoAPClient>.fromOpaque(data).takeUnretainedValue()
}

private func onResponse(
  session: OpaquePointer?, sent: OpaquePointer?, received: OpaquePointer?, mid: coap_mid_t
) -> coap_response_t {
  let isExpected =
    client(of: session)?.peer(session)?.received(PDU.response(received), token: PDU.token(received)) ?? false
  return isExpected ? COAP_RESPONSE_OK : COAP_RESPONSE_FAIL
}

private func onClientEvent(session: OpaquePointer?, event: coap_event_t) -> Int32 {
  guard let peer = client(of: session)?.peer(session) else { return 0 }
  switch event {
  // libcoap reports this before it has changed its own state.
  case COAP_EVENT_SESSION_CONNECTED: peer.connectsNow()
  case COAP_EVENT_TCP_FAILED: peer.disconnected(.unreachable)
  case COAP_EVENT_TCP_CLOSED, COAP_EVENT_SESSION_FAILED, COAP_EVENT_SESSION_CLOSED,
    COAP_EVENT_DTLS_CLOSED, COAP_EVENT_DTLS_ERROR:
    peer.disconnected(handshakeFailure(of: session))
  default: break
  }
  return 0
}

private func handshakeFailure(of session: OpaquePointer?) -> CoAPFailure {
  CoAPFailure(handshake: CoAPAddress(coap_session_get_addr_remote(session)).map(CoAPLibrary.takeWarnings) ?? [])
}

private func onClientNack(
  session: OpaquePointer?, sent: OpaquePointer?, reason: coap_nack_reason_t, mid: coap_mid_t
) {
  guard let peer = client(of: session)?.peer(session) else { return }
  switch reason {
  // Newer versions of libcoap say this before the event, and after an ICMP error they continue the handshake.
  case COAP_NACK_TLS_FAILED: peer.disconnected(handshakeFailure(of: session))
  case COAP_NACK_ICMP_ISSUE where coap_session_get_state(session) == COAP_SESSION_STATE_HANDSHAKE:
    peer.disconnected(.unreachable)
  default:
    guard let sent else { return }
    peer.fail(PDU.token(sent), reason == COAP_NACK_ICMP_ISSUE ? .unreachable : CoAPFailure(reason) ?? .closed)
  }
}

extension CoAPFailure {
  /// The reason why a client's session has ended, taken from libcoap's log (coap_openssl.c, coap_io.c). A server reports what
  /// it refuses with a TLS alert (RFC 5246 §7.2, RFC 8446 §6). Over DTLS it does not answer to a wrong key.
  init(handshake lines: [String]) {
    let alert = lines.lazy.compactMap { line in
      line.firstRange(of: "alert read:fatal:").map { String(line[$0.upperBound...]) }
    }.first
    switch alert {
    case nil: self = lines.contains { $0.contains("Connection refused") } ? .unreachable : .closed
    case "unknown PSK identity"?: self = .refused("the server does not know the identity")
    // Over TLS 1.3, OpenSSL sends illegal_parameter for a wrong binder.
    case "decrypt error"?, "bad record mac"?, "illegal parameter"?:
      self = .refused("the server says that the key is not the one of the identity")
    // And handshake_failure for an unknown identity, when no other cipher suite is left.
    case "handshake failure"?: self = .refused("the server does not know the identity, or has no cipher suite in common")
    case let alert?: self = .refused("the server refuses the handshake, with the alert \"\(alert)\"")
    }
  }
}
