public import DeviceRPC
internal import CoAP
internal import FoundationEssentials
internal import Glibc

/// What a server works with over DTLS and TLS.
public struct DeviceSecurity: Sendable {
  /// Where the devices' keys and certificates are looked up.
  public var credentials: any DeviceCredentials
  /// What the server proves itself with to devices that use certificates; nil accepts pre-shared keys only.
  public var certificate: ServerCertificate?
  /// The cipher suites that devices with a pre-shared key may come with over DTLS 1.2 and TLS 1.2, the preferred one first.
  /// All of them, in the order of their declaration. With none, only certificates and TLS 1.3 are left.
  ///
  /// Devices with a certificate are not affected: they may use all suites of OpenSSL for TLS 1.2 that it thinks strong
  /// enough. TLS 1.3 has suites of its own, for keys AES-128-GCM or ChaCha20 with SHA-256.
  public var cipherSuites = CipherSuite.allCases

  public init(credentials: any DeviceCredentials, certificate: ServerCertificate? = nil) {
    self.credentials = credentials
    self.certificate = certificate
  }

  /// A cipher suite for pre-shared keys, by its name in the IANA registry.
  ///
  /// Left out are those that encrypt nothing, those with SHA-1, RC4 or 3DES, Camellia and ARIA, and DHE_PSK and RSA_PSK,
  /// which need a group or a certificate that libcoap does not give to handshakes with a key.
  public enum CipherSuite: String, Sendable, Hashable, CaseIterable {
    case pskAES128GCMSHA256 = "TLS_PSK_WITH_AES_128_GCM_SHA256"
    case pskAES256GCMSHA384 = "TLS_PSK_WITH_AES_256_GCM_SHA384"
    case pskChaCha20Poly1305SHA256 = "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256"
    /// With forward secrecy, as the others of ECDHE; it costs the device two operations on an elliptic curve.
    case ecdhePSKChaCha20Poly1305SHA256 = "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"
    case pskAES128CCM = "TLS_PSK_WITH_AES_128_CCM"
    case pskAES256CCM = "TLS_PSK_WITH_AES_256_CCM"
    /// The one that RFC 7252 §9.1.3.1 demands.
    case pskAES128CCM8 = "TLS_PSK_WITH_AES_128_CCM_8"
    case pskAES256CCM8 = "TLS_PSK_WITH_AES_256_CCM_8"
    /// With CBC, as the others below: firmware may be built with nothing better.
    case pskAES128CBCSHA256 = "TLS_PSK_WITH_AES_128_CBC_SHA256"
    case pskAES256CBCSHA384 = "TLS_PSK_WITH_AES_256_CBC_SHA384"
    case ecdhePSKAES128CBCSHA256 = "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256"
    case ecdhePSKAES256CBCSHA384 = "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA384"

    /// How OpenSSL calls it: `PSK-AES128-CCM8`.
    package var openSSLName: String {
      rawValue.replacing("TLS_", with: "").replacing("_WITH_", with: "-").replacing("AES_", with: "AES")
        .replacing("CCM_8", with: "CCM8").replacing("POLY1305_SHA256", with: "POLY1305").replacing("_", with: "-")
    }
  }
}

/// A server's certificate and key, and the CAs of the devices, as PEM files.
///
/// The files are looked at every few seconds: new ones are used for the next handshake, and sessions go on. Files that do
/// not fit together are reported in the log and the old ones stay in use. A CA that is taken out of `trusted` is trusted
/// no more from the next handshake on.
public struct ServerCertificate: Sendable, Hashable {
  /// The certificate, issued by a CA that the devices know: no chain is sent.
  public var certificate: String
  /// Its private key.
  public var key: String
  /// The certificates of the CAs whose devices may connect.
  public var trusted: String

  public init(certificate: String, key: String, trusted: String) {
    self.certificate = certificate
    self.key = key
    self.trusted = trusted
  }

  /// Reads the files and has OpenSSL check that they fit together.
  func load() throws(CoAPConfigurationError) -> CoAPCertificate {
    let loaded = CoAPCertificate(
      certificate: try Self.read(certificate, "CERTIFICATE"), key: try Self.read(key, "PRIVATE KEY"),
      trusted: try Self.read(trusted, "CERTIFICATE"))
    guard loaded.isUsable() else {
      throw .unusableCertificate("\(key) is not the private key of \(certificate), or one of them is damaged")
    }
    return loaded
  }

  private static func read(_ path: String, _ what: String) throws(CoAPConfigurationError) -> [UInt8] {
    // Of whatever kind the file is, and no more of it than a chain of certificates can have.
    let longest = 1 << 20
    var bytes: [UInt8] = []
    var part = [UInt8](repeating: 0, count: 4_096)
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    defer { if descriptor >= 0 { close(descriptor) } }
    while bytes.count <= longest {
      let count = descriptor < 0 ? -1 : Glibc.read(descriptor, &part, part.count)
      if count < 0, descriptor >= 0, errno == EINTR { continue }
      guard count >= 0 else { throw .unusableCertificate("\(path) cannot be read: \(String(cString: strerror(errno)))") }
      if count == 0 { break }
      bytes += part[..<count]
    }
    guard bytes.count <= longest, String(decoding: bytes, as: UTF8.self).contains("\(what)-----") else {
      throw .unusableCertificate("\(path) is not a PEM file with a \(what.lowercased())")
    }
    return bytes
  }

  /// When the files were last changed, to see whether they were changed again.
  func stamp() -> [Date?] {
    [certificate, key, trusted].map {
      (try? FileManager.default.attributesOfItem(atPath: $0))?[.modificationDate] as? Date
    }
  }
}
