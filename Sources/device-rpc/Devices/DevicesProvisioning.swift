internal import Crypto
internal import DeviceRPC
internal import Foundation
internal import SwiftASN1
internal import X509

/// A new credential of a device, which may be shown.
enum DeviceSecret {
  case key(identity: String, DeviceKey)
  case certificate(CertificateFile)
  case commonName(String)
  case token(AccessToken)

  var identity: String {
    switch self {
    case .key(let identity, _): identity
    case .certificate(let file): file.identity
    case .commonName(let name): name
    case .token(let token): token.digest
    }
  }

  var proof: DeviceCredential.Proof {
    switch self {
    case .key(_, let key): .preSharedKey(key)
    case .certificate(let file): .certificate(fingerprint: file.fingerprint)
    case .commonName: .certificate(fingerprint: nil)
    case .token: .accessToken
    }
  }

  /// The text of the key.
  var key: String? {
    if case .key(_, let key) = self { String(decoding: key.bytes, as: UTF8.self) } else { nil }
  }

  /// The text of the access token.
  var token: String? { if case .token(let token) = self { token.text } else { nil } }

  /// The settings that a user needs to connect the device to the server.
  ///
  /// The names are those of golioth-firmware-sdk 0.22: `src/Kconfig.coap`, `src/Kconfig.authentication`, `golioth_config.h`,
  /// and for the samples `settings_golioth.c` (Zephyr), `examples/esp_idf/common/Kconfig` and `examples/linux/common`. Its
  /// samples for Zephyr have no options for credentials since 0.18.0.
  func lines(_ firmware: FirmwareOptions) -> [String] {
    switch self {
    case .key(let identity, _): return keyLines(identity, key ?? "", firmware)
    case .certificate(let file): return certificateLines(file, firmware)
    case .commonName: return certificateLines(nil, firmware)
    case .token(let token): return tokenLines(token.text, firmware)
    }
  }

  private func keyLines(_ identity: String, _ key: String, _ firmware: FirmwareOptions) -> [String] {
    let (quotedIdentity, quotedKey) = (Self.kconfig(identity), Self.kconfig(key))
    let settings = ["settings set golioth/psk-id \(quotedIdentity)", "settings set golioth/psk \(quotedKey)"]
    return [
      "identity  \(identity)",
      "key       \(key)",
      "The key is not shown again.",
    ] + firmware.hint + [
      "",
      "Zephyr with golioth-firmware-sdk, in prj.conf:",
      Self.host(firmware.uri),
      "then in the device's shell, which keeps it:",
    ] + settings + [
      "kernel reboot cold",
      "",
      "ESP-IDF with golioth-firmware-sdk, in sdkconfig.defaults\(Self.onlyPort):",
      Self.host(firmware.uriWithoutPort),
      "CONFIG_GOLIOTH_SAMPLE_HARDCODED_CREDENTIALS=y",
      "CONFIG_GOLIOTH_SAMPLE_PSK_ID=\(quotedIdentity)",
      "CONFIG_GOLIOTH_SAMPLE_PSK=\(quotedKey)",
      "or instead of the last three in the device's shell:",
    ] + settings + [
      "reset",
    ] + Self.linux(firmware) + [
      "and where it is started:",
      "export GOLIOTH_SAMPLE_PSK_ID=\(CertificateNames.quoted(identity))",
      "export GOLIOTH_SAMPLE_PSK=\(CertificateNames.quoted(key))",
      "",
      "to be the device from here:",
      "coap-client-openssl -w -s 600 -A 50 -u \(CertificateNames.quoted(identity)) -k \(CertificateNames.quoted(key)) "
        + "\(CertificateNames.quoted(firmware.uri + "/.rpc"))",
    ]
  }

  /// What ThingsBoard's firmware needs, and its documented commands to be the device by hand.
  private func tokenLines(_ token: String, _ firmware: FirmwareOptions) -> [String] {
    let host = firmware.host
    return [
      "token  \(token)",
      "The token is not shown again.",
    ] + firmware.hint + [
      "",
      "ThingsBoard's firmware observes, for calls from a server that runs with --thingsboard:",
      "coap://\(host)/api/v1/\(token)/rpc",
      "",
      "to be the device from here, with the id of a call in place of ID:",
      "coap-client-openssl -w -m get -s 600 \(CertificateNames.quoted("coap://\(host)/api/v1/\(token)/rpc"))",
      "coap-client-openssl -m post -t json -e '{\"value\":1337}' \(CertificateNames.quoted("coap://\(host)/api/v1/\(token)/rpc/ID"))",
    ]
  }

  private func certificateLines(_ file: CertificateFile?, _ firmware: FirmwareOptions) -> [String] {
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
      Self.host(firmware.uri),
      "CONFIG_GOLIOTH_AUTH_METHOD_CERT=y",
      #"CONFIG_GOLIOTH_HARDCODED_CA_CRT_PATH="keys/ca.der""#,
      "with this file:",
      "openssl x509 -in \(words[2]) -outform DER -out keys/ca.der",
      "and these two on the device, where examples/zephyr/certificate_provisioning has them; then kernel reboot cold:",
      "openssl x509 -in \(words[0]) -outform DER -out keys/device.crt.der",
      "openssl pkey -in \(words[1]) -outform DER -out keys/device.key.der",
      "",
      "ESP-IDF with golioth-firmware-sdk, in sdkconfig.defaults\(Self.onlyPort):",
      Self.host(firmware.uriWithoutPort),
      "and these files in the place of those in main/certs of examples/esp_idf/certificate_auth",
    ] + Self.linux(firmware) + [
      "and these files in the place of those in certs of examples/linux/certificate_auth",
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

  // The SDK's clients for these platforms pass everything after the scheme to the resolver.
  private static let onlyPort = ", whose client knows port \(FirmwareOptions.defaultPort) only"

  private static func linux(_ firmware: FirmwareOptions) -> [String] {
    [
      "",
      "Linux with golioth-firmware-sdk, in golioth_user_config.h\(onlyPort):",
      "#define CONFIG_GOLIOTH_COAP_HOST_URI \(kconfig(firmware.uriWithoutPort))",
    ]
  }

  private static func host(_ uri: String) -> String { "CONFIG_GOLIOTH_COAP_HOST_URI=\(kconfig(uri))" }

  /// Quotes a string for Kconfig and for the devices' shells.
  private static func kconfig(_ text: String) -> String {
    "\"" + text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }
}

/// A device's certificate in a file.
struct CertificateFile {
  let path: String
  /// The identity that a server takes from the certificate: the first DNS name, or else the last common name of the subject.
  let identity: String
  /// The SHA-256 of the certificate's DER form.
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
