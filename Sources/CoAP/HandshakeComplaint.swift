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
    } else if let error = lines.lazy.compactMap(Self.error).first {
      (reason, name) = (error, nil)
    } else if let first = lines.first {
      (reason, name) = (first, nil)
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

  /// `peer did not return a certificate at SSL routines:(null)` (`coap_dtls_info_callback`)
  private static func error(_ line: String) -> String? {
    guard let end = line.ranges(of: " at SSL routines:").last else { return nil }
    let text = line[..<end.lowerBound]
    return switch text {
    case "peer did not return a certificate": "it has no certificate"
    case "no shared cipher": "it offers no cipher suite that the server takes"
    default: String(text)
    }
  }

  private static func rest(of line: String, after prefix: String) -> Substring? {
    line.hasPrefix(prefix) ? line.dropFirst(prefix.count) : nil
  }
}
