public import DeviceRPC
internal import CoAP
internal import FoundationEssentials
internal import Glibc

/// The credentials and cipher suites of a server for DTLS and TLS.
public struct DeviceSecurity: Sendable {
  /// The source of the devices' keys and certificates.
  public var credentials: any DeviceCredentials
  /// The server's certificate, for devices that use certificates. Nil by default: only pre-shared keys are accepted.
  public var certificate: ServerCertificate?
  /// The cipher suites for devices with a pre-shared key over DTLS 1.2 and TLS 1.2, the preferred one first. All suites by
  /// default, in the order of their declaration. If empty, such devices can use TLS 1.3 only.
  ///
  /// Devices with a certificate are not affected: they may use all suites for TLS 1.2 that OpenSSL considers strong enough.
  /// TLS 1.3 has its own suites; for pre-shared keys these are AES-128-GCM and ChaCha20 with SHA-256.
  public var cipherSuites = CipherSuite.allCases

  public init(credentials: any DeviceCredentials, certificate: ServerCertificate? = nil) {
    self.credentials = credentials
    self.certificate = certificate
  }

  /// A cipher suite for pre-shared keys, by its name in the IANA registry.
  ///
  /// Excluded are suites without encryption, and suites with SHA-1, RC4, 3DES, Camellia or ARIA. DHE_PSK and RSA_PSK are also
  /// excluded: they need a group or a certificate, which libcoap does not set for handshakes with a key.
  public enum CipherSuite: String, Sendable, Hashable, CaseIterable {
    case pskAES128GCMSHA256 = "TLS_PSK_WITH_AES_128_GCM_SHA256"
    case pskAES256GCMSHA384 = "TLS_PSK_WITH_AES_256_GCM_SHA384"
    case pskChaCha20Poly1305SHA256 = "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256"
    /// With forward secrecy, like the other ECDHE suites; it costs the device two operations on an elliptic curve.
    case ecdhePSKChaCha20Poly1305SHA256 = "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"
    case pskAES128CCM = "TLS_PSK_WITH_AES_128_CCM"
    case pskAES256CCM = "TLS_PSK_WITH_AES_256_CCM"
    /// The suite that RFC 7252 §9.1.3.1 requires.
    case pskAES128CCM8 = "TLS_PSK_WITH_AES_128_CCM_8"
    case pskAES256CCM8 = "TLS_PSK_WITH_AES_256_CCM_8"
    /// With CBC, like the suites below, for firmware that is built with nothing better.
    case pskAES128CBCSHA256 = "TLS_PSK_WITH_AES_128_CBC_SHA256"
    case pskAES256CBCSHA384 = "TLS_PSK_WITH_AES_256_CBC_SHA384"
    case ecdhePSKAES128CBCSHA256 = "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256"
    case ecdhePSKAES256CBCSHA384 = "TLS_ECDHE_PSK_WITH_AES_256_CBC_SHA384"

    /// OpenSSL's name of the suite: `PSK-AES128-CCM8`.
    package var openSSLName: String {
      rawValue.replacing("TLS_", with: "").replacing("_WITH_", with: "-").replacing("AES_", with: "AES")
        .replacing("CCM_8", with: "CCM8").replacing("POLY1305_SHA256", with: "POLY1305").replacing("_", with: "-")
    }
  }
}

/// A server's certificate and key, and the CAs of the devices, as PEM files.
///
/// The files are checked every few seconds. Changed files are used from the next handshake on; existing sessions continue. If
/// changed files do not fit together, an error is logged and the old ones stay in use. A CA that is removed from `trusted` is
/// no longer trusted from the next handshake on.
public struct ServerCertificate: Sendable, Hashable {
  /// The path of the certificate. The issuing CA must be known to the devices, since no chain is sent.
  public var certificate: String
  /// The path of its private key.
  public var key: String
  /// The path of a file with the certificates of the CAs whose devices may connect.
  public var trusted: String

  public init(certificate: String, key: String, trusted: String) {
    self.certificate = certificate
    self.key = key
    self.trusted = trusted
  }

  /// Reads the files, and checks with OpenSSL that they fit together.
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
    // Reads any kind of file, such as a pipe, and not more than a chain of certificates can have.
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

  /// The modification times of the files, to detect changes.
  func stamp() -> [Date?] {
    [certificate, key, trusted].map {
      (try? FileManager.default.attributesOfItem(atPath: $0))?[.modificationDate] as? Date
    }
  }
}
