/// A CoAP code: class and detail in one byte (RFC 7252 §3, §12.1).
package struct CoAPCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  package let rawValue: UInt8

  package init(rawValue: UInt8) { self.rawValue = rawValue }

  /// `CoAPCode(4, 13)` is 4.13.
  package init(_ codeClass: UInt8, _ detail: UInt8) { rawValue = codeClass << 5 | detail & 0x1f }

  package var codeClass: UInt8 { rawValue >> 5 }
  package var isSuccess: Bool { codeClass == 2 }

  /// As it is written in the RFCs: `2.05`.
  package var description: String {
    let detail = rawValue & 0x1f
    return detail < 10 ? "\(codeClass).0\(detail)" : "\(codeClass).\(detail)"
  }

  package static let get = CoAPCode(0, 1)
  package static let post = CoAPCode(0, 2)
  package static let put = CoAPCode(0, 3)
  package static let delete = CoAPCode(0, 4)
  package static let fetch = CoAPCode(0, 5)
  package static let patch = CoAPCode(0, 6)
  package static let iPatch = CoAPCode(0, 7)

  package static let created = CoAPCode(2, 1)
  package static let deleted = CoAPCode(2, 2)
  package static let valid = CoAPCode(2, 3)
  package static let changed = CoAPCode(2, 4)
  package static let content = CoAPCode(2, 5)
  package static let `continue` = CoAPCode(2, 31)
  package static let badRequest = CoAPCode(4, 0)
  package static let unauthorized = CoAPCode(4, 1)
  package static let badOption = CoAPCode(4, 2)
  package static let forbidden = CoAPCode(4, 3)
  package static let notFound = CoAPCode(4, 4)
  package static let methodNotAllowed = CoAPCode(4, 5)
  package static let notAcceptable = CoAPCode(4, 6)
  package static let requestEntityIncomplete = CoAPCode(4, 8)
  package static let requestEntityTooLarge = CoAPCode(4, 13)
  package static let unsupportedContentFormat = CoAPCode(4, 15)
  package static let tooManyRequests = CoAPCode(4, 29)
  package static let internalServerError = CoAPCode(5, 0)
  package static let serviceUnavailable = CoAPCode(5, 3)
  package static let gatewayTimeout = CoAPCode(5, 4)
  package static let proxyingNotSupported = CoAPCode(5, 5)
}

/// A media type by its number in the CoAP Content-Formats registry (RFC 7252 §12.3).
package struct ContentFormat: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  package let rawValue: UInt16

  package init(rawValue: UInt16) { self.rawValue = rawValue }

  package static let textPlain = ContentFormat(rawValue: 0)
  package static let linkFormat = ContentFormat(rawValue: 40)
  package static let octetStream = ContentFormat(rawValue: 42)
  package static let json = ContentFormat(rawValue: 50)
  package static let cbor = ContentFormat(rawValue: 60)

  package var description: String {
    switch self {
    case .textPlain: "text/plain (0)"
    case .linkFormat: "application/link-format (40)"
    case .octetStream: "application/octet-stream (42)"
    case .json: "application/json (50)"
    case .cbor: "application/cbor (60)"
    default: "content format \(rawValue)"
    }
  }
}

/// The token that matches a response to its request, up to eight bytes (RFC 7252 §5.3.1).
package struct CoAPToken: Hashable, Sendable {
  package let value: UInt64
  package let count: UInt8

  /// A token of the first eight of `bytes`, most significant first.
  package init(_ bytes: some Sequence<UInt8>) {
    var value: UInt64 = 0
    var count: UInt8 = 0
    for byte in bytes.prefix(8) {
      value = value << 8 | UInt64(byte)
      count += 1
    }
    self.value = value
    self.count = count
  }

  package init(_ value: UInt64) {
    self.value = value
    count = 8
  }

  package var bytes: [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64(count - 1 - $0))) }
  }
}

/// Why a message did not arrive or a request failed; compare libcoap's `coap_nack_reason_t`.
package enum CoAPFailure: Error, Sendable, Hashable, CustomStringConvertible {
  /// No acknowledgement after all retransmissions (RFC 7252 §4.2).
  case notAcknowledged
  /// The peer answered with a Reset: it does not know what the message is about (RFC 7252 §4.2).
  case reset
  /// The network reported that nothing listens at the address (ICMP).
  case unreachable
  /// The peer has acknowledged the first block of a notification and did not fetch the others (RFC 7959 §2.6).
  case notFetched
  /// The handshake of a client has failed, for this reason.
  case refused(String)
  /// The session or the endpoint was closed first, or libcoap had no memory for the message.
  case closed
  /// The peer's maximum message size (RFC 8323 §5.3.1) is too small for the message, and for a block of it. It was not sent.
  case tooLong
  /// No response in time.
  case timedOut
  /// The peer's answer does not follow the protocol.
  case malformed(String)

  package var description: String {
    switch self {
    case .notAcknowledged: "not acknowledged after all retransmissions"
    case .reset: "rejected with a Reset"
    case .unreachable: "nobody listens at that address"
    case .refused(let reason): reason
    case .notFetched: "its first block was acknowledged, the others were not fetched"
    case .closed: "the session was closed"
    case .tooLong: "the device takes no message of that length, nor a block of it"
    case .timedOut: "no response in time"
    case .malformed(let what): "malformed: \(what)"
    }
  }
}
