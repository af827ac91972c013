internal import CoAP

/// How devices reach a server over CoAP.
public struct CoAPConfiguration: Sendable {
  /// Numeric addresses to listen on, IPv4 or IPv6. `["127.0.0.1"]`.
  ///
  /// Plain CoAP has no authentication, so it listens on loopback only unless `allowsPlainCoAPFromNetwork` is set.
  public var hosts = ["127.0.0.1"]
  /// The UDP port; 0 lets the system choose. 5683.
  public var port: UInt16 = 5_683
  /// True to listen for plain CoAP on addresses that other hosts can reach. Anybody can then pose as any device.
  public var allowsPlainCoAPFromNetwork = false
  /// Threads that serve devices. 1; one thread serves tens of thousands of calls per second.
  public var loops = 1
  /// libcoap contexts per thread, each with a socket of its own on the port, three descriptors an address. 32.
  ///
  /// libcoap looks at all peers of a context when a new one comes; many contexts keep that short for large fleets.
  public var shards = 32
  /// How devices take their calls, where `devices` does not say.
  public var golioth = GoliothSettings()
  /// Devices that differ, by name.
  public var devices: [String: GoliothSettings] = [:]
  /// Bytes of a result that arrives block-wise (RFC 7959). 1 MiB.
  public var maximumResult = 1 << 20

  public init() {}

  func settings(for device: String) -> GoliothSettings { devices[device] ?? golioth }

  func endpoint() throws(CoAPConfigurationError) -> CoAPEndpoint.Configuration {
    var addresses: [CoAPAddress] = []
    for host in hosts {
      guard let address = CoAPAddress(host: host, port: port) else { throw .notAnAddress(host) }
      guard address.isLoopback || allowsPlainCoAPFromNetwork else { throw .plainOnNetwork(host) }
      addresses.append(address)
    }
    guard !addresses.isEmpty else { throw .noAddress }
    var configuration = CoAPEndpoint.Configuration(
      addresses: addresses, shardsPerLoop: shards)
    configuration.limits.bodyBytes = maximumResult
    return configuration
  }
}

/// A configuration that cannot be served.
public enum CoAPConfigurationError: Error, Sendable, Hashable, CustomStringConvertible {
  case notAnAddress(String)
  case plainOnNetwork(String)
  case noAddress

  public var description: String {
    switch self {
    case .notAnAddress(let host): "\"\(host)\" is not an IPv4 or IPv6 address"
    case .plainOnNetwork(let host):
      "plain CoAP on \(host) would let anybody pose as any device; allow it explicitly if that is meant"
    case .noAddress: "no address to listen on"
    }
  }
}
