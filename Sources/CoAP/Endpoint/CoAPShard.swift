internal import CLibcoap
internal import Glibc

/// A bound socket that has not been given to a libcoap context yet.
struct BoundSocket {
  let descriptor: Int32
  let scheme: CoAPScheme
  let isIPv6: Bool
}

/// One libcoap context with its sockets and the sessions of its peers.
///
/// libcoap walks all sessions of a context for each new one, and searches its unacknowledged messages one by one. Many
/// contexts on one port therefore serve many peers faster than one context. Their sockets are bound here and put in the place
/// of libcoap's (`AdoptedSocket`): the kernel distributes the peers over them, and the datagrams that wait in them can be
/// examined before libcoap reads them.
final class CoAPShard: EventLoop.EventSource {
  let loop: EventLoop
  let limits: CoAPLimits
  let transmission: CoAPTransmission
  let budget: ByteBudget
  let handler: any CoAPHandler
  let context: OpaquePointer
  let pump: DatagramPump
  private var sockets: [(socket: AdoptedSocket, source: Int)] = []
  var connections: Connections?
  private var connectionSource: Int?
  private var listeningTimer: LoopTimer?
  /// The socket that a `SecureRouter` reads.
  private(set) var secureSocket: AdoptedSocket?
  private(set) var secure: SecureContext?
  var onEstablished: ((CoAPSession) -> Void)?
  var onEnded: ((CoAPSession) -> Void)?
  var sessions: [CoAPSession] = []
  /// Confirmable messages of the server that have not been acknowledged or reset yet.
  var underWay: [MessageKey: Confirmable] = [:]
  var answered: [(message: SentMessage, isReset: Bool)] = []
  var transferring: [ObjectIdentifier: CoAPSession] = [:]
  var transferTimer: LoopTimer?
  var truncated: Set<MessageKey> = []
  /// When the pump calls `prepare` next.
  var due = UInt64.max
  private var encryptedHandshakes: [(peer: PeerKey, bytes: UInt16)] = []
  private var clientHellos: [PeerKey] = []
  // TLS connections that libcoap has accepted in this event loop pass.
  var accepting: [OpaquePointer] = []
  // Sessions to disconnect at the end of the pass, and the last session that libcoap has reported as deleted.
  var ending: [OpaquePointer] = []
  var deleted: OpaquePointer?
  // The socket on which libcoap must not send anything to a new peer, and the session that it has created for that peer.
  var silenced: Int32?
  var silentlyBegun: OpaquePointer?

  /// The time of the pass, in whole seconds.
  var seconds: UInt32 { UInt32(truncatingIfNeeded: loop.passTime / 1_000_000_000) }

  /// Creates the context and adopts `sockets`, on the loop's thread. `close()` must be called before the shard is released.
  init(
    loop: EventLoop, sockets bound: [BoundSocket], security: CoAPSecurity?, limits: CoAPLimits,
    idleSessions: Int, handshakes: Int, connections: Int, transmission: CoAPTransmission, budget: ByteBudget,
    pump: DatagramPump, handler: any CoAPHandler
  ) throws(CoAPSystemError) {
    assert(loop.isCurrent)
    self.loop = loop
    self.pump = pump
    self.limits = limits
    self.transmission = transmission
    self.budget = budget
    self.handler = handler
    guard let context = coap_new_context(nil) else { throw CoAPSystemError("coap_new_context") }
    self.context = context
    coap_set_app_data(context, Unmanaged.passUnretained(self).toOpaque())
    coap_context_set_max_idle_sessions(context, UInt32(clamping: idleSessions))
    coap_context_set_max_handshake_sessions(context, UInt32(clamping: handshakes))
    coap_context_set_session_timeout(context, UInt32(clamping: limits.sessionTimeout))
    coap_context_set_csm_max_message_size(context, UInt32(clamping: limits.messageBytes))
    coap_register_ping_handler(context, onShardPing)
    coap_register_pong_handler(context, onShardPong)
    coap_register_response_handler(context, onShardResponse)
    registerResources()
    var remaining = bound[...]
    do throws(CoAPSystemError) {
      if let security {
        secure = try SecureContext(
          security, context: context, hasStreams: bound.contains { $0.scheme.isSecure && $0.scheme.isStream })
      }
      coap_register_event_handler(context, onShardEvent)
      while let next = remaining.popFirst() {
        let socket = try AdoptedSocket(next.descriptor, next.scheme, isIPv6: next.isIPv6, context: context)
        try adopt(socket, next.scheme, connections: connections)
      }
    } catch {
      for socket in remaining { Glibc.close(socket.descriptor) }
      close()
      throw error
    }
    pump.add(self)
  }

