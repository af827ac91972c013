internal import CLibcoap

/// A transport of CoAP by the scheme of its URIs (RFC 7252 §6, RFC 8323 §8).
package enum CoAPScheme: String, Sendable, Hashable, CaseIterable {
  case coap
  case coaps
  case coapTCP = "coap+tcp"
  case coapsTCP = "coaps+tcp"

  /// Whether it uses TCP: messages arrive in order and are not acknowledged, and a session ends with its connection.
  package var isStream: Bool { self == .coapTCP || self == .coapsTCP }
  /// Whether it uses DTLS or TLS: the peer is authenticated.
  package var isSecure: Bool { self == .coaps || self == .coapsTCP }
  package var defaultPort: UInt16 { isSecure ? 5_684 : 5_683 }

  var libcoap: coap_proto_t {
    switch self {
    case .coap: COAP_PROTO_UDP
    case .coaps: COAP_PROTO_DTLS
    case .coapTCP: COAP_PROTO_TCP
    case .coapsTCP: COAP_PROTO_TLS
    }
  }

  init?(_ proto: coap_proto_t) {
    guard let scheme = Self.allCases.first(where: { $0.libcoap == proto }) else { return nil }
    self = scheme
  }
}

/// The transport and address at which a server listens: `coaps://127.0.0.1:5684`.
package struct CoAPListener: Sendable, Hashable, CustomStringConvertible {
  package var scheme: CoAPScheme
  package var address: CoAPAddress

  package init(_ scheme: CoAPScheme, _ address: CoAPAddress) {
    self.scheme = scheme
    self.address = address
  }

  package var description: String { "\(scheme.rawValue)://\(address)" }
}
