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

  public init(credentials: any DeviceCredentials, certificate: ServerCertificate? = nil) {
    self.credentials = credentials
    self.certificate = certificate
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
    let bytes: [UInt8]
    do {
      bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    } catch {
      let code = ((error as? CocoaError)?.underlying as? POSIXError)?.code.rawValue
      throw .unusableCertificate("\(path) cannot be read" + (code.map { ": " + String(cString: strerror($0)) } ?? ""))
    }
    guard bytes.count <= 1 << 20, String(decoding: bytes, as: UTF8.self).contains("\(what)-----") else {
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
