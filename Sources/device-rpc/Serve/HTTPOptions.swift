internal import ArgumentParser
internal import DeviceRPCHTTP

/// Where `serve` answers HTTP, if at all.
struct HTTPOptions: ParsableArguments {
  @Option(help: settings.help("http")) var http: String?
  @Option(help: settings.help("http-certificate"), completion: .file()) var httpCertificate: String?
  @Option(help: settings.help("http-key"), completion: .file()) var httpKey: String?
  @Option(help: settings.help("http-host-name")) var httpHostName: [String] = []
  @Option(help: settings.help("http-rate")) var httpRate: Int!
  @Flag(help: settings.help("http-log-params")) var httpLogParams = false
  @Flag(help: settings.help("allow-plain-http-from-network")) var allowPlainHttpFromNetwork = false

  static let settings: [Setting<HTTPOptions>] = [
    Setting(
      "http", \.http,
      "Answer HTTP here; off for nowhere. Other addresses than loopback need an API key (device-rpc keys add) and a certificate. "
        + "(default: 127.0.0.1:8080 with --data, else off)", valueName: "[host:]port",
      allowed: "off, a port, or an address and a port, such as 127.0.0.1:8080 or [::1]:8080"
    ) { $0 == "off" || place($0) != nil },
    Setting(
      "http-certificate", \.httpCertificate, as: .path,
      "The certificate for HTTPS (PEM), with those of its issuers behind it.", valueName: "file", allowed: "the path of a file"
    ) { !$0.isEmpty },
    Setting(
      "http-key", \.httpKey, as: .path, "The private key of --http-certificate (PEM).", valueName: "file",
      allowed: "the path of a file") { !$0.isEmpty },
    Setting(
      "http-host-name", \.httpHostName,
      "A name that the Host of requests may have; may be given again for more. On loopback others are refused. "
        + "(default: any; on loopback localhost and the loopback addresses)", valueName: "name",
      allowed: "a name without a port") { !$0.isEmpty && !$0.contains("/") },
    Setting(
      "http-rate", \.httpRate, default: 0, in: 1...1_000_000, orZero: true,
      "Requests of one API key in a second; 0 for no limit.", valueName: "number"),
    Setting("http-log-params", \.httpLogParams, "Log the parameters of each call over HTTP (at --log-level info)."),
    Setting(
      "allow-plain-http-from-network", \.allowPlainHttpFromNetwork,
      "Answer HTTP without TLS on addresses that other hosts can reach, which can then read the API keys."),
  ]

  /// The address and port of `8080`, `127.0.0.1:8080`, `[::1]:8080`; nil when it is none.
  static func place(_ text: String) -> (host: String, port: Int)? {
    let colon = text.lastIndex(of: ":")
    let digits = colon.map { text[text.index(after: $0)...] } ?? text[...]
    guard !digits.isEmpty, digits.allSatisfy({ ("0"..."9").contains($0) }), let port = UInt16(digits) else { return nil }
    guard let colon else { return ("127.0.0.1", Int(port)) }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    return host.isEmpty ? nil : (String(host), Int(port))
  }

  func check() throws(ValidationError) {
    guard (httpCertificate == nil) == (httpKey == nil) else {
      throw ValidationError("--http-certificate and --http-key belong together.")
    }
  }

  /// Nil when there is to be no HTTP.
  func configuration(hasData: Bool) -> HTTPConfiguration? {
    guard http != "off", let place = Self.place(http ?? (hasData ? "8080" : "")) else { return nil }
    var configuration = HTTPConfiguration(host: place.host, port: place.port)
    if let httpCertificate, let httpKey { configuration.tls = .init(certificate: httpCertificate, key: httpKey) }
    if !httpHostName.isEmpty { configuration.hosts = Set(httpHostName.map { $0.lowercased() }) }
    configuration.limits.requestsPerSecond = httpRate
    configuration.logsParams = httpLogParams
    configuration.allowsPlainHTTP = allowPlainHttpFromNetwork
    return configuration
  }
}
