internal import CoAP

/// A device in software: it observes `/.rpc` for calls, runs its functions and POSTs the results.
///
/// It behaves as Golioth's firmware SDK 0.22 does, including its keep-alive and its reconnects, with two differences:
/// it tells its name in the query (`ep`) where it proves none, and it registers again from time to time (RFC 7641
/// §3.3.1), or on plain CoAP it would not notice that a server has been started anew.
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
  /// Over what it talks to the server. Plain CoAP over UDP.
  public var transport = SimulatedTransport.coap
  /// What it proves itself with over DTLS and TLS.
  public var credentials: SimulatedCredentials?
  /// How it wants its calls and sends its results. CBOR, as firmware does.
  public var format: SimulatedFormat
  /// Its functions by name; a call of another name is answered with status 5, NOT_FOUND.
  public var functions: [String: SimulatedFunction]
  /// Time without a word from the server after which it asks for a sign of life. 9 s.
  public var keepAlive: Duration = .seconds(9)
  /// Time without a notification after which it registers again; firmware on DTLS needs about as long to come back to
  /// a server that has been started anew. 20 s.
  public var renewal: Duration = .seconds(20)
  /// How long it waits for an answer before it takes the server for gone. 10 s.
  public var responseTimeout: Duration = .seconds(10)
  /// The pause before it connects anew, doubled with each attempt that fails. 1 s to 30 s.
  public var reconnectDelay: ClosedRange<Duration> = .seconds(1) ... .seconds(30)
  /// Calls that it runs at a time; others wait for their turn. 64.
  public var concurrentCalls = 64
  /// Told of everything that happens, on any thread; it must not block.
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

  /// Runs the device until its task is cancelled; then it takes leave of the server, closes its socket and returns.
  ///
  /// It keeps trying when there is no server.
  ///
  /// - Throws: `SimulatorError` before anything is sent.
  public func run() async throws(SimulatorError) {
    try await DeviceFleet([self]).run()
  }

  func address() throws(SimulatorError) -> CoAPAddress {
    guard let address = CoAPAddress(host: server, port: port) else { throw .notAnAddress(server) }
    // The query item `ep=` and the name share an option of 255 bytes (RFC 7252 §5.10).
    guard (1...252).contains(name.utf8.count) else { throw .notAName(name) }
    return address
  }

  /// The query of its observe request: over DTLS and TLS the server knows who asks.
  var query: [String] { credentials == nil ? ["ep=\(name)"] : [] }

  func run(on client: CoAPClient, to address: CoAPAddress) async {
    var delay = reconnectDelay.lowerBound
    while !Task.isCancelled {
      let session = DeviceSession(self)
      guard let reason = await session.run(on: client, to: address) else { return }
      if session.wasConnected { delay = reconnectDelay.lowerBound }
      onEvent?(.disconnected(reason: reason, retry: delay))
      // Cancelled: the loop ends.
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

/// What a simulated device proves itself with.
public enum SimulatedCredentials: Sendable {
  /// The key's bytes are the characters of the text, as in Golioth's firmware.
  case preSharedKey(identity: String, key: String)
  /// PEM each: the device's certificate, its key, and the CA of the server.
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
  /// The system has no thread or descriptor left.
  case system(String)

  public var description: String {
    switch self {
    case .notAnAddress(let text): "\"\(text)\" is not an IPv4 or IPv6 address"
    case .notAName(let name): "a device's name has 1 to 252 bytes, this one \(name.utf8.count)"
    case .system(let text): text
    }
  }
}
