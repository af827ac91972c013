/// How the HTTP server listens, and whom it lets in.
public struct HTTPConfiguration: Sendable {
  /// The files of a certificate, in PEM.
  public struct TLS: Sendable, Hashable {
    /// The path of the certificate, with those of its issuers behind it.
    public var certificate: String
    /// The path of its private key.
    public var key: String

    public init(certificate: String, key: String) {
      self.certificate = certificate
      self.key = key
    }
  }

  /// The address to listen on: a name or a number. `127.0.0.1`.
  public var host: String
  /// The port; 0 for any that is free. 8080.
  public var port: Int
  /// Nil for plain HTTP.
  public var tls: TLS?
  /// Whether plain HTTP is allowed on an address that is not loopback, where others can read API keys. False.
  public var allowsPlainHTTP = false
  /// The names, without ports, that the `Host` of a request may have. Nil for any; on a loopback address, where nil is the
  /// default, `localhost` and the loopback addresses, so that no web page of somebody else can reach the server by a name of its own.
  public var hosts: Set<String>?
  /// Whether the log has the parameters of each call. False.
  public var logsParams = false
  /// Whether the console is at `/`. True.
  public var hasConsole = true
  public var limits = HTTPLimits()

  public init(host: String = "127.0.0.1", port: Int = 8080, tls: TLS? = nil) {
    self.host = host
    self.port = port
    self.tls = tls
  }

  var isLoopback: Bool { host == "localhost" || host == "::1" || host.hasPrefix("127.") && host.split(separator: ".").count == 4 }

  /// The hosts that requests may be for.
  var allowedHosts: Set<String>? { hosts ?? (isLoopback ? ["localhost", "127.0.0.1", "::1", host.lowercased()] : nil) }
}

/// What the HTTP server keeps at most, and how long it waits.
public struct HTTPLimits: Sendable, Hashable {
  /// Bytes of the body of a request. 1 MiB.
  public var bodyBytes = 1 << 20
  /// Bytes of all headers of a request. 16 KiB.
  public var headerBytes = 16 << 10
  /// Time in which the body of a request must arrive. 30 s.
  public var requestTime: Duration = .seconds(30)
  /// Time after which a connection without a request under way is closed. 60 s.
  public var idleTime: Duration = .seconds(60)
  /// Connections at a time; further ones wait until one is closed. 10,000.
  public var connections = 10_000
  /// The longest that a request waits for the end of a call, whatever it prefers; then it is answered with 202. 5 min.
  public var longestWait: Duration = .seconds(300)
  /// Requests of one API key in a second, of which as many may come at once; beyond that they get 429. 0 for no limit, which is the
  /// default.
  public var requestsPerSecond = 0
  /// Idempotency keys that are remembered of one API key; beyond that requests with new ones get 429. 10,000.
  public var idempotencyKeys = 10_000
  /// Bytes of the calls that are remembered for idempotency keys, of all API keys. 32 MiB.
  public var idempotencyBytes = 32 << 20
  /// How long an idempotency key is remembered. 1 h.
  public var idempotencyTime: Duration = .seconds(3_600)
  /// Readers of events at a time; beyond that requests for events get 429. 1,000.
  public var eventReaders = 1_000
  /// Events that are remembered for readers that come back with `Last-Event-ID`. 1,024.
  public var bufferedEvents = 1_024
  /// The memory of these, in bytes. 4 MiB.
  public var bufferedEventBytes = 4 << 20
  /// Events that wait for one reader. What does not fit is dropped, and the reader is told how many. 1,024.
  public var eventsPerReader = 1_024
  /// The memory of these, in bytes. 1 MiB; one event always fits. Readers share the events for which they wait.
  public var eventBytesPerReader = 1 << 20
  /// The time between two comments that keep a stream of events alive. 15 s, at least 1 s.
  public var heartbeat: Duration = .seconds(15)
  /// How long events are remembered when the last reader has gone; after that nothing is spent on events. 60 s.
  public var eventTime: Duration = .seconds(60)

  public init() {}
}

/// Why the HTTP server cannot start.
public enum HTTPStartError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The address is not loopback, and there are no API keys.
  case noKeys(address: String)
  /// The address is not loopback, and there is no certificate.
  case noTLS(address: String)
  /// The certificate or its key cannot be read.
  case certificate(String)
  /// The system does not let it listen on the address.
  case cannotListen(address: String, reason: String)

  /// One line for a person, which says what helps.
  public var description: String {
    switch self {
    case .noKeys(let address):
      "\(address) can be reached from other machines, and there are no API keys: add one, or listen on 127.0.0.1"
    case .noTLS(let address):
      "\(address) can be reached from other machines, and plain HTTP shows them the API keys: give a certificate, or allow plain HTTP"
    case .certificate(let reason): "the certificate for HTTP: \(reason)"
    case .cannotListen(let address, let reason): "cannot listen on \(address): \(reason)"
    }
  }
}
