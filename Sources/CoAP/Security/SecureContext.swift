internal import CLibcoap
internal import Glibc

/// The handshakes of one libcoap context: the keys and certificates to check them with, and their state.
///
/// libcoap uses OpenSSL, with pre-shared keys and X.509 certificates. libcoap 4.3.1 has no raw public keys with OpenSSL
/// (coap_openssl.c, `setup_pki_ssl`).
final class SecureContext {
  private struct Handshake {
    let peer: CoAPAddress
    var identity: CoAPIdentity?
    // Set when there is a key for the identity, which the peer must know to complete the handshake, or when the certificate
    // is accepted.
    var principal: (any Sendable)?
    // The reason why the handshake fails has been reported or is known to the authority.
    var isSettled = false
    // The number of records with a Finished message that could not be decrypted.
    var undecryptable = 0
  }

  private let context: OpaquePointer
  private let authority: any CoAPAuthority
  private var handshakes: [OpaquePointer: Handshake] = [:]
  // Sessions whose handshake has begun and is not complete.
  private var begun: Set<OpaquePointer> = []
  // References to the SSL objects of established sessions. libcoap uses such an object after freeing it, when the peer sends a
  // Release or an Abort in a datagram (`coap_dtls_receive`).
  private var held: [OpaquePointer: UnsafeMutableRawPointer] = [:]
  // Memory to which libcoap gets pointers.
  private let key = UnsafeMutablePointer<coap_bin_const_t>.allocate(capacity: 1)
  private let keyBytes = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 256)
  private let decoy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 32)
  private var pem: PEMBuffers?
  // OpenSSL's SSL_CTX of the context, for DTLS and for TLS.
  private var datagrams: UnsafeMutableRawPointer?
  private var streams: UnsafeMutableRawPointer?
  /// Whether OpenSSL accepts every cookie of a ClientHello, because `HelloCookies` has verified it.
  private(set) var leavesCookies = false

  /// Must be called before the context gets its secure endpoints and its event handler.
  init(_ security: CoAPSecurity, context: OpaquePointer, hasStreams: Bool) throws(CoAPSystemError) {
    self.context = context
    authority = security.authority
    key.initialize(to: coap_bin_const_t())
    for index in decoy.indices { decoy[index] = .random(in: .min ... .max) }
    var setup = coap_dtls_spsk_t()
    setup.version = UInt8(COAP_DTLS_SPSK_SETUP_VERSION)
    setup.validate_id_call_back = onIdentity
    // This key is never used. Without a key of the context, libcoap treats each handshake as one with certificates
    // (coap_openssl.c, `tls_client_hello_call_back`).
    setup.psk_info.key = coap_bin_const_t(length: decoy.count, s: UnsafePointer(decoy.baseAddress))
    guard coap_context_set_psk2(context, &setup) == 1 else { throw CoAPSystemError("coap_context_set_psk2") }
    if let certificate = security.certificate { try use(certificate) }
    if let nobody = CoAPAddress(host: "127.0.0.1", port: 9) {
      datagrams = Self.part(of: context, from: COAP_PROTO_DTLS, to: nobody)
    }
    if hasStreams { streams = try Self.streamPart(of: context) }
    for part in hasStreams ? [datagrams, streams] : [datagrams] {
      guard let part else { throw CoAPSystemError("coap_session_get_tls", code: 0, detail: "OpenSSL is not to be had") }
      prepare_handshakes(part)
      guard security.cipherSuites.map({ Self.use($0, part) }) ?? true else { throw CoAPSystemError("SSL_CTX_set_cipher_list") }
    }
    leavesCookies = accept_all_cookies(datagrams)
  }

  // For certificates, all suites that OpenSSL considers strong enough, as in libcoap, except those without authentication. A
  // handshake with a pre-shared key never selects one of these, because it has no certificate. In TLS 1.3, OpenSSL uses
  // pre-shared keys with the hash of the first two suites only, and would otherwise prefer another suite as soon as there is
  // a certificate.
  private static func use(_ cipherSuites: [String], _ part: UnsafeMutableRawPointer) -> Bool {
    set_cipher_suites(
      part, (["TLSv1.2", "-PSK", "!aNULL", "!eNULL"] + cipherSuites).joined(separator: ":"),
      "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384")
  }

  // The SSL_CTX of a context can be obtained from a session only, so a session is created.
  private static func part(
    of context: OpaquePointer, from proto: coap_proto_t, to address: CoAPAddress
  ) -> UnsafeMutableRawPointer? {
    var address = address.libcoap
    // Without an identity OpenSSL creates no ClientHello for TLS 1.3.
    var key = Array("nobody".utf8)
    return key.withUnsafeMutableBufferPointer { bytes in
      var setup = coap_dtls_cpsk_t()
      setup.version = UInt8(COAP_DTLS_CPSK_SETUP_VERSION)
      setup.psk_info.identity = coap_bin_const_t(length: bytes.count, s: UnsafePointer(bytes.baseAddress))
      setup.psk_info.key = setup.psk_info.identity
      guard let session = coap_new_client_session_psk2(context, nil, &address, proto, &setup) else { return nil }
      defer { coap_session_release(session) }
      // A connection is established when its socket is writable.
      for _ in 0..<10 where session_tls(session) == nil && wait_for_own_events(context, 1_000) {
        _ = run_own_events(context)
      }
      return tls_context(session)
    }
  }

  // Over TCP, a listening socket must accept the connection.
  private static func streamPart(of context: OpaquePointer) throws(CoAPSystemError) -> UnsafeMutableRawPointer? {
    guard let address = CoAPAddress(host: "127.0.0.1", port: 0) else { return nil }
    let (sockets, bound) = try SharedSocket.bind(CoAPListener(.coapsTCP, address), count: 1, receiveBuffer: 0)
    defer { for socket in sockets { Glibc.close(socket) } }
    return part(of: context, from: COAP_PROTO_TLS, to: bound)
  }

  /// Must be called before the context is freed, which the held objects need.
  func close() {
    for tls in held.values { release_tls(tls) }
    held = [:]
  }

  deinit {
    assert(held.isEmpty, "a secure context was not closed")
    keyBytes.update(repeating: 0)
    keyBytes.deallocate()
    decoy.deallocate()
    key.deallocate()
  }

  /// Uses this certificate from the next handshake on, and for handshakes in progress whose peer has a certificate.
  func use(_ certificate: CoAPCertificate) throws(CoAPSystemError) {
    let buffers = PEMBuffers(certificate)
    var setup = buffers.setup
    setup.validate_cn_call_back = onCertificate
    guard coap_context_set_pki(context, &setup) == 1 else { throw CoAPSystemError("coap_context_set_pki") }
    // libcoap adds CAs at each handshake, and never removes one.
    for part in [datagrams, streams] { forget_authorities(part) }
    // This releases the previous certificate.
    pem = buffers
  }

  // MARK: Handshakes

  func preSharedKey(
    of identity: [UInt8], for session: OpaquePointer, from peer: CoAPAddress
  ) -> UnsafePointer<coap_bin_const_t>? {
    var handshake = handshakes[session] ?? Handshake(peer: peer)
    defer { handshakes[session] = handshake }
    handshake.identity = nil
    handshake.principal = nil
    guard let identity = String(validating: identity, as: UTF8.self) else { return nil }
    handshake.identity = .preSharedKey(identity)
    guard let (bytes, principal) = authority.preSharedKey(of: identity, from: peer), bytes.count <= keyBytes.count else {
      handshake.isSettled = true
      return nil
    }
    handshake.principal = principal
    // libcoap copies the key before it calls this again.
    _ = keyBytes.update(fromContentsOf: bytes)
    key.pointee = coap_bin_const_t(length: bytes.count, s: UnsafePointer(keyBytes.baseAddress))
    return UnsafePointer(key)
  }

  func accepts(_ der: [UInt8], for session: OpaquePointer, from peer: CoAPAddress) -> Bool {
    var handshake = handshakes[session] ?? Handshake(peer: peer)
    handshake.identity = CoAPIdentity(certificate: der)
    handshake.principal = handshake.identity.flatMap { authority.principal(of: $0, from: peer) }
    if handshake.principal == nil { handshake.isSettled = true }
    handshakes[session] = handshake
    if handshake.identity == nil {
      authority.handshakeFailed(
        from: peer, identity: nil, reason: "its certificate has neither a DNS name nor a common name that can be used")
    }
    return handshake.principal != nil
  }

  /// Reports a peer whose handshake is refused before libcoap sees it.
  func refuse(_ peer: CoAPAddress, _ reason: String) { authority.handshakeFailed(from: peer, identity: nil, reason: reason) }

  /// Called when a session begins. An earlier one at the same address in memory may have ended without an event, so its state
  /// is discarded.
  func began(_ session: OpaquePointer) {
    handshakes[session] = nil
    begun.insert(session)
  }

  /// libcoap's own state of the session does not show it: from 4.3.4 on it is changed before the end is reported.
  func isShakingHands(_ session: OpaquePointer) -> Bool { begun.contains(session) }

  /// The authenticated peer of a completed handshake. Nil ends the session.
  ///
  /// A session that was resumed from a ticket is refused. Its handshake does not prove the identity that was named in it, and
  /// the credential of the earlier session may have been revoked.
  func completed(_ session: OpaquePointer) -> SecuredPeer? {
    let handshake = handshakes.removeValue(forKey: session)
    begun.remove(session)
    guard !is_resumed(session) else {
      if let peer = CoAPAddress(coap_session_get_addr_remote(session)) {
        authority.handshakeFailed(from: peer, identity: nil, reason: "it resumes an earlier session; a full handshake is needed")
      }
      return nil
    }
    if let earlier = held.removeValue(forKey: session) { release_tls(earlier) }
    held[session] = hold_tls(session)
    guard let identity = handshake?.identity, let principal = handshake?.principal else { return nil }
    return SecuredPeer(identity, principal)
  }

  /// Called when a record of `bytes` bytes with an encrypted handshake message of `peer` has been read. Returns the session
  /// for which it is now certain that the peer uses another key.
  ///
  /// OpenSSL silently drops a record that it cannot decrypt (RFC 6347 §4.1.2.7), and keeps one that arrives before the keys
  /// are known. So one or several records without an end of the handshake prove nothing. But when the keys are known, an
  /// unfragmented Finished message either completes the handshake or has not been encrypted with them. The first such message
  /// is not enough, because it may be left over from an earlier handshake or forged.
  func undecryptable(from peer: PeerKey, bytes: UInt16) -> OpaquePointer? {
    for (session, handshake) in handshakes where PeerKey(handshake.peer) == peer {
      guard case .preSharedKey = handshake.identity, awaits_finished(session),
        bytes >= RecordSize(cipher: cipherName(of: session)).finished
      else { continue }
      handshakes[session]?.undecryptable += 1
      if handshake.undecryptable >= 1 { return session }
    }
    return nil
  }

  /// Reports that a handshake has failed, unless that is done already. `complaint` is the reason from libcoap's log, if any.
  func failed(_ session: OpaquePointer, from peer: CoAPAddress, complaint: HandshakeComplaint?) {
    let handshake = handshakes[session] ?? Handshake(peer: peer)
    guard !handshake.isSettled else { return }
    handshakes[session] = handshake
    handshakes[session]?.isSettled = true
    let reason =
      switch (handshake.identity, complaint) {
      case (.preSharedKey, let complaint?) where complaint.hasPassedKeyOver:
        "its key cannot be used with the cipher suites of TLS 1.3 that it offers"
      case (_, let complaint?): complaint.reason
      case (_, nil) where handshake.undecryptable > 0:
        "it was not completed in time; its key may not be the one of this identity"
      case (_, nil): "it was not completed in time"
      }
    authority.handshakeFailed(from: peer, identity: handshake.identity?.name ?? complaint?.name, reason: reason)
  }

  /// Called when a peer has sent a ClientHello. If libcoap has logged a complaint about it, its session was freed.
  func refusedAtOnce(_ peer: CoAPAddress) {
    guard let complaint = HandshakeComplaint(CoAPLibrary.takeWarnings(about: peer)) else { return }
    authority.handshakeFailed(from: peer, identity: complaint.name, reason: complaint.reason)
  }

  /// Called when libcoap deletes the session.
  func forget(_ session: OpaquePointer) {
    begun.remove(session)
    if let tls = held.removeValue(forKey: session) { release_tls(tls) }
    guard let handshake = handshakes[session] else { return }
    failed(
      session, from: handshake.peer, complaint: HandshakeComplaint(CoAPLibrary.takeWarnings(about: handshake.peer)))
    handshakes[session] = nil
  }
}

