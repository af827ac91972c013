/// The reason why a handshake has failed, taken from libcoap's log: libcoap reports it in no other way (coap_openssl.c).
struct HandshakeComplaint: Hashable {
  let reason: String
  /// The name in the peer's certificate, when the certificate is the reason. The name has not been verified.
  let name: String?

  /// Finds the reason in the log lines about one handshake. Nil without any line.
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
    // A missing issuer is reported for the peer's certificate, or for the issuer itself when the peer sends it along.
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
  /// Whether a handshake with a pre-shared key failed because of a certificate: OpenSSL did not use the key over TLS 1.3.
  var hasPassedKeyOver: Bool { reason == Self.noCertificate || reason == Self.noCertificateHere }

  static let wrongKey = HandshakeComplaint(reason: "its key is not the one of this identity", name: nil)

  private init(reason: String, name: String?) { (self.reason, self.name) = (reason, name) }

  /// OpenSSL's reason: `peer did not return a certificate at SSL routines:(null)`. From libcoap 4.3.2 on, with OpenSSL 3,
  /// nothing follows the reason (`coap_dtls_info_callback`).
  private static func error(_ line: String) -> String? {
    // These lines report the alert sent to the peer, and the state of the handshake.
    guard !line.hasPrefix("SSL3 alert "), ![":error in ", ":failed in "].contains(where: line.contains) else { return nil }
    if let end = line.ranges(of: " at SSL routines:").last { return String(line[..<end.lowerBound]) }
    // An error of another part of OpenSSL, for example of reading a file, is not the reason.
    return line.contains(" routines:") ? nil : line
  }

  private static func words(_ error: String) -> String? {
    switch error {
    case "peer did not return a certificate": noCertificate
    case "no suitable signature algorithm": noCertificateHere
    // Over TLS 1.2 and TLS 1.3. Nothing else in a handshake with a pre-shared key is encrypted by the peer or bound to the
    // key.
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
