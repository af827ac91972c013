// Security: DTLS and TLS: who a peer has proved to be, and what OpenSSL is given to read and write.
// The shard owns a `SecureContext`; DeviceRPCCoAP decides about keys and certificates as `CoAPAuthority`.

internal import CLibcoap

/// Who the peer of a secure session has proved to be.
package enum CoAPIdentity: Sendable, Hashable {
  /// It knows the key of this identity (RFC 4279).
  case preSharedKey(String)
  /// It has the private key of a certificate of a CA that is trusted: the first DNS name of the subject's alternative
  /// names, or else its last common name, and the certificate in DER.
  case certificate(name: String, der: [UInt8])

  package var name: String {
    switch self {
    case .preSharedKey(let identity): identity
    case .certificate(let name, _): name
    }
  }

  /// Nil for a certificate without a name, and one whose name is too long, has a NUL in it or is not UTF-8.
  package init?(certificate der: [UInt8]) {
    let name = [UInt8](unsafeUninitializedCapacity: Int(CERTIFICATE_NAME_BYTES)) { buffer, count in
      count = certificate_name(der, der.count, buffer.baseAddress)
    }
    guard !name.isEmpty, let name = String(validating: name, as: UTF8.self) else { return nil }
    self = .certificate(name: name, der: der)
  }
}

/// What a session has besides when its peer has proved who it is. Apart, so that it takes no room of plain ones.
// Unchecked because every member is touched on the loop's thread only.
package final class SecuredPeer: @unchecked Sendable {
  package let identity: CoAPIdentity
  /// What the authority based its decision on. The handler may take it back.
  package var principal: (any Sendable)?
  init(_ identity: CoAPIdentity, _ principal: any Sendable) { (self.identity, self.principal) = (identity, principal) }
}

/// Decides in the middle of a handshake, on the loop's thread: it must answer at once. What it bases its decision on is kept
/// at the session, as `SecuredPeer.principal`.
package protocol CoAPAuthority: Sendable {
  /// The key of an identity; nil refuses it.
  func preSharedKey(of identity: String, from peer: CoAPAddress) -> (key: [UInt8], principal: any Sendable)?
  /// Nil when a certificate, whose chain and dates are in order, may not connect.
  func principal(of identity: CoAPIdentity, from peer: CoAPAddress) -> (any Sendable)?
  /// A handshake has failed that the authority had not refused.
  func handshakeFailed(from peer: CoAPAddress, identity: String?, reason: String)
}

/// What a server proves itself with, and which devices' certificates it trusts. PEM each.
package struct CoAPCertificate: Sendable, Hashable {
  /// The server's certificate, issued by a CA that the devices trust directly: libcoap sends no chain.
  package var certificate: [UInt8]
  package var key: [UInt8]
  /// The CAs of the devices, one after the other.
  package var trusted: [UInt8]

  package init(certificate: [UInt8], key: [UInt8], trusted: [UInt8]) {
    self.certificate = certificate
    self.key = key
    self.trusted = trusted
  }
}

/// What the secure listeners of an endpoint work with.
package struct CoAPSecurity: Sendable {
  package var authority: any CoAPAuthority
  /// Without a certificate only pre-shared keys are accepted.
  package var certificate: CoAPCertificate?
  /// The cipher suites for pre-shared keys over DTLS 1.2 and TLS 1.2, by OpenSSL's names, the preferred one first. Nil for
  /// those that libcoap takes.
  package var cipherSuites: [String]?

  package init(authority: any CoAPAuthority, certificate: CoAPCertificate? = nil, cipherSuites: [String]? = nil) {
    self.authority = authority
    self.certificate = certificate
    self.cipherSuites = cipherSuites
  }
}
