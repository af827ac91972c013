package import CoAP
public import DeviceRPC
internal import FoundationEssentials
public import Logging
internal import Synchronization

extension DeviceRPCServer {
  /// Creates a server that devices reach over CoAP.
  ///
  /// libcoap uses OpenSSL. It stays initialized until the process ends: `exit` does not clean it up (OPENSSL_INIT_NO_ATEXIT),
  /// since a server may still be using it. If OpenSSL was used before the first server was created, `exit` does clean it up;
  /// then call `shutdown()` before the process ends.
  ///
  /// - Parameter journal: where persistent calls are kept; nil for a server that keeps none.
  /// - Throws: `CoAPConfigurationError`, or an error of the system when it has no thread or descriptor left. An address that is
  ///   in use is reported by `start()`.
  public convenience init(
    coap configuration: CoAPConfiguration = CoAPConfiguration(), limits: Limits = Limits(),
    journal: (any CallJournal)? = InMemoryCallJournal(), logger: Logger = Logger(label: "device-rpc")
  ) throws {
    self.init(
      transport: try CoAPTransport(configuration, limits: limits, log: logger), limits: limits, log: logger, journal: journal)
  }
}

/// The CoAP transport: the loops, the endpoint on them, and the dialects.
package final class CoAPTransport: DeviceTransport {
  private struct Open {
    let endpoint: CoAPEndpoint
    let watchers: [Task<Void, Never>]
  }

  private let configuration: CoAPConfiguration
  private let endpointConfiguration: CoAPEndpoint.Configuration
  private let loops: [EventLoop]
  private let log: Logger
  private let authority: CredentialAuthority?
  private let certificateInterval: Duration
  // Taken before the files are read, so that a write between then and `start` counts as a change.
  private let certificateStamp: [Date?]
  private let open = Mutex<Open?>(nil)

  /// `certificateInterval` is the time between two checks of the files of the server's certificate.
  package init(
    _ configuration: CoAPConfiguration, limits: Limits, transmission: CoAPTransmission = CoAPTransmission(),
    certificateInterval: Duration = .seconds(5), log: Logger
  ) throws {
    self.configuration = configuration
    self.certificateInterval = certificateInterval
    self.log = log
    certificateStamp = configuration.security?.certificate?.stamp() ?? []
    var endpoint = try configuration.endpoint()
    endpoint.transmission = transmission
    endpoint.limits.take(limits)
    authority = configuration.security.map { CredentialAuthority($0.credentials, log: log) }
    if let authority, let security = configuration.security {
      endpoint.security = CoAPSecurity(
        authority: authority, certificate: try security.certificate?.load(),
        cipherSuites: security.cipherSuites.map(\.openSSLName))
    }
    endpointConfiguration = endpoint
    loops = try (0..<max(1, configuration.loops)).map { try EventLoop(name: "device-rpc-\($0)") }
    callerExecutors = loops.map(EventLoop.Tasks.init)
  }

  package var drivers: [any LoopDriver] { loops }
  package let callerExecutors: [any TaskExecutor]

  package var addresses: [String] {
    open.withLock { $0?.endpoint.listeners.map(\.description) ?? [] }
  }

  package func start(_ directory: DeviceDirectory) async throws {
    let access = DeviceAccess(directory: directory, authority: authority, credentials: configuration.security?.credentials)
    // A dialect is a folder and a line here.
    var dialects: [any Dialect] = [GoliothDialect(configuration: configuration, access: access, log: log)]
    if let settings = configuration.thingsBoard { dialects.append(ThingsBoardDialect(settings, access)) }
    let handlers = loops.map { _ in DeviceEndpoint(dialects: dialects, access: access) }
    // Subscribed before the first handshake, so that no change is missed.
    let changes = configuration.security?.credentials.changes()
    let endpoint = try await CoAPEndpoint(endpointConfiguration, loops: loops, handlers: handlers)
    var watchers: [Task<Void, Never>] = []
    if let changes, let authority {
      watchers.append(Task { await Self.closeRevoked(endpoint, authority, changes, directory) })
    }
    if let certificate = configuration.security?.certificate {
      watchers.append(
        Task { [certificateStamp, certificateInterval, log] in
          await Self.watch(certificate, since: certificateStamp, each: certificateInterval, endpoint, log)
        })
    }
    open.withLock { [watchers] in $0 = Open(endpoint: endpoint, watchers: watchers) }
  }

  package func close() async {
    let open = open.withLock { open in
      defer { open = nil }
      return open
    }
    for watcher in open?.watchers ?? [] { watcher.cancel() }
    await open?.endpoint.close()
    for watcher in open?.watchers ?? [] { await watcher.value }
    for loop in loops { await loop.stop() }
  }

  // MARK: Changes of credentials

  /// Handles changes of credentials. Closes the sessions whose credential has changed since they began, and those of devices
  /// that have no proof and now need one. Ends the calls to both.
  private static func closeRevoked(
    _ endpoint: CoAPEndpoint, _ authority: CredentialAuthority, _ changes: AsyncStream<Void>,
    _ directory: DeviceDirectory
  ) async {
    for await _ in changes {
      await endpoint.closeSessions { session in
        if session.secured != nil {
          guard let credential = CredentialAuthority.credential(of: session) else { return "it has proved nothing" }
          return authority.objection(to: credential)
        }
        // A gateway has several devices at one address: only those that are meant lose their observation.
        for observation in session.observations {
          guard let link = observation.owner as? ObservationLink else { continue }
          let unproved = authority.knows(device: link.device) ? CredentialAuthority.unproved : nil
          if let objection = link.credential.map(authority.objection) ?? unproved {
            observation.end(with: .error(.unauthorized, objection), reason: .revoked(objection))
          }
        }
        return nil
      }
      for home in directory.loops {
        home.run { home in
          home.endCalls { device, credential in
            if let credential { return authority.objection(to: credential) }
            return authority.knows(device: device) ? CredentialAuthority.unproved : nil
          }
        }
      }
    }
  }

  private static func watch(
    _ files: ServerCertificate, since stamp: [Date?], each interval: Duration, _ endpoint: CoAPEndpoint, _ log: Logger
  ) async {
    var stamp = stamp
    while (try? await Task.sleep(for: interval)) != nil {
      let current = files.stamp()
      guard current != stamp else { continue }
      stamp = current
      do {
        try await endpoint.use(try files.load())
        log.notice("new certificate in use", metadata: ["file": "\(files.certificate)"])
      } catch {
        log.error("the new certificate is not used", metadata: ["reason": "\(error)"])
      }
    }
  }
}

