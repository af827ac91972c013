// Certificates: `device-rpc certs`: a certificate authority for development, and its certificates.
// Commands at the top, files and keys below; uses only the room Terminal.

internal import Crypto
internal import Foundation
internal import SwiftASN1
internal import X509

/// A certificate authority for development.
///
/// All keys use P-256, the curve that constrained devices support and that each cipher suite of RFC 7252 §9.1.3.3 names.
struct DevelopmentCA {
  /// A certificate and its private key.
  struct Identity {
    let certificate: Certificate
    fileprivate let key: P256.Signing.PrivateKey

    var certificatePEM: String {
      get throws { try certificate.serializeAsPEM().pemString + "\n" }
    }

    /// PKCS #8, without a passphrase, since a device cannot ask for one.
    var keyPEM: String { key.pemRepresentation + "\n" }
  }

  /// The holder of a certificate.
  enum Holder {
    /// A server with these names and addresses, at least one.
    case server([CertificateHost])
    /// A device, named as in Golioth's certificates.
    case device(name: String, project: String)
  }

  /// Why the files of a CA cannot be used.
  struct Unusable: Error {
    let reason: String
  }

  let identity: Identity

  /// Creates a new CA.
  init(name: String, validity: CertificateValidity) throws {
    let key = P256.Signing.PrivateKey()
    let publicKey = Certificate.PublicKey(key.publicKey)
    let subject = try DistinguishedName { CommonName(name) }
    let certificate = try Certificate(
      version: .v3,
      serialNumber: Self.serialNumber(),
      publicKey: publicKey,
      notValidBefore: validity.from,
      notValidAfter: validity.until,
      issuer: subject,
      subject: subject,
      extensions: Certificate.Extensions {
        Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
        Critical(KeyUsage(keyCertSign: true, cRLSign: true))
        SubjectKeyIdentifier(hash: publicKey)
      },
      issuerPrivateKey: Certificate.PrivateKey(key))
    identity = Identity(certificate: certificate, key: key)
  }

  /// Reads a CA from the contents of its files.
  init(certificatePEM: String, keyPEM: String) throws(Unusable) {
    guard let certificate = try? Certificate(pemEncoded: certificatePEM) else {
      throw Unusable(reason: "the certificate is not one in PEM form")
    }
    guard case .isCertificateAuthority? = try? certificate.extensions.basicConstraints else {
      throw Unusable(reason: "the certificate is not that of a CA")
    }
    guard let key = try? P256.Signing.PrivateKey(pemRepresentation: keyPEM) else {
      throw Unusable(reason: "the key is not one of P-256 in PEM form")
    }
    guard Certificate.PublicKey(key.publicKey) == certificate.publicKey else {
      throw Unusable(reason: "the key does not belong to the certificate")
    }
    identity = Identity(certificate: certificate, key: key)
  }

  /// Issues a certificate for a new key. It does not outlive the certificate of the CA.
  func issue(to holder: Holder, validity: CertificateValidity) throws -> Identity {
    let authority = identity.certificate
    let key = P256.Signing.PrivateKey()
    let publicKey = Certificate.PublicKey(key.publicKey)
    let subject = try Self.subject(of: holder)
    let usage: ExtendedKeyUsage.Usage
    let names: [GeneralName]
    switch holder {
    case .server(let hosts): (usage, names) = (.serverAuth, hosts.map(\.generalName))
    case .device: (usage, names) = (.clientAuth, [])
    }
    let certificate = try Certificate(
      version: .v3,
      serialNumber: Self.serialNumber(),
      publicKey: publicKey,
      notValidBefore: validity.from,
      notValidAfter: min(validity.until, authority.notValidAfter),
      issuer: authority.subject,
      subject: subject,
      extensions: Certificate.Extensions {
        Critical(BasicConstraints.notCertificateAuthority)
        Critical(KeyUsage(digitalSignature: true))
        try ExtendedKeyUsage([usage])
        if !names.isEmpty { SubjectAlternativeNames(names) }
        SubjectKeyIdentifier(hash: publicKey)
        // Two CAs with the same name differ only in this identifier.
        AuthorityKeyIdentifier(keyIdentifier: try authority.extensions.subjectKeyIdentifier?.keyIdentifier)
      },
      issuerPrivateKey: Certificate.PrivateKey(identity.key))
    return Identity(certificate: certificate, key: key)
  }

  private static func subject(of holder: Holder) throws -> DistinguishedName {
    switch holder {
    case .server(let hosts):
      // Programs check the names in the extension; this one is for people.
      try DistinguishedName { CommonName(String((hosts.first?.text ?? "server").prefix(CertificateNames.longest))) }
    case .device(let name, let project):
      try DistinguishedName {
        OrganizationName(project)
        CommonName(name)
      }
    }
  }

  /// Twenty octets, positive and not predictable (RFC 5280 §4.1.2.2).
  private static func serialNumber() -> Certificate.SerialNumber {
    var bytes = (0..<20).map { _ in UInt8.random(in: .min ... .max) }
    // The first bit is the sign bit; the second one ensures that no leading zeros are dropped.
    bytes[0] = bytes[0] & 0x7f | 0x40
    return Certificate.SerialNumber(bytes: bytes)
  }
}

/// The period in which a certificate is valid.
struct CertificateValidity {
  /// One day. A clock that shows local time as UTC is up to fourteen hours behind, and some devices keep time badly.
  static let allowanceForSlowClocks: TimeInterval = 86_400

  /// The time from which the days are counted.
  let start: Date
  let from: Date
  let until: Date

  /// Valid for some days from `start`. Without `start`, valid for some days from now, and for one day before, for slow clocks.
  init(days: Int, start: Date?, now: Date = Date()) {
    // Certificates store whole seconds.
    self.start = start ?? Date(timeIntervalSince1970: now.timeIntervalSince1970.rounded(.down))
    from = start ?? self.start.addingTimeInterval(-Self.allowanceForSlowClocks)
    until = self.start.addingTimeInterval(Double(days) * 86_400)
  }
}
