internal import Crypto
internal import DeviceRPC
internal import Foundation
internal import SwiftASN1
internal import X509

/// What a device proves itself with, where it is new and may be shown.
enum DeviceSecret {
  case key(identity: String, DeviceKey)
  case certificate(CertificateFile)
  case commonName(String)

  var identity: String {
    switch self {
    case .key(let identity, _): identity
    case .certificate(let file): file.identity
    case .commonName(let name): name
    }
  }

  var proof: DeviceCredential.Proof {
    switch self {
    case .key(_, let key): .preSharedKey(key)
    case .certificate(let file): .certificate(fingerprint: file.fingerprint)
    case .commonName: .certificate(fingerprint: nil)
    }
  }

  /// The text of the key.
  var key: String? {
    if case .key(_, let key) = self { String(decoding: key.bytes, as: UTF8.self) } else { nil }
  }

  /// All that a person needs to have the device connect to a server there.
  ///
  /// The names are those of golioth-firmware-sdk 0.22: `src/Kconfig.coap`, `src/Kconfig.authentication`, and for the
  /// samples `examples/zephyr/common/Kconfig` and `examples/esp_idf/common/Kconfig`.
  func lines(_ firmware: FirmwareOptions) -> [String] {
    switch self {
    case .key(let identity, _): return keyLines(identity, key ?? "", firmware)
    case .certificate(let file): return certificateLines(file, firmware)
    case .commonName: return certificateLines(nil, firmware)
    }
  }

  private func keyLines(_ identity: String, _ key: String, _ firmware: FirmwareOptions) -> [String] {
    let host = Self.host(firmware)
    let config = [
      host,
      "CONFIG_GOLIOTH_SAMPLE_HARDCODED_CREDENTIALS=y",
      "CONFIG_GOLIOTH_SAMPLE_PSK_ID=\(Self.kconfig(identity))",
      "CONFIG_GOLIOTH_SAMPLE_PSK=\(Self.kconfig(key))",
    ]
    return [
      "identity  \(identity)",
      "key       \(key)",
      "The key is not shown again.",
    ] + firmware.hint + [
      "",
      "Zephyr with golioth-firmware-sdk, in prj.conf:",
    ] + config + ["", "ESP-IDF with golioth-firmware-sdk, in sdkconfig.defaults:"] + config + [
      "",
      "or on a device that keeps its settings, in its shell:",
      "settings set golioth/psk-id \(Self.kconfig(identity))",
      "settings set golioth/psk \(Self.kconfig(key))",
      "",
      "to be the device from here:",
      "coap-client-openssl -w -s 600 -A 50 -u \(CertificateNames.quoted(identity)) -k \(CertificateNames.quoted(key)) "
        + "\(CertificateNames.quoted(firmware.uri + "/.rpc"))",
    ]
  }

  private func certificateLines(_ file: CertificateFile?, _ firmware: FirmwareOptions) -> [String] {
    let host = Self.host(firmware)
    let certificate = file?.path ?? "device.pem"
    let key = Self.sibling(of: certificate, "key")
    let authority = URL(fileURLWithPath: certificate).deletingLastPathComponent().appendingPathComponent("ca.pem").relativePath
    let words = [certificate, key, authority].map(CertificateNames.quoted)
    return [
      "identity     \(identity)",
      "certificate  " + (file.map { "only that with SHA-256 \($0.fingerprint.hexadecimal)" } ?? "any of that name"),
    ] + firmware.hint + [
      "",
      "Zephyr with golioth-firmware-sdk, in prj.conf:",
      host,
      "CONFIG_GOLIOTH_AUTH_METHOD_CERT=y",
      "CONFIG_GOLIOTH_SAMPLE_HARDCODED_CREDENTIALS=y",
      #"CONFIG_GOLIOTH_SAMPLE_HARDCODED_CRT_PATH="keys/device.crt.der""#,
      #"CONFIG_GOLIOTH_SAMPLE_HARDCODED_KEY_PATH="keys/device.key.der""#,
      #"CONFIG_GOLIOTH_HARDCODED_CA_CRT_PATH="keys/ca.der""#,
      "with these files:",
      "openssl x509 -in \(words[0]) -outform DER -out keys/device.crt.der",
      "openssl pkey -in \(words[1]) -outform DER -out keys/device.key.der",
      "openssl x509 -in \(words[2]) -outform DER -out keys/ca.der",
      "",
      "ESP-IDF with golioth-firmware-sdk, in sdkconfig.defaults:",
      host,
      "and these files in the place of those in main/certs of examples/esp_idf/certificate_auth",
      "",
      "to be the device from here:",
      "coap-client-openssl -w -s 600 -A 50 -c \(words[0]) -j \(words[1]) -C \(words[2]) "
        + "\(CertificateNames.quoted(firmware.uri + "/.rpc"))",
    ]
  }

  /// `certs/sensor-1.key` beside `certs/sensor-1.pem`, as "device-rpc certs" names them.
  private static func sibling(of path: String, _ suffix: String) -> String {
    (path.hasSuffix(".pem") ? String(path.dropLast(4)) : path) + "." + suffix
  }

  private static func host(_ firmware: FirmwareOptions) -> String {
    "CONFIG_GOLIOTH_COAP_HOST_URI=\(kconfig(firmware.uri))"
  }

  /// A string as Kconfig and the devices' shells read it.
  private static func kconfig(_ text: String) -> String {
    "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }
}

/// A device's certificate in a file.
struct CertificateFile {
  let path: String
  /// By what a server knows its bearer: the first DNS name, or else the last common name of the subject.
  let identity: String
  /// The SHA-256 of its DER form.
  let fingerprint: [UInt8]

  init(path: String) throws(CommandFailure) {
    let text = try readText(path)
    guard
      let document = (try? PEMDocument.parseMultiple(pemString: text))?
        .first(where: { $0.discriminator == Certificate.defaultPEMDiscriminator }),
      let certificate = try? Certificate(pemDocument: document)
    else { throw CommandFailure("\(Output.safe(path)) holds no certificate in PEM form") }
    guard let identity = Self.dnsName(of: certificate) ?? Self.commonName(of: certificate) else {
      throw CommandFailure("the certificate in \(Output.safe(path)) has no common name")
    }
    self.path = path
    self.identity = identity
    fingerprint = Array(SHA256.hash(data: document.derBytes))
  }

  private static func dnsName(of certificate: Certificate) -> String? {
    for case .dnsName(let name) in (try? certificate.extensions.subjectAlternativeNames) ?? SubjectAlternativeNames() {
      return name
    }
    return nil
  }

  private static func commonName(of certificate: Certificate) -> String? {
    let attributes = certificate.subject.flatMap(Array.init)
    return attributes.last { $0.type == .RDNAttributeType.commonName }.flatMap { String($0.value) }
  }
}
