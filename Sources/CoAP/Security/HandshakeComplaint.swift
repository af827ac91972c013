/// Why a handshake has failed, from what libcoap logs about it: it has no other way to tell (coap_openssl.c).
struct HandshakeComplaint: Hashable {
  let reason: String
  /// The name in the peer's certificate, when that is what is wrong. Nothing proves that the peer may bear it.
  let name: String?

  /// From the lines about one handshake, of which there are several; nil without any.
  init?(_ lines: [String]) {
    if let (reason, name) = lines.lazy.compactMap(Self.verification).first {
      (self.reason, self.name) = (reason, name)
    } else if let alert = lines.lazy.compactMap({ Self.rest(of: $0, after: "SSL3 alert read:fatal:") }).first {
      (reason, name) = ("it has refused the server, with the alert \"\(alert)\"", nil)
    } else if let words = lines.lazy.compactMap({ Self.error($0).flatMap(Self.words) }).first {
      (reason, name) = (words, nil)
    } else if let error = lines.lazy.compactMap(Self.error).first {
      (reason, name) = ("its handshake went wrong: \(error)", nil)
    } else if let first = lines.first {
      (reason, name) = ("its handshake went wrong: \(first)", nil)
    } else {
      return nil
    }
  }

  /// `certificate has expired: 'sensor-1' depth=0` (`tls_verify_call_back`)
  private static func verification(_ line: String) -> (String, name: String?)? {
    guard let start = line.firstRange(of: ": '"), let end = line.ranges(of: "' depth=").last,
      start.upperBound <= end.lowerBound
    else { return nil }
    let name = String(line[start.upperBound..<end.lowerBound])
    // The issuer is missed at the certificate, or found to be unknown itself when the peer sends it along.
    let ofPeer = line[end.upperBound...] == "0"
    switch line[..<start.lowerBound] {
    case "Unknown CA", "unable to get local issuer certificate", "unable to verify the first certificate",
      "self-signed certificate":
      return ("its certificate is not of a CA that is trusted", ofPeer ? name : nil)
    case let text where ofPeer:
      return (text.hasPrefix("certificate ") ? "its \(text)" : String(text), name)
    case let text:
      return ("\(text), of the CA \"\(name)\"", nil)
    }
  }

  static let noCertificate = "it has no certificate"
  static let noCertificateHere = "it wants a certificate of the server, which has none"
  /// It was about certificates, with somebody who has none: OpenSSL did not use the key of a handshake of TLS 1.3.
  var hasPassedKeyOver: Bool { reason == Self.noCertificate || reason == Self.noCertificateHere }

  static let wrongKey = HandshakeComplaint(reason: "its key is not the one of this identity", name: nil)

  private init(reason: String, name: String?) { (self.reason, self.name) = (reason, name) }

  /// OpenSSL's reason: `peer did not return a certificate at SSL routines:(null)`, or from libcoap 4.3.2 on, with OpenSSL 3,
  /// nothing behind it (`coap_dtls_info_callback`).
  private static func error(_ line: String) -> String? {
    // What the peer is told, and how far the handshake had come.
    guard !line.hasPrefix("SSL3 alert "), ![":error in ", ":failed in "].contains(where: line.contains) else { return nil }
    if let end = line.ranges(of: " at SSL routines:").last { return String(line[..<end.lowerBound]) }
    // Of reading a file, say, which went wrong and does not matter.
    return line.contains(" routines:") ? nil : line
  }

  private static func words(_ error: String) -> String? {
    switch error {
    case "peer did not return a certificate": noCertificate
    case "no suitable signature algorithm": noCertificateHere
    // Over TLS 1.2 and TLS 1.3. Nothing else of a handshake with a key is encrypted by the peer or bound to it.
    case "decryption failed or bad record mac", "binder does not verify": wrongKey.reason
    case "no shared cipher": "it offers no cipher suite that the server takes"
    case "no suitable key share", "no shared groups": "it offers no group for a key exchange that the server takes"
    case "unsupported protocol", "version too low", "wrong ssl version":
      "it speaks no version of the protocol that the server takes: DTLS 1.2, TLS 1.2 and TLS 1.3"
    case "wrong version number", "http request", "https proxy request", "packet length too long", "bad record type":
      "what it sends is not TLS"
    case "unexpected eof while reading": "it has closed the connection in the middle of the handshake"
    case "bad signature": "it does not have the private key of its certificate"
    default: nil
    }
  }

  private static func rest(of line: String, after prefix: String) -> Substring? {
    line.hasPrefix(prefix) ? line.dropFirst(prefix.count) : nil
  }
}
