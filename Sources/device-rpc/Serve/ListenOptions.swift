internal import ArgumentParser
internal import CoAP
internal import DeviceRPC
internal import DeviceRPCCoAP
internal import DeviceRPCStore
internal import Logging

/// Where `serve` listens, and which credentials devices need there.
struct ListenOptions: ParsableArguments {
  @Option(help: settings.help("data"), completion: .directory) var data: String?
  @Option(help: settings.help("listen")) var listen: [String] = []
  @Option(help: settings.help("host")) var host: [String] = []
  @Option(help: settings.help("port")) var port: UInt16?
  @Option(help: settings.help("certificate"), completion: .file()) var certificate: String?
  @Option(help: settings.help("key"), completion: .file()) var key: String?
  @Option(help: settings.help("ca"), completion: .file()) var ca: String?
  @Option(help: settings.help("cipher-suite")) var cipherSuite: [String] = []
  @Flag(help: settings.help("allow-plain-coap-from-network")) var allowPlainCoapFromNetwork = false

  static let settings: [Setting<ListenOptions>] = [
    Setting(
      "data", \.data, as: .path, "Keep devices and their keys in this directory, and let them connect over DTLS.",
      valueName: "directory", allowed: "the path of a directory") { !$0.isEmpty },
    Setting(
      "listen", \.listen,
      "Listen here and nowhere else; may be given again for more. coaps and coaps+tcp need --data; without a port it is "
        + "5684 for these, 5683 for coap and coap+tcp.", valueName: "scheme://address[:port]",
      allowed: "coap, coaps, coap+tcp or coaps+tcp at a numeric address, such as coaps://0.0.0.0:5684",
      fallback: { $0.listeners.map(\.description).joined(separator: ",") }
    ) { CoAPConfiguration.Listener(numeric($0)) != nil },
    Setting(
      "host", \.host,
      "A numeric address to listen on for plain CoAP; may be given again for more. Other than loopback it needs "
        + "--allow-plain-coap-from-network. (default: 127.0.0.1)", valueName: "address", allowed: "an IPv4 or IPv6 address"
    ) { CoAPAddress(host: numericHost($0), port: 0) != nil },
    Setting(
      "port", \.port, in: 0...UInt16.max,
      "The UDP port for plain CoAP; 0 lets the system choose a free one. (default: 5683)"),
    Setting(
      "certificate", \.certificate, as: .path,
      "The server's certificate (PEM), for devices that have one themselves; read again when it changes.", valueName: "file",
      allowed: "the path of a file") { !$0.isEmpty },
    Setting(
      "key", \.key, as: .path, "The private key of --certificate (PEM).", valueName: "file",
      allowed: "the path of a file") { !$0.isEmpty },
    Setting(
      "ca", \.ca, as: .path, "The CAs whose certificates devices may have (PEM).", valueName: "file",
      allowed: "the path of a file") { !$0.isEmpty },
    Setting(
      "cipher-suite", \.cipherSuite,
      "A cipher suite that devices with a key may use over DTLS and TLS 1.2; may be given again for more, the preferred one "
        + "first. (default: \(suiteNames))", valueName: "name", allowed: "one of \(suiteNames)"
    ) { DeviceSecurity.CipherSuite(rawValue: $0) != nil },
    Setting(
      "allow-plain-coap-from-network", \.allowPlainCoapFromNetwork,
      "Listen for plain CoAP on addresses that other hosts can reach. It has no authentication: anybody there can pose as "
        + "any device."),
  ]

  /// Checks what no option says alone.
  func check() throws(ValidationError) {
    guard listen.isEmpty || (host.isEmpty && port == nil) else {
      throw ValidationError("--listen says it all; --host and --port are for plain CoAP without it.")
    }
    for listener in listeners {
      guard listener.transport.isSecure else {
        guard CoAPAddress(host: listener.host, port: 0)?.isLoopback == true || allowPlainCoapFromNetwork else {
          throw ValidationError(
            "--\(listen.isEmpty ? "host" : "listen"): plain CoAP on \(listener.host) lets anybody who reaches it pose as any "
              + "device. If that is meant, add --allow-plain-coap-from-network.")
        }
        continue
      }
      guard data != nil else {
        throw ValidationError(
          "--listen \(listener) needs the devices' keys: --data DIRECTORY, see device-rpc devices add --help.")
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
      let suites = cipherSuite.compactMap(DeviceSecurity.CipherSuite.init)
      if !suites.isEmpty { configuration.security?.cipherSuites = suites }
      if let certificate, let key, let ca {
        configuration.security?.certificate = ServerCertificate(certificate: certificate, key: key, trusted: ca)
      }
    }
    return configuration
  }

  /// The `--data` option, for a suggested command that needs it too.
  var dataAgain: String { data.map(DataOptions.again) ?? "" }
}