extension CoAPLimits {
  /// A century, in seconds: longer times, in nanoseconds, would not fit the clock.
  private static let longestTimeout = 3_155_760_000

  fileprivate mutating func take(_ limits: Limits) {
    requestsPerSecond = limits.requestsPerSecond
    idleSessions = max(1, limits.idleSessions)
    observationsPerSession = max(1, limits.observationsPerAddress)
    sessionTimeout = max(1, min(Self.longestTimeout, Int(clamping: limits.sessionTimeout.components.seconds)))
    handshakes = max(1, limits.handshakes)
    connections = max(1, limits.connections)
    transferBytes = max(0, limits.transferBytes)
    transfersPerSession = max(1, limits.transfersPerSession)
  }
}

extension EventLoop: LoopDriver {
  package var now: Duration { .nanoseconds(Int64(clamping: isCurrent ? passTime : EventLoop.monotonic)) }

  package var transportCounts: TransportCounts {
    TransportCounts(
      packetsReceived: counts.packetsReceived, packetsSent: counts.packetsSent, retransmissions: counts.retransmissions,
      refusedConnections: counts.refusedConnections)
  }

  package func measurePasses(_ record: @escaping @Sendable (Int64) -> Void) {
    execute { [self] in onPass = { record(Int64(clamping: $0)) } }
  }

  package func makeAlarm(_ action: @escaping @Sendable () -> Void) -> any LoopAlarm {
    Alarm(makeTimer(action))
  }

  private final class Alarm: LoopAlarm {
    private let timer: LoopTimer

    init(_ timer: LoopTimer) { self.timer = timer }

    func set(_ deadline: Duration?) {
      if let deadline { timer.arm(at: deadline.nanosecondsClamped) } else { timer.disarm() }
    }

    func cancel() { timer.cancel() }
  }
}
