internal import Crypto
internal import DeviceRPC
internal import Foundation
internal import Glibc
internal import SwiftASN1
internal import X509

/// A name or address of a server, as it appears in a certificate.
struct CertificateHost {
  let text: String
  let generalName: GeneralName

  /// Nil for a text that is neither a DNS name nor an IPv4 or IPv6 address.
  init?(_ text: String) {
    self.text = text
    if let bytes = Self.address(text) {
      generalName = .ipAddress(ASN1OctetString(contentBytes: bytes[...]))
    } else if Self.isName(text) {
      generalName = .dnsName(text)
    } else {
      return nil
    }
  }

  private static func address(_ text: String) -> [UInt8]? {
    for (family, length) in [(AF_INET, 4), (AF_INET6, 16)] {
      var bytes = [UInt8](repeating: 0, count: length)
      if inet_pton(family, text, &bytes) == 1 { return bytes }
    }
    return nil
  }

  private static func isName(_ text: String) -> Bool {
    guard (1...253).contains(text.utf8.count) else { return false }
    var labels = text.split(separator: ".", omittingEmptySubsequences: false)
    if labels.first == "*", labels.count > 1 { labels.removeFirst() }
    // Names in other scripts must be given as xn--…; a number at the end is a mistyped address.
    guard let last = labels.last, !last.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return false }
    return labels.allSatisfy { label in
      (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
        && label.unicodeScalars.allSatisfy { $0.isASCIILetterOrDigit || $0 == "-" || $0 == "_" }
    }
  }

  /// `DNS:localhost` or `IP:127.0.0.1`.
  static func description(_ name: GeneralName) -> String {
    switch name {
    case .dnsName(let name): return "DNS:\(name)"
    case .ipAddress(let address):
      let bytes = Array(address.bytes)
      var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
      guard bytes.count == 4 || bytes.count == 16,
        inet_ntop(bytes.count == 4 ? AF_INET : AF_INET6, bytes, &text, socklen_t(text.count)) != nil
      else { return "IP:(\(bytes.count) bytes)" }
      return "IP:" + String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    default: return "\(name)"
    }
  }
}

/// Rules for names in certificates, and for the file names that are derived from them.
enum CertificateNames {
  /// The length of the longest common name or organisation, in characters (`ub-common-name`, RFC 5280 appendix A.1).
  static let longest = 64

  /// The names of a device's files, without extension.
  ///
  /// The name is unique for each device and never leads out of the directory. Characters with a meaning to a shell or a file
  /// system are percent-encoded. So is the first character of a name that would be that of the CA's or the server's files, or
  /// that would look like an option.
  static func fileName(ofDevice name: String) -> String {
    let isTaken = ["ca", "server"].contains(name.lowercased())
    return name.unicodeScalars.enumerated().reduce(into: "") { result, item in
      let (index, scalar) = item
      let isPlain = scalar.isLetterOrDigit || (["-", ".", "_", "@"].contains(scalar) && index > 0)
      if isPlain, !(isTaken && index == 0) {
        result.unicodeScalars.append(scalar)
      } else {
        for byte in String(scalar).utf8 { result += "%" + [byte].hexadecimal }
      }
    }
  }

  /// Quotes a word for a shell, if needed.
  static func quoted(_ word: String) -> String {
    let isPlain = word.unicodeScalars.allSatisfy { $0.isLetterOrDigit || "-._@%/+:,".unicodeScalars.contains($0) }
    return isPlain && !word.isEmpty ? word : "'" + word.replacing("'", with: "'\\''") + "'"
  }
}

/// The contents of a certificate, as lines for people.
struct CertificateSummary {
  let certificate: Certificate

  func lines(now: Date = Date()) throws -> [String] {
    let state =
      if now > certificate.notValidAfter { " (expired)" } else if now < certificate.notValidBefore { " (not yet)" } else { "" }
    var lines = [
      "subject  \(certificate.subject)",
      "issuer   \(certificate.issuer)",
      "serial   " + certificate.serialNumber.bytes.hexadecimal,
      "valid    \(certificate.notValidBefore.formatted(.iso8601)) to \(certificate.notValidAfter.formatted(.iso8601))\(state)",
    ]
    // Extensions that cannot be read are omitted; the other lines are still useful.
    if let names = try? certificate.extensions.subjectAlternativeNames {
      lines.append("names    " + names.map(CertificateHost.description).joined(separator: ", "))
    }
    let usages = use
    if !usages.isEmpty { lines.append("use      " + usages.joined(separator: ", ")) }
    let digest = SHA256.hash(data: try certificate.serializeAsPEM().derBytes)
    lines.append("SHA-256  " + digest.hexadecimal)
    return lines
  }

  private var use: [String] {
    if case .isCertificateAuthority? = try? certificate.extensions.basicConstraints { return ["certificate authority"] }
    return ((try? certificate.extensions.extendedKeyUsage).map(Array.init) ?? []).map { usage in
      switch usage {
      case .serverAuth: "server"
      case .clientAuth: "device"
      default: "\(usage)"
      }
    }
  }
}

extension Unicode.Scalar {
  fileprivate var isASCIILetterOrDigit: Bool { isASCII && isLetterOrDigit }

  /// Letters and digits of any script: a file may be called `pümpe.pem`.
  fileprivate var isLetterOrDigit: Bool {
    switch properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter, .decimalNumber,
      .nonspacingMark, .spacingMark:
      true
    default: false
    }
  }
}
