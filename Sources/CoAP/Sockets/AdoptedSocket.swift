// Sockets: addresses, the sockets that libcoap uses, TCP connections, and reading from all of them. Used by the endpoint's
// room; looks at the first bytes of messages only.

internal import CLibcoap
internal import Glibc

/// A socket of this module that replaces the socket of a libcoap endpoint.
///
/// libcoap 4.3.1 cannot be given a socket. The descriptor of its endpoint is found in `/proc`, together with the cookie that
/// libcoap expects with each event (`coap_io_do_epoll`), and replaced with `dup3`. The socket is not added to libcoap's epoll
/// set again: the event loop watches it, so a datagram costs no second `epoll_wait`.
struct AdoptedSocket {
  /// The number of bytes that libcoap reads of a datagram at most.
  static let largestDatagram = Int(PEEK_BYTES)

  let descriptor: Int32
  let cookie: UInt64
  let isSecure: Bool

  /// Makes `socket` an endpoint of `context`. `socket` itself is closed in any case.
  init(
    _ socket: Int32, _ scheme: CoAPScheme, isIPv6: Bool, context: OpaquePointer
  ) throws(CoAPSystemError) {
    defer { close(socket) }
    let loopback = isIPv6 ? "::1" : "127.0.0.1"
    guard var address = CoAPAddress(host: loopback, port: 0)?.libcoap,
      let endpoint = coap_new_endpoint(context, &address, scheme.libcoap)
    else { throw CoAPSystemError("coap_new_endpoint") }
    // As much as is read. What is sent is limited by `CoAPLimits.datagramPayload`.
    if !scheme.isStream { coap_endpoint_set_default_mtu(endpoint, UInt32(Self.largestDatagram)) }
    // Adopted sockets are no longer in the set, so the one with a cookie is the new one; the timer's cookie is null.
    guard let (descriptor, cookie) = Self.socket(in: coap_context_get_coap_fd(context), where: { $1 != 0 }) else {
      throw CoAPSystemError("fdinfo", detail: "cannot read /proc/self/fdinfo, which adopting a socket needs")
    }
    // This closes libcoap's own socket and so removes it from libcoap's epoll set.
    guard replace_descriptor(socket, descriptor) >= 0 else { throw CoAPSystemError("dup3") }
    guard scheme.isStream || rewind_peek(descriptor) == 0 else { throw CoAPSystemError("SO_PEEK_OFF") }
    self.descriptor = descriptor
    self.cookie = cookie
    isSecure = scheme.isSecure
  }

  /// A descriptor of an epoll set for which `isWanted` returns true, with its cookie.
  ///
  /// Nil, with `errno`, when the list cannot be read. Nil, with 0 in `errno`, when it has no such descriptor.
  static func socket(in epoll: Int32, where isWanted: (Int32, UInt64) -> Bool) -> (Int32, UInt64)? {
    guard let file = fopen("/proc/self/fdinfo/\(epoll)", "r") else { return nil }
    defer { fclose(file) }
    var line = [CChar](repeating: 0, count: 256)
    while fgets(&line, Int32(line.count), file) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      let words = text.split(separator: " ", omittingEmptySubsequences: true)
      guard words.count >= 6, words[0] == "tfd:", let descriptor = Int32(words[1]), words[4] == "data:",
        let cookie = UInt64(words[5], radix: 16), isWanted(descriptor, cookie)
      else { continue }
      return (descriptor, cookie)
    }
    errno = 0
    return nil
  }
}

/// A socket that shares its address with others of this process.
enum SharedSocket {
  /// Binds `count` sockets to one address. With port 0 the system chooses one port for all of them. Returns the sockets and
  /// the address.
  static func bind(
    _ listener: CoAPListener, count: Int, receiveBuffer: Int
  ) throws(CoAPSystemError) -> ([Int32], CoAPAddress) {
    let address = listener.address
    let open = { (address: CoAPAddress, isShared: Bool) throws(CoAPSystemError) -> Int32 in
      try listener.scheme.isStream
        ? openStream(address, isShared: isShared)
        : openDatagram(address, isShared: isShared, receiveBuffer: receiveBuffer)
    }
    // The first socket is bound without SO_REUSEPORT, with which a second server could share the port and get half of the
    // devices. It stays open: if it were closed in between, another process could take the port.
    let first = try open(address, false)
    var sockets = [first]
    let bound: CoAPAddress
    do throws(CoAPSystemError) {
      bound = try name(of: first, like: address)
      try option(first, SOL_SOCKET, SO_REUSEPORT, 1)
      for _ in 1..<max(1, count) {
        sockets.append(try open(bound, true))
      }
    } catch {
      for socket in sockets { close(socket) }
      throw error
    }
    // While sockets were added, the kernel gave datagrams to sockets that are no longer those of their peers. The peers will
    // send them again.
    if !listener.scheme.isStream {
      for socket in sockets { for _ in 0..<4_096 where !discard_datagram(socket) { break } }
    }
    return (sockets, bound)
  }