  private func adopt(
    _ socket: AdoptedSocket, _ scheme: CoAPScheme, connections limit: Int
  ) throws(CoAPSystemError) {
    guard scheme != .coaps else { return secureSocket = socket }
    let source = try loop.add(
      self, descriptor: socket.descriptor, tag: UInt32(sockets.count) | (scheme.isStream ? Self.listening : 0))
    sockets.append((socket, source))
    if scheme.isStream, connections == nil {
      connections = try Connections(limits, limit: limit, context: context)
      connectionSource = try loop.add(self, descriptor: coap_context_get_coap_fd(context), tag: Self.connected)
    }
  }

  /// The only `coap` socket: a peer is identified by its address, and another socket may have a peer with the same address.
  var datagramSocket: Int32 { sockets.first?.socket.descriptor ?? -1 }

  private static let listening: UInt32 = 1 << 30
  private static let connected: UInt32 = 1 << 31
  /// Stands for the source of a listening socket that is not watched for a while.
  private static let deaf = -1

  private var isClosed = false

  deinit { assert(isClosed, "a shard was not closed") }

  /// Ends all sessions and frees the context. Handlers and owners are called. May be called twice.
  func close() {
    assert(loop.isCurrent)
    guard !isClosed else { return }
    isClosed = true
    for (socket, source) in sockets where source != Self.deaf { loop.remove(source, descriptor: socket.descriptor) }
    if let connectionSource { loop.remove(connectionSource, descriptor: coap_context_get_coap_fd(context)) }
    listeningTimer?.cancel()
    transferTimer?.cancel()
    while let session = sessions.last { forget(session) }
    coap_register_ping_handler(context, nil)
    coap_register_pong_handler(context, nil)
    coap_register_response_handler(context, nil)
    coap_register_event_handler(context, nil)
    ending = []
    secure?.close()
    coap_free_context(context)
  }

  private func registerResources() {
    // libcoap itself would answer requests for paths without a resource, and for its list of resources, `.well-known/core`.
    let unknown = coap_resource_unknown_init(onShardRequest)
    let known = handler.paths.map { coap_resource_init(coap_new_str_const($0, $0.utf8.count), COAP_RESOURCE_FLAGS_RELEASE_URI) }
    for resource in [unknown] + known {
      for method in Int32(COAP_REQUEST_GET.rawValue)...Int32(COAP_REQUEST_IPATCH.rawValue) {
        coap_register_request_handler(resource, request_method(method), onShardRequest)
      }
      coap_add_resource(context, resource)
    }
  }

  // MARK: Datagrams

  /// The session timeout in nanoseconds. A session that begins now cannot expire earlier.
  var idleTime: UInt64 { UInt64(limits.sessionTimeout) * 1_000_000_000 }

  func ready(_ tag: UInt32) {
    switch tag {
    case Self.connected:
      if let connections, !pump.readStreams(of: context, connections) { prepare() }
      pump.note(self, due: loop.passTime + 1_000_000_000)
    case Self.listening...: accept(Int(tag - Self.listening))
    default: readDatagrams(sockets[Int(tag)].socket)
    }
  }

  private func accept(_ index: Int) {
    let socket = sockets[index].socket
    switch connections?.admit(at: socket.descriptor) {
    case .admit:
      pump.begin(self)
      pump.read(from: socket)
      pump.note(self, due: loop.passTime + 1_000_000_000)
    case .impossible:
      // The socket stays readable as long as the connection waits, so it is not watched for a second.
      loop.remove(sockets[index].source, descriptor: socket.descriptor)
      sockets[index].source = Self.deaf
      if listeningTimer == nil { listeningTimer = loop.makeTimer { [unowned self] in self.listenAgain() } }
      listeningTimer?.arm(at: loop.passTime + 1_000_000_000)
    case .refused: loop.counts.refusedConnections &+= 1
    case nil: break
    }
  }

