internal import CoAP

/// A simulated device: it observes a resource of the server for calls, runs its functions and POSTs the results.
///
/// It behaves like Golioth's firmware SDK 0.22, including its keep-alive and its reconnects, with two differences. Without
/// credentials it gives its name in the query (`ep`). It also registers again from time to time (RFC 7641 §3.3.1), since over
/// plain CoAP it would not notice the restart of a server. In ThingsBoard's dialect, whose API has no keep-alive request, this
/// takes the place of one.
///
/// ```swift
/// let device = SimulatedDevice(name: "sensor-1")
/// try await device.run()
/// ```
public struct SimulatedDevice: Sendable {
  /// The endpoint name (RFC 9176 §5), 1 to 252 bytes.
  public var name: String
  /// A numeric IPv4 or IPv6 address; names are not looked up. `127.0.0.1`.
  public var server: String
  /// The server's port. 5683.
  public var port: UInt16
  /// The API of the server. Golioth's by default.
  public var dialect = SimulatedDialect.golioth
  /// What identifies the device in ThingsBoard's dialect, 1 to 255 bytes.
  ///
  /// If nil, it is the name; with credentials, which identify the device, its paths have no token.
  public var accessToken: String?
  /// The transport to the server. Plain CoAP over UDP by default.
  public var transport = SimulatedTransport.coap
  /// The credentials for DTLS and TLS.
  public var credentials: SimulatedCredentials?
  /// The format of its calls and results. CBOR by default, as for firmware; ThingsBoard's dialect has JSON only.
  public var format: SimulatedFormat
  /// Its functions, by name. A call of another name is for the panel, or is answered with status 5, NOT_FOUND.
  public var functions: [String: SimulatedFunction]
  /// Pins, switch, slider and lamp, with functions of their own; nil for none.
  public var panel: SimulatedPanel? = SimulatedPanel()
  /// Silence of the server after which the device sends a keep-alive request. 9 s; not in ThingsBoard's dialect.
  public var keepAlive: Duration = .seconds(9)
  /// Time without a notification after which the device registers again. Firmware on DTLS needs about as long to return to a
  /// server that was restarted. 20 s.
  public var renewal: Duration = .seconds(20)
  /// How long to wait for a response before the server counts as unreachable. 10 s.
  public var responseTimeout: Duration = .seconds(10)
  /// The pause before the device connects again, doubled with each failed attempt. 1 s to 30 s.
  public var reconnectDelay: ClosedRange<Duration> = .seconds(1) ... .seconds(30)
  /// Calls that run at the same time; others wait. 64.
  public var concurrentCalls = 64
  /// Called for each event, on any thread; it must not block.
  public var onEvent: (@Sendable (SimulatedEvent) -> Void)?

  public init(
    name: String, server: String = "127.0.0.1", port: UInt16 = 5_683, format: SimulatedFormat = .cbor,
    functions: [String: SimulatedFunction] = SimulatedFunctions.standard
  ) {
    self.name = name
    self.server = server
    self.port = port
    self.format = format
    self.functions = functions
  }

  /// Runs the device until its task is cancelled. Then it deregisters from the server, closes its socket and returns.
  ///
  /// It keeps trying to connect when the server cannot be reached.
  ///
  /// - Throws: `SimulatorError` before anything is sent.
  public func run() async throws(SimulatorError) {
    try await DeviceFleet([self]).run()
  }

  func address() throws(SimulatorError) -> CoAPAddress {
    guard let address = CoAPAddress(host: server, port: port) else { throw .notAnAddress(server) }
    // The query item `ep=` and the name share an option of 255 bytes (RFC 7252 §5.10).
    guard (1...252).contains(name.utf8.count) else { throw .notAName(name) }
    // It is one segment of the path (RFC 7252 §5.10).
    if let count = accessToken?.utf8.count, !(1...255).contains(count) { throw .notAnAccessToken(bytes: count) }
    return address
  }

  func run(on client: CoAPClient, to address: CoAPAddress) async {
    var delay = reconnectDelay.lowerBound
    while !Task.isCancelled {
      let session = DeviceSession(self)
      guard let reason = await session.run(on: client, to: address) else { return }
      if session.wasConnected { delay = reconnectDelay.lowerBound }
      onEvent?(.disconnected(reason: reason, retry: delay))
      // If the sleep is cancelled, the loop ends.
      try? await Task.sleep(for: delay)
      delay = min(delay * 2, reconnectDelay.upperBound)
    }
  }
}

/// A transport of CoAP, by the scheme of its URIs (RFC 7252 §6, RFC 8323 §8).
public enum SimulatedTransport: String, Sendable, CaseIterable {
  case coap
  case coaps
  case coapTCP = "coap+tcp"
  case coapsTCP = "coaps+tcp"

  var scheme: CoAPScheme {
    switch self {
    case .coap: .coap
    case .coaps: .coaps
    case .coapTCP: .coapTCP
    case .coapsTCP: .coapsTCP
    }
  }
}

/// The credentials of a simulated device.
public enum SimulatedCredentials: Sendable {
  /// A pre-shared key: the bytes of the text, as in Golioth's firmware.
  case preSharedKey(identity: String, key: String)
  /// In PEM form: the device's certificate, its private key, and the CA of the server.
  case certificate([UInt8], key: [UInt8], trusted: [UInt8])

  var client: CoAPClientCredentials {
    switch self {
    case .preSharedKey(let identity, let key): .preSharedKey(identity: identity, key: Array(key.utf8))
    case .certificate(let certificate, let key, let trusted):
      .certificate(CoAPCertificate(certificate: certificate, key: key, trusted: trusted))
    }
  }
}

/// Why a simulated device cannot start.
public enum SimulatorError: Error, Sendable, Hashable, CustomStringConvertible {
  case notAnAddress(String)
  case notAName(String)
  /// Without its text, which is a secret.
  case notAnAccessToken(bytes: Int)
  /// The system has no thread or descriptor left.
  case system(String)

  public var description: String {
    switch self {
    case .notAnAddress(let text): "\"\(text)\" is not an IPv4 or IPv6 address"
    case .notAName(let name): "a device's name has 1 to 252 bytes, this one \(name.utf8.count)"
    case .notAnAccessToken(let bytes): "an access token has 1 to 255 bytes, this one \(bytes)"
    case .system(let text): text
    }
  }
}
