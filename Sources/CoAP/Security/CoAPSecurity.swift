// Security: DTLS and TLS: the authentication of peers, and what is read from and written to OpenSSL past libcoap. The shard
// owns a `SecureContext`; DeviceRPCCoAP decides about keys and certificates as `CoAPAuthority`.

internal import CLibcoap

/// The authenticated identity of the peer of a secure session.
package enum CoAPIdentity: Sendable, Hashable {
  /// The peer knows the pre-shared key of this identity (RFC 4279).
  case preSharedKey(String)
  /// The peer has the private key of a certificate from a trusted CA. `name` is the first DNS name of the subject's
  /// alternative names, or else the subject's last common name. `der` is the certificate in DER.
  case certificate(name: String, der: [UInt8])

  package var name: String {
    switch self {
    case .preSharedKey(let identity): identity
    case .certificate(let name, _): name
    }
  }

  /// Nil for a certificate without a name, and for one whose name is too long, contains a NUL or is not UTF-8.
  package init?(certificate der: [UInt8]) {
    let name = [UInt8](unsafeUninitializedCapacity: Int(CERTIFICATE_NAME_BYTES)) { buffer, count in
      count = certificate_name(der, der.count, buffer.baseAddress)
    }
    guard !name.isEmpty, let name = String(validating: name, as: UTF8.self) else { return nil }
    self = .certificate(name: name, der: der)
  }
}

/// The authenticated peer of a secure session. Allocated separately, so that other sessions need no memory for it.
// Unchecked because every member is touched on the loop's thread only.
package final class SecuredPeer: @unchecked Sendable {
  package let identity: CoAPIdentity
  /// What the authority based its decision on. The handler may remove it.
  package var principal: (any Sendable)?
  init(_ identity: CoAPIdentity, _ principal: any Sendable) { (self.identity, self.principal) = (identity, principal) }
}

/// Decides which peers may connect. It is called during a handshake, on the loop's thread, so it must not block. What it
/// bases its decision on is stored as `SecuredPeer.principal`.
package protocol CoAPAuthority: Sendable {
  /// The key of an identity. Nil refuses the identity.
  func preSharedKey(of identity: String, from peer: CoAPAddress) -> (key: [UInt8], principal: any Sendable)?
  /// The principal of a certificate, whose chain and dates have been checked. Nil refuses the certificate.
  func principal(of identity: CoAPIdentity, from peer: CoAPAddress) -> (any Sendable)?
  /// Called when a handshake has failed that the authority has not refused.
  func handshakeFailed(from peer: CoAPAddress, identity: String?, reason: String)
}

/// The certificate and private key of a server, and the CAs that it trusts. PEM each.
package struct CoAPCertificate: Sendable, Hashable {
  /// The server's certificate, issued by a CA that the devices trust directly: libcoap sends no chain.
  package var certificate: [UInt8]
  package var key: [UInt8]
  /// The CAs of the devices, concatenated.
  package var trusted: [UInt8]

  package init(certificate: [UInt8], key: [UInt8], trusted: [UInt8]) {
    self.certificate = certificate
    self.key = key
    self.trusted = trusted
  }
}

/// The security configuration of the secure listeners of an endpoint.
package struct CoAPSecurity: Sendable {
  package var authority: any CoAPAuthority
  /// Without a certificate only pre-shared keys are accepted.
  package var certificate: CoAPCertificate?
  /// The cipher suites for pre-shared keys over DTLS 1.2 and TLS 1.2, by OpenSSL's names, the preferred one first. Nil for
  /// libcoap's default.
  package var cipherSuites: [String]?

  package init(authority: any CoAPAuthority, certificate: CoAPCertificate? = nil, cipherSuites: [String]? = nil) {
    self.authority = authority
    self.certificate = certificate
    self.cipherSuites = cipherSuites
  }
}
