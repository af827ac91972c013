internal import ArgumentParser
internal import CoAP
internal import DeviceRPC
internal import DeviceRPCCoAP
internal import DeviceRPCStore
internal import Logging

/// Where `serve` listens, and which credentials devices need there.
struct ListenOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Keep devices and their keys in this directory, and let them connect over DTLS.", valueName: "directory"))
  var data: String?

  @Option(
    help: ArgumentHelp(
      "Listen here and nowhere else; may be given again for more. coaps and coaps+tcp need --data; without a port it is "
        + "5684 for these, 5683 for coap and coap+tcp.", valueName: "scheme://address[:port]"))
  var listen: [String] = []

  @Option(
    help: ArgumentHelp(
      "A numeric address to listen on for plain CoAP; may be given again for more. Other than loopback it needs "
        + "--allow-plain-coap-from-network. (default: 127.0.0.1)", valueName: "address"))
  var host: [String] = []

  @Option(help: "The UDP port for plain CoAP; 0 lets the system choose a free one. (default: 5683)")
  var port: UInt16?

  @Option(
    help: ArgumentHelp(
      "The server's certificate (PEM), for devices that have one themselves; read again when it changes.",
      valueName: "file"))
  var certificate: String?

  @Option(help: ArgumentHelp("The private key of --certificate (PEM).", valueName: "file"))
  var key: String?

  @Option(help: ArgumentHelp("The CAs whose certificates devices may have (PEM).", valueName: "file"))
  var ca: String?

  @Option(
    help: ArgumentHelp(
      "A cipher suite that devices with a key may use over DTLS and TLS 1.2; may be given again for more, the preferred one "
        + "first. (default: \(suiteNames))", valueName: "name"),
    transform: suite)
  var cipherSuite: [DeviceSecurity.CipherSuite] = []

  @Flag(
    help: ArgumentHelp(
      "Listen for plain CoAP on addresses that other hosts can reach. It has no authentication: anybody there can pose as "
        + "any device."))
  var allowPlainCoapFromNetwork = false

  func validate() throws {
    guard data != "" else { throw ValidationError("--data is the path of a directory.") }
    for (option, path) in [("certificate", certificate), ("key", key), ("ca", ca)] where path == "" {
      throw ValidationError("--\(option) is the path of a file.")
    }
    guard listen.isEmpty || (host.isEmpty && port == nil) else {
      throw ValidationError("--listen says it all; --host and --port are for plain CoAP without it.")
    }
    for host in host where CoAPAddress(host: numericHost(host), port: 0) == nil {
      throw ValidationError("--host \(Output.safe(host)) is not an IPv4 or IPv6 address.")
    }
    for uri in listen where CoAPConfiguration.Listener(Self.numeric(uri)) == nil {
      throw ValidationError(
        "--listen \(Output.safe(uri)) is not coap, coaps, coap+tcp or coaps+tcp at a numeric address, such as "
          + "coaps://0.0.0.0:5684.")
    }
    for listener in listeners {
      guard listener.transport.isSecure else {
        guard CoAPAddress(host: listener.host, port: 0)?.isLoopback == true || allowPlainCoapFromNetwork else {
          throw ValidationError(
            "Plain CoAP on \(listener.host) lets anybody who reaches it pose as any device. "
              + "If that is meant, add --allow-plain-coap-from-network.")
        }
        continue
      }
      guard data != nil else {
        throw ValidationError("\(listener) needs the devices' keys: --data DIRECTORY, see device-rpc devices add --help.")
      }
    }
    guard (certificate == nil) == (key == nil), (key == nil) == (ca == nil) else {
      throw ValidationError("--certificate, --key and --ca belong together; device-rpc certs makes them.")
    }
    guard cipherSuite.isEmpty || data != nil else {
      throw ValidationError("--cipher-suite needs --data, where the keys are.")
    }
    guard certificate == nil || data != nil else {
      throw ValidationError("--certificate needs --data, where the devices are that may connect.")
    }
  }

  private static let suiteNames = DeviceSecurity.CipherSuite.allCases.map(\.rawValue).joined(separator: ", ")

  private static func suite(_ name: String) throws -> DeviceSecurity.CipherSuite {
    guard let suite = DeviceSecurity.CipherSuite(rawValue: name) else {
      throw ValidationError("\(Output.safe(name)) is not one of \(suiteNames).")
    }
    return suite
  }

  private static func numeric(_ uri: String) -> String { uri.replacing(/:\/\/localhost(?=$|:)/, with: "://127.0.0.1") }

  private var listeners: [CoAPConfiguration.Listener] {
    guard listen.isEmpty else { return listen.compactMap { CoAPConfiguration.Listener(Self.numeric($0)) } }
    let plain = (host.isEmpty ? ["127.0.0.1"] : host).map {
      CoAPConfiguration.Listener(.udp, host: numericHost($0), port: port)
    }
    return data == nil ? plain : [CoAPConfiguration.Listener(.dtls, host: "0.0.0.0")] + plain
  }

  /// Opens the store in `--data`, and creates it if there is none.
  func openStore(_ logger: Logger) throws -> DeviceStore? {
    guard let data else { return nil }
    do {
      return try DeviceStore(directory: data, logger: logger)
    } catch {
      throw CommandFailure(Output.safe("\(error)"))
    }
  }

  func configuration(_ store: DeviceStore?) -> CoAPConfiguration {
    var configuration = CoAPConfiguration(listeners: listeners)
    configuration.allowsPlainCoAPFromNetwork = allowPlainCoapFromNetwork
    if let store {
      configuration.security = DeviceSecurity(credentials: store)
      if !cipherSuite.isEmpty { configuration.security?.cipherSuites = cipherSuite }
      if let certificate, let key, let ca {
        configuration.security?.certificate = ServerCertificate(certificate: certificate, key: key, trusted: ca)
      }
    }
    return configuration
  }

  /// The `--data` option, for a suggested command that needs it too.
  var dataAgain: String { data.map(DevicesOptions.again) ?? "" }
}