extension CoAPCertificate {
  /// Whether OpenSSL can read the certificate and the key, and they belong together. libcoap checks this in a handshake only,
  /// so one is started with an address where nobody answers.
  package func isUsable() -> Bool {
    CoAPLibrary.start()
    guard let context = coap_new_context(nil), var nobody = CoAPAddress(host: "127.0.0.1", port: 9)?.libcoap else {
      return false
    }
    defer { coap_free_context(context) }
    let buffers = PEMBuffers(self)
    return withExtendedLifetime(buffers) {
      var setup = buffers.setup
      guard let session = coap_new_client_session_pki(context, nil, &nobody, COAP_PROTO_DTLS, &setup) else {
        return false
      }
      defer { coap_session_release(session) }
      return coap_session_get_state(session) == COAP_SESSION_STATE_HANDSHAKE && has_private_key(session)
    }
  }
}

/// OpenSSL's name of the cipher suite of a session, empty when there is none yet.
func cipherName(of session: OpaquePointer) -> String { tls_cipher(session).map { String(cString: $0) } ?? "" }

/// The memory from which libcoap reads a certificate at each handshake. It is wiped when it is released.
final class PEMBuffers {
  private let buffers: [UnsafeMutableBufferPointer<UInt8>]

  init(_ certificate: CoAPCertificate) {
    buffers = [certificate.certificate, certificate.key, certificate.trusted].map { bytes in
      let buffer = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: bytes.count)
      _ = buffer.initialize(from: bytes)
      return buffer
    }
  }

  deinit {
    for buffer in buffers {
      buffer.update(repeating: 0)
      buffer.deallocate()
    }
  }

  /// The setup for libcoap, valid as long as this object lives. A peer must have a certificate, whose chain and dates are
  /// checked.
  var setup: coap_dtls_pki_t {
    var setup = coap_dtls_pki_t()
    setup.version = UInt8(COAP_DTLS_PKI_SETUP_VERSION)
    setup.verify_peer_cert = 1
    setup.check_common_ca = 1
    setup.cert_chain_validation = 1
    setup.cert_chain_verify_depth = 3
    setup.pki_key.key_type = COAP_PKI_KEY_PEM_BUF
    setup.pki_key.key.pem_buf = coap_pki_key_pem_buf_t(
      ca_cert: UnsafePointer(buffers[2].baseAddress), public_cert: UnsafePointer(buffers[0].baseAddress),
      private_key: UnsafePointer(buffers[1].baseAddress), ca_cert_len: buffers[2].count,
      public_cert_len: buffers[0].count, private_key_len: buffers[1].count)
    return setup
  }
}