  private func listenAgain() {
    for (index, (socket, source)) in sockets.enumerated() where source == Self.deaf {
      // While descriptors are exhausted, the kernel may have no memory either. Then tries again after another second.
      guard let source = try? loop.add(self, descriptor: socket.descriptor, tag: UInt32(index) | Self.listening) else {
        listeningTimer?.arm(at: loop.passTime + 1_000_000_000)
        continue
      }
      sockets[index].source = source
    }
  }

  private func dropBurdens() {
    guard let connections, !connections.isEmpty else { return }
    for handle in connections.burdens(at: loop.passTime) {
      if let session = known(handle) { close(session) } else { coap_session_disconnected(handle, COAP_NACK_NOT_DELIVERABLE) }
    }
    pump.note(self, due: loop.passTime + 1_000_000_000)
  }

  private func readDatagrams(_ socket: AdoptedSocket) {
    let peeked = pump.peek(socket)
    pump.note(self, due: loop.passTime + idleTime)
    pump.begin(self)
    guard !peeked.isEmpty else {
      // The socket is readable, but nothing was peeked: the peek offset is beyond the first datagram.
      _ = rewind_peek(socket.descriptor)
      return pump.read(from: socket)
    }
    for datagram in peeked {
      // Signaling is for TCP, but libcoap obeys it over UDP too: it changes sizes, and retransmits a Pong to a forged address
      // until it is acknowledged.
      guard datagram.code >> 5 != 7, datagram.verdict == MESSAGE_PASSES.rawValue else {
        readException(datagram, from: socket)
        continue
      }
      if datagram.type >= 2, datagram.type <= 3, datagram.length == 4, datagram.code == 0 {
        answered(key(datagram), isReset: datagram.type == 3)
      }
      // libcoap also gets acknowledgements and Resets, which it ignores because it has sent no confirmable message.
      // Discarding each of them would cost more, because the messages between them could not be read in one batch.
      pump.read(from: socket)
      let isTruncated = datagram.length > AdoptedSocket.largestDatagram
      if isTruncated { truncated.insert(key(datagram)) }
    }
  }

  private func key(_ datagram: peeked_datagram) -> MessageKey {
    MessageKey(
      high: datagram.address_high, low: datagram.address_low, port: datagram.port, messageID: datagram.message_id)
  }

  /// Notes that an encrypted handshake record of this length is read in this pass. It completes the handshake if it can be
  /// decrypted.
  func sawEncryptedHandshake(_ peer: PeerKey, bytes: UInt16) { encryptedHandshakes.append((peer, bytes)) }

  /// Notes that a ClientHello is read in this pass.
  func sawClientHello(_ peer: PeerKey) { clientHellos.append(peer) }

  /// Called when all datagrams that were peeked have been read.
  func hasRead() {
    if !truncated.isEmpty {
      // libcoap has read fewer bytes than the kernel has counted as peeked.
      for (socket, _) in sockets { _ = rewind_peek(socket.descriptor) }
      truncated.removeAll()
    }
    while let (peer, bytes) = encryptedHandshakes.popLast() {
      guard let handle = secure?.undecryptable(from: peer, bytes: bytes) else { continue }
      handshakeFailed(handle, .wrongKey)
      coap_session_disconnected(handle, COAP_NACK_TLS_FAILED)
    }
    // libcoap frees a session whose ClientHello it refuses, for example without a common cipher suite, and reports no event
    // (coap_session.c, `coap_session_new_dtls_session`).
    while let peer = clientHellos.popLast() { secure?.refusedAtOnce(CoAPAddress(peer)) }
    // The whole handshake of a fast client may be read when its connection is accepted. If it fails then, libcoap reports
    // nothing and keeps the connection (coap_session.c, `coap_session_accept`).
    while let handle = accepting.popLast() {
      guard session_tls(handle) == nil else { continue }
      handshakeFailed(handle)
      coap_session_disconnected(handle, COAP_NACK_TLS_FAILED)
    }
    tellAnswered()
  }

  /// Lets libcoap drop idle sessions and retransmit flights of handshakes.
  func prepare() {
    guard !isClosed else { return }
    dropBurdens()
    let pause = UInt64(prepare_context(context))
    if pause > 0 { pump.note(self, due: loop.passTime + pause * 1_000_000) }
  }

  func heard(from session: CoAPSession) { handler.heard(from: session) }
}
