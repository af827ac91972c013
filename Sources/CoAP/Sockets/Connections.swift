internal import CLibcoap
internal import Glibc

/// The TCP connections of one libcoap context: how many there may be, and which of them are a burden.
///
/// libcoap accepts as long as there are descriptors, and then its listening socket stays readable for ever. It keeps what
/// a peer does not read without a bound, in a list that it walks for each message, and waits five minutes for one that says
/// nothing. It does not tell a connection's descriptor, which is the first member of its `coap_socket_t`, the cookie of its
/// events. Where that is in a session the first connection shows, and each is checked by the address of its peer; one for
/// which that does not hold is served and not looked after.
final class Connections {
  enum Admission {
    case admit
    /// It has been closed.
    case refused
    /// It cannot even be closed: come back later.
    case impossible
  }

  private struct Connection {
    // Nil for one that is not looked after.
    let descriptor: Int32?
    let since: UInt64
    // Since a look found that the peer does not read.
    var isStuck = false
  }

  private let limits: CoAPLimits
  private let limit: Int
  private let context: OpaquePointer
  private let streamGuard: StreamGuard
  private var lastLook: UInt64 = 0
  // From libcoap's session to its socket, which is a member of it.
  private var offset: UInt?
  // More than the size of a session.
  private static let sessionSize: UInt = 4_096
  private var open: [OpaquePointer: Connection] = [:]
  // Given up to accept, and close, a connection when there is no descriptor left.
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

  /// libcoap has accepted a connection.
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

  /// Runs `body`, in which libcoap reads from the connection of that cookie, and does not let it take too long.
  func watch(_ cookie: UInt, _ body: () -> Void) {
    guard let offset, let session = OpaquePointer(bitPattern: cookie &- offset), let descriptor = open[session]?.descriptor
    else { return body() }
    if coap_session_get_state(session) == COAP_SESSION_STATE_CSM, hasAborted(session, descriptor) { return }
    streamGuard.watch(descriptor, body)
  }

  /// Ends a connection on which a CSM waits that cannot be understood. One that comes in pieces, or with the end of a
  /// handshake of TLS, libcoap has read before it can be looked at.
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
  /// last look. Looks are a second apart, however often this is asked.
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