// MARK: Callbacks of libcoap, on the loop's thread

private func onIdentity(
  identity: UnsafeMutablePointer<coap_bin_const_t>?, session: OpaquePointer?, _: UnsafeMutableRawPointer?
) -> UnsafePointer<coap_bin_const_t>? {
  guard let session, let identity = identity?.pointee else { return nil }
  let bytes = Array(UnsafeBufferPointer(start: identity.s, count: identity.length))
  guard let peer = CoAPAddress(coap_session_get_addr_remote(session)) else { return nil }
  return CoAPShard.of(session)?.secure?.preSharedKey(of: bytes, for: session, from: peer)
}

private func onCertificate(
  _: UnsafePointer<CChar>?, der: UnsafePointer<UInt8>?, count: Int, session: OpaquePointer?, depth: UInt32,
  validated: Int32, _: UnsafeMutableRawPointer?
) -> Int32 {
  // A CA of the chain: OpenSSL has checked it.
  guard depth == 0 else { return 1 }
  guard let session, let secure = CoAPShard.of(session)?.secure,
    let peer = CoAPAddress(coap_session_get_addr_remote(session))
  else { return 0 }
  let bytes = Array(UnsafeBufferPointer(start: der, count: count))
  return secure.accepts(bytes, for: session, from: peer) ? 1 : 0
}
