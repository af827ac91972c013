internal import CLibcoap
internal import Glibc

/// The TCP connections of one libcoap context: how many there may be, and which of them must be closed.
///
/// libcoap accepts connections as long as there are descriptors. After that its listening socket stays readable forever. It
/// keeps what a peer does not read without a limit, in a list that it walks for each message, and waits five minutes for a
/// silent peer. It does not provide the descriptor of a connection, which is the first member of its `coap_socket_t`, whose
/// address is the cookie of its events. The first connection shows where a session has its `coap_socket_t`. The descriptor of
/// each connection is checked by the address of its peer. If it is not the same, the connection is served, but not monitored.
final class Connections {
  enum Admission {
    case admit
    /// The connection has been closed.
    case refused
    /// The connection cannot be accepted in order to close it. Try again later.
    case impossible
  }

  private struct Connection {
    // Nil for a connection that is not monitored.
    let descriptor: Int32?
    let since: UInt64
    // Whether the last check has found that the peer does not read.
    var isStuck = false
  }

  private let limits: CoAPLimits
  private let limit: Int
  private let context: OpaquePointer
  private let streamGuard: StreamGuard
  private var lastLook: UInt64 = 0
  // The offset of the socket in libcoap's session, of which it is a member.
  private var offset: UInt?
  // More than the size of libcoap's session.
  private static let sessionSize: UInt = 4_096
  private var open: [OpaquePointer: Connection] = [:]
  // Closed when there is no descriptor left, in order to accept and close a connection.
  private var spare: Int32

  /// `limit` is this context's share of `CoAPLimits.connections`.
  init(_ limits: CoAPLimits, limit: Int, context: OpaquePointer) throws(CoAPSystemError) {
    self.limits = limits
    self.limit = limit
    self.context = context
    streamGuard = try StreamGuard()
    spare = Self.anyDescriptor()
  }

  deinit {
    streamGuard.stop()
    if spare >= 0 { close(spare) }
  }

  var isEmpty: Bool { open.isEmpty }

  private static func anyDescriptor() -> Int32 { Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC) }

  /// Whether libcoap may accept the connection that waits at `listener`.
  func admit(at listener: Int32) -> Admission {
    guard open.count < limit else { return refuse(at: listener) }
    let free = dup(listener)
    if free >= 0 {
      close(free)
      return .admit
    }
    if spare >= 0 { close(spare) }
    defer { spare = Self.anyDescriptor() }
    return refuse(at: listener)
  }

  private func refuse(at listener: Int32) -> Admission {
    let descriptor = accept(listener, nil, nil)
    guard descriptor >= 0 else { return errno == EAGAIN ? .refused : .impossible }
    close(descriptor)
    return .refused
  }

  /// Called when libcoap has accepted a connection.
  func opened(_ session: OpaquePointer, from peer: CoAPAddress, at now: UInt64) {
    let start = UInt(bitPattern: session)
    if offset == nil {
      let inside = { (cookie: UInt64) in cookie > start && cookie < start + Self.sessionSize }
      offset = AdoptedSocket.socket(in: coap_context_get_coap_fd(context), where: { inside($1) }).map {
        UInt($0.1) - start
      }
    }
    let descriptor = offset.flatMap { UnsafePointer<Int32>(bitPattern: start + $0)?.pointee }
    open[session] = Connection(
      descriptor: descriptor.flatMap { Self.peer(of: $0) == peer ? $0 : nil }, since: now)
  }

  /// Runs `body`, in which libcoap reads from the connection with this cookie, and limits the time that this may take.
  func watch(_ cookie: UInt, _ body: () -> Void) {
    guard let offset, let session = OpaquePointer(bitPattern: cookie &- offset), let descriptor = open[session]?.descriptor
    else { return body() }
    if coap_session_get_state(session) == COAP_SESSION_STATE_CSM, hasAborted(session, descriptor) { return }
    streamGuard.watch(descriptor, body)
  }

  /// Ends a connection on which a CSM with an unknown critical option waits. A CSM that arrives in pieces, or with the end of
  /// a TLS handshake, cannot be checked: libcoap has read it before.
  private func hasAborted(_ session: OpaquePointer, _ descriptor: Int32) -> Bool {
    let bytes = [UInt8](unsafeUninitializedCapacity: 512) { buffer, count in
      count = max(0, Int(peek_stream(session, descriptor, buffer.baseAddress, Int32(buffer.count))))
    }
    guard let option = CSM.criticalOption(in: bytes) else { return false }
    let abort = CSM.abort(for: option)
    write_stream(session, descriptor, abort, abort.count)
    coap_session_disconnected(session, COAP_NACK_NOT_DELIVERABLE)
    return true
  }

  func closed(_ session: OpaquePointer) { open[session] = nil }

  private static func peer(of descriptor: Int32) -> CoAPAddress? {
    var name = coap_address_t()
    coap_address_init(&name)
    let code = withUnsafeMutablePointer(to: &name) { pointer in
      connected_peer(descriptor, pointer)
    }
    guard code == 0 else { return nil }
    return withUnsafePointer(to: &name) { CoAPAddress($0) }
  }

  /// Connections that have not become a CoAP session in time, or whose peers have not read what was sent to them since the
  /// last check. Checks are a second apart, however often this is called.
  func burdens(at now: UInt64) -> [OpaquePointer] {
    guard now >= lastLook + 1_000_000_000 else { return [] }
    lastLook = now
    let patience = UInt64(limits.connectionTimeout) * 1_000_000_000
    var found: [OpaquePointer] = []
    for (session, connection) in open {
      let isStuck = connection.descriptor.map { !is_writable($0) } ?? false
      let isLate =
        coap_session_get_state(session) != COAP_SESSION_STATE_ESTABLISHED && now > connection.since + patience
      if isLate || isStuck && connection.isStuck { found.append(session) }
      if isStuck != connection.isStuck { open[session]?.isStuck = isStuck }
    }
    return found
  }
}
