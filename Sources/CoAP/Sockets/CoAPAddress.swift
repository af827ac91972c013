internal import CLibcoap
internal import Glibc

/// The address of a peer or socket: an IPv4 or IPv6 address and a port.
package struct CoAPAddress: Hashable, Sendable, CustomStringConvertible {
  // IPv4: `high` is 0 and `low` the address as it lies in memory. IPv6: sixteen bytes as they lie in memory.
  let high: UInt64
  let low: UInt64
  let scope: UInt32
  package let port: UInt16
  package let isIPv6: Bool

  init(high: UInt64, low: UInt64, scope: UInt32 = 0, port: UInt16, isIPv6: Bool) {
    self.high = high
    self.low = low
    self.scope = scope
    self.port = port
    self.isIPv6 = isIPv6
  }

  /// A numeric IPv4 or IPv6 address, the latter with or without square brackets; nil for anything else. Names are not
  /// looked up.
  package init?(host: String, port: UInt16) {
    var host = host
    if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
    var v4 = in_addr()
    var v6 = in6_addr()
    if inet_pton(AF_INET, host, &v4) == 1 {
      self.init(high: 0, low: UInt64(v4.s_addr), port: port, isIPv6: false)
    } else if inet_pton(AF_INET6, host, &v6) == 1 {
      let (high, low) = withUnsafeBytes(of: v6) {
        ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      }
      self.init(high: high, low: low, port: port, isIPv6: true)
    } else {
      return nil
    }
  }

  init?(_ address: UnsafePointer<coap_address_t>?) {
    guard let address = address?.pointee else { return nil }
    switch Int32(address.addr.sa.sa_family) {
    case AF_INET:
      let sin = address.addr.sin
      self.init(
        high: 0, low: UInt64(sin.sin_addr.s_addr), port: UInt16(bigEndian: sin.sin_port), isIPv6: false)
    case AF_INET6:
      let sin6 = address.addr.sin6
      let (high, low) = withUnsafeBytes(of: sin6.sin6_addr) {
        ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      }
      self.init(
        high: high, low: low, scope: sin6.sin6_scope_id, port: UInt16(bigEndian: sin6.sin6_port),
        isIPv6: true)
    default:
      return nil
    }
  }

  var libcoap: coap_address_t {
    var result = coap_address_t()
    coap_address_init(&result)
    if isIPv6 {
      result.size = socklen_t(MemoryLayout<sockaddr_in6>.size)
      result.addr.sin6.sin6_family = sa_family_t(AF_INET6)
      result.addr.sin6.sin6_port = port.bigEndian
      result.addr.sin6.sin6_scope_id = scope
      withUnsafeMutableBytes(of: &result.addr.sin6.sin6_addr) {
        $0.storeBytes(of: high, as: UInt64.self)
        $0.storeBytes(of: low, toByteOffset: 8, as: UInt64.self)
      }
    } else {
      result.size = socklen_t(MemoryLayout<sockaddr_in>.size)
      result.addr.sin.sin_family = sa_family_t(AF_INET)
      result.addr.sin.sin_port = port.bigEndian
      result.addr.sin.sin_addr.s_addr = in_addr_t(truncatingIfNeeded: low)
    }
    return result
  }

  package func withPort(_ port: UInt16) -> CoAPAddress {
    CoAPAddress(high: high, low: low, scope: scope, port: port, isIPv6: isIPv6)
  }

  /// The address without the port: `127.0.0.1`, `::1`.
  package var host: String {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    if isIPv6 {
      var bytes = (high, low)
      inet_ntop(AF_INET6, &bytes, &text, socklen_t(text.count))
    } else {
      var address = in_addr(s_addr: in_addr_t(truncatingIfNeeded: low))
      inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
    }
    return String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }

  package var isLoopback: Bool {
    if isIPv6 { return high == 0 && low == UInt64(1).bigEndian }
    return UInt8(truncatingIfNeeded: low) == 127
  }

  /// `127.0.0.1:5683`, `[::1]:5683`.
  package var description: String { isIPv6 ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// The sender of datagrams: the part of an address that `peeked_datagram` and `CoAPAddress` have in common.
struct PeerKey: Hashable {
  let high: UInt64
  let low: UInt64
  let port: UInt16

  init(_ address: CoAPAddress) { (high, low, port) = (address.high, address.low, address.port) }

  init(_ datagram: peeked_datagram) {
    (high, low, port) = (datagram.address_high, datagram.address_low, datagram.port)
  }
}

extension CoAPAddress {
  /// The address of a sender, without the scope of a link-local address.
  init(_ peer: PeerKey) {
    self.init(high: peer.high, low: peer.low, port: peer.port, isIPv6: peer.high != 0 || peer.low >> 32 != 0)
  }
}
