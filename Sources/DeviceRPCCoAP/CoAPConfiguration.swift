// DeviceRPCCoAP: devices that connect over CoAP: the transport, and the identities of devices.
// `DeviceRPCServer(coap:)` creates a `CoAPTransport`. It reports to DeviceRPC's loops, and these call its links.

internal import CoAP

/// The configuration of a server that devices reach over CoAP.
public struct CoAPConfiguration: Sendable {
  /// The addresses to listen on, at least one. By default plain CoAP over UDP on 127.0.0.1:5683.
  ///
  /// `coap` and `coap+tcp` have no authentication, so they listen on loopback only, unless `allowsPlainCoAPFromNetwork` is set.
  /// `coaps` and `coaps+tcp` need `security`.
  public var listeners: [Listener]
  /// The credentials for DTLS and TLS. Nil by default.
  public var security: DeviceSecurity?
  /// Whether plain CoAP may listen on addresses that other hosts can reach; false by default. If true, anybody can pose as any
  /// device that has no credentials.
  public var allowsPlainCoAPFromNetwork = false
  /// Threads that serve devices. 1; one thread serves tens of thousands of calls per second.
  public var loops = 1
  /// libcoap contexts per thread for `coap`. 32. Each has its own socket on the port, and three descriptors per address.
  ///
  /// libcoap searches all peers of a context when a new one connects; many contexts keep that search short for large fleets.
  public var shards = 32
  /// The settings of devices that are not in `devices`.
  public var golioth = GoliothSettings()
  /// The settings of individual devices, by name.
  public var devices: [String: GoliothSettings] = [:]
  /// The settings of devices with firmware for ThingsBoard's device API, which observe `/api/v1/{access token}/rpc`. Nil, by default,
  /// for none: their paths are not there then.
  public var thingsBoard: ThingsBoardSettings?
  /// The longest result that a device may send block-wise (RFC 7959), in bytes. 1 MiB.
  public var maximumResult = 1 << 20

  public init(listeners: [Listener] = [Listener()]) { self.listeners = listeners }

  /// A transport of CoAP, by the scheme of its URIs (RFC 7252 §6, RFC 8323 §8).
  public enum Transport: String, Sendable, Hashable, CaseIterable {
    case udp = "coap"
    case dtls = "coaps"
    case tcp = "coap+tcp"
    case tls = "coaps+tcp"

    /// Whether devices prove their identity: true for DTLS and TLS.
    public var isSecure: Bool { scheme.isSecure }

    var scheme: CoAPScheme {
      switch self {
      case .udp: .coap
      case .dtls: .coaps
      case .tcp: .coapTCP
      case .tls: .coapsTCP
      }
    }
  }

  /// An address to listen on: `coaps://0.0.0.0:5684`.
  public struct Listener: Sendable, Hashable, CustomStringConvertible {
    public var transport: Transport
    /// A numeric IPv4 or IPv6 address.
    public var host: String
    /// The port; 0 lets the system choose a free one.
    public var port: UInt16

    /// Creates a listener. Without `port` it is 5683, or 5684 for DTLS and TLS.
    public init(_ transport: Transport = .udp, host: String = "127.0.0.1", port: UInt16? = nil) {
      self.transport = transport
      self.host = host
      self.port = port ?? transport.scheme.defaultPort
    }

    /// Creates a listener from a URI without a path: `coaps://0.0.0.0`, `coap+tcp://[::1]:5700`, `coap://127.0.0.1:0`. Nil for
    /// anything else.
    public init?(_ uri: String) {
      guard let end = uri.firstRange(of: "://"), let transport = Transport(rawValue: String(uri[..<end.lowerBound]))
      else { return nil }
      // Only an IPv6 address is in brackets (RFC 3986 §3.2.2); a port consists of digits (§3.2.3).
      let authority = uri[end.upperBound...]
      let isBracketed = authority.first == "["
      let hostEnd =
        isBracketed ? authority.firstIndex(of: "]").map(authority.index(after:)) : authority.firstIndex(of: ":") ?? authority.endIndex
      guard let hostEnd else { return nil }
      let host = String(authority[..<hostEnd])
      guard isBracketed == host.contains(":"), CoAPAddress(host: host, port: 0) != nil else { return nil }
      var port: UInt16?
      if hostEnd < authority.endIndex {
        let digits = authority[hostEnd...].dropFirst()
        guard authority[hostEnd] == ":", digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt16(digits)
        else { return nil }
        port = number
      }
      self.init(transport, host: host, port: port)
    }

    public var description: String { "\(transport.rawValue)://\(host.contains(":") && !host.hasPrefix("[") ? "[\(host)]" : host):\(port)" }
  }

  func endpoint() throws(CoAPConfigurationError) -> CoAPEndpoint.Configuration {
    var opened: [CoAPListener] = []
    for listener in listeners {
      guard let address = CoAPAddress(host: listener.host, port: listener.port) else {
        throw .notAnAddress(listener.host)
      }
      guard listener.transport.isSecure || address.isLoopback || allowsPlainCoAPFromNetwork else {
        throw .plainOnNetwork(listener.host)
      }
      guard !listener.transport.isSecure || security != nil else { throw .noCredentials("\(listener)") }
      opened.append(CoAPListener(listener.transport.scheme, address))
    }
    guard !opened.isEmpty else { throw .noAddress }
    var configuration = CoAPEndpoint.Configuration(listeners: opened, shardsPerLoop: shards)
    configuration.limits.bodyBytes = maximumResult
    return configuration
  }
}

/// Why a server cannot be created from a configuration.
public enum CoAPConfigurationError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The host of a listener is not a numeric address.
  case notAnAddress(String)
  /// A listener for plain CoAP is not on loopback, and `CoAPConfiguration.allowsPlainCoAPFromNetwork` is false.
  case plainOnNetwork(String)
  /// `CoAPConfiguration.listeners` is empty.
  case noAddress
  /// DTLS or TLS without `CoAPConfiguration.security`.
  case noCredentials(String)
  /// A file of `ServerCertificate` cannot be read, or has the wrong contents.
  case unusableCertificate(String)

  public var description: String {
    switch self {
    case .notAnAddress(let host): "\"\(host)\" is not an IPv4 or IPv6 address"
    case .plainOnNetwork(let host):
      "plain CoAP on \(host) would let anybody pose as any device; allow it explicitly if that is meant"
    case .noAddress: "no address to listen on"
    case .noCredentials(let listener): "\(listener) needs the credentials of devices"
    case .unusableCertificate(let reason): reason
    }
  }
}