  private static func openDatagram(
    _ address: CoAPAddress, isShared: Bool, receiveBuffer: Int
  ) throws(CoAPSystemError) -> Int32 {
    try open(address, SOCK_DGRAM, isShared: isShared) { descriptor throws(CoAPSystemError) in
      if address.isIPv6 {
        try option(descriptor, Int32(IPPROTO_IPV6), IPV6_RECVPKTINFO, 1)
      } else {
        try option(descriptor, Int32(IPPROTO_IP), IP_PKTINFO, 1)
      }
      // The kernel reduces a value that is larger than it allows.
      try option(descriptor, SOL_SOCKET, SO_RCVBUF, Int32(clamping: receiveBuffer))
    }
  }

  private static func openStream(_ address: CoAPAddress, isShared: Bool) throws(CoAPSystemError) -> Int32 {
    let descriptor = try open(address, SOCK_STREAM, isShared: isShared) { descriptor throws(CoAPSystemError) in
      // Allows a restart of the server while connections of the previous one are in TIME_WAIT.
      try option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
      // Detects peers that have disappeared without closing the connection. Accepted connections inherit this option and the
      // next.
      try option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
      // A call is one small message. If it were held back until the last message is acknowledged, it would take 40 ms.
      try option(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    }
    guard listen(descriptor, SOMAXCONN) == 0 else {
      let error = CoAPSystemError("listen", detail: "cannot listen on \(address)")
      close(descriptor)
      throw error
    }
    return descriptor
  }

  private static func open(
    _ address: CoAPAddress, _ type: __socket_type, isShared: Bool,
    _ prepare: (Int32) throws(CoAPSystemError) -> Void
  ) throws(CoAPSystemError) -> Int32 {
    let flags = type.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
    let descriptor = socket(address.isIPv6 ? AF_INET6 : AF_INET, Int32(flags), 0)
    guard descriptor >= 0 else { throw CoAPSystemError("socket") }
    do throws(CoAPSystemError) {
      try option(descriptor, SOL_SOCKET, SO_REUSEPORT, isShared ? 1 : 0)
      if address.isIPv6 { try option(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
      try prepare(descriptor)
      var libcoap = address.libcoap
      let size = libcoap.size
      let code = libcoap.withSocketAddress { Glibc.bind(descriptor, $0, size) }
      guard code == 0 else { throw CoAPSystemError("bind", detail: "cannot listen on \(address)") }
    } catch {
      close(descriptor)
      throw error
    }
    return descriptor
  }

  private static func option(
    _ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32
  ) throws(CoAPSystemError) {
    guard set_socket_flag(descriptor, level, option, value) == 0 else { throw CoAPSystemError("setsockopt") }
  }

  private static func name(
    of descriptor: Int32, like address: CoAPAddress
  ) throws(CoAPSystemError) -> CoAPAddress {
    var libcoap = address.libcoap
    var size = libcoap.size
    let code = libcoap.withSocketAddress { getsockname(descriptor, $0, &size) }
    guard code == 0, let bound = withUnsafePointer(to: &libcoap, { CoAPAddress($0) }) else {
      throw CoAPSystemError("getsockname")
    }
    return bound
  }
}

extension coap_address_t {
  /// Calls `body` with a pointer to the address itself. `&addr.sa` would be a copy of 16 bytes: a member of a C union is a
  /// computed property, and an IPv6 address is longer.
  fileprivate mutating func withSocketAddress<Result>(
    _ body: (UnsafeMutablePointer<sockaddr>?) -> Result
  ) -> Result {
    withUnsafeMutableBytes(of: &addr) { body($0.assumingMemoryBound(to: sockaddr.self).baseAddress) }
  }
}
