// Server: the HTTP server as a service, and what it is configured with.
// The top of this module: nothing else in it knows this room, but for limits.

public import DeviceRPC
internal import Foundation
internal import Hummingbird
internal import HummingbirdCore
internal import HummingbirdTLS
public import Logging
internal import NIOCore
internal import NIOSSL
public import ServiceLifecycle
internal import Tracing

/// The HTTP API as a service that listens.
///
/// In a `ServiceGroup` it stands before the `DeviceRPCServer`: services end in the reverse order, so that calls end, and are
/// answered, before connections are closed.
public struct DeviceRPCHTTPServer: Service {
  private let configuration: HTTPConfiguration
  private let keys: (any APIKeyProvider)?
  let routes: DeviceRPCRoutes
  private let log: Logger
  private let onListening: @Sendable (String) async -> Void

  /// - Parameters:
  ///   - caller: what calls the devices, such as a `DeviceRPCServer`.
  ///   - keys: the API keys; nil for none.
  ///   - administration: where devices are added and removed, such as a `DeviceStore`; nil for a server that cannot do that.
  ///   - metadata: what front ends keep about devices, such as a `DeviceStore`; nil to keep it in memory.
  ///   - thingsBoard: ThingsBoard's API for devices; nil for none.
  ///   - isReady: why devices cannot be served at the moment; nil when they can.
  ///   - metrics: what `/metrics` shows; nil for no such page.
  ///   - logger: gets a line for each call.
  ///   - onListening: called with the URL when the server listens.
  public init(
    _ caller: any DeviceCaller, keys: (any APIKeyProvider)? = nil, administration: (any DeviceAdministration)? = nil,
    metadata: (any DeviceMetadataStore)? = nil, thingsBoard: ThingsBoardHTTP? = nil,
    configuration: HTTPConfiguration = HTTPConfiguration(), isReady: @escaping @Sendable () async -> String? = { nil },
    metrics: PrometheusMetrics? = nil, logger: Logger = Logger(label: "device-rpc.http"),
    onListening: @escaping @Sendable (String) async -> Void = { _ in }
  ) {
    self.configuration = configuration
    self.keys = keys
    self.onListening = onListening
    log = logger
    routes = DeviceRPCRoutes(
      caller, keys: keys, administration: administration, metadata: metadata, thingsBoard: thingsBoard, configuration: configuration,
      readiness: isReady, metrics: metrics, logger: logger, now: DeviceRPCRoutes.monotonic)
  }

  /// With clocks of a test.
  init(
    _ caller: any DeviceCaller, keys: (any APIKeyProvider)?, administration: (any DeviceAdministration)? = nil,
    thingsBoard: ThingsBoardHTTP? = nil, configuration: HTTPConfiguration, isReady: @escaping @Sendable () async -> String? = { nil }, metrics: PrometheusMetrics? = nil,
    log: Logger, date: @escaping @Sendable () -> Date, now: @escaping @Sendable () -> Duration,
    clock: any Clock<Duration> = ContinuousClock(), onListening: @escaping @Sendable (String) async -> Void = { _ in }
  ) {
    self.configuration = configuration
    self.keys = keys
    self.log = log
    self.onListening = onListening
    routes = DeviceRPCRoutes(
      caller, keys: keys, administration: administration, thingsBoard: thingsBoard, configuration: configuration,
      readiness: isReady, metrics: metrics, logger: log,
      date: date, now: now, clock: clock)
  }

  private var address: String {
    configuration.host.contains(":") ? "[\(configuration.host)]:\(configuration.port)" : "\(configuration.host):\(configuration.port)"
  }

  /// Whether the server may start. Throws `HTTPStartError` when it would be reachable by others without keys or without TLS, or
  /// when its certificate cannot be read.
  public func check() async throws(HTTPStartError) {
    if !configuration.isLoopback {
      guard let keys, await keys.hasKeys else { throw .noKeys(address: address) }
      guard configuration.tls != nil || configuration.allowsPlainHTTP else { throw .noTLS(address: address) }
    }
    _ = try tlsConfiguration()
  }

  private func tlsConfiguration() throws(HTTPStartError) -> TLSConfiguration? {
    guard let files = configuration.tls else { return nil }
    do {
      let chain = try NIOSSLCertificate.fromPEMFile(files.certificate)
      guard !chain.isEmpty else { throw HTTPStartError.certificate("\(files.certificate) has no certificate") }
      let key = try NIOSSLPrivateKey(file: files.key, format: .pem)
      var tls = TLSConfiguration.makeServerConfiguration(
        certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
      tls.minimumTLSVersion = .tlsv12
      // Finds a key that belongs to another certificate.
      _ = try NIOSSLContext(configuration: tls)
      return tls
    } catch let error as HTTPStartError {
      throw error
    } catch {
      throw .certificate("\(files.certificate) and \(files.key) cannot be read, or do not belong together: \(error)")
    }
  }

  /// Listens until a graceful shutdown or the cancellation of its task. Throws `HTTPStartError`.
  public func run() async throws {
    try await check()
    let limits = configuration.limits
    let channel = HTTP1Channel.Configuration(
      idleTimeout: .nanoseconds(Int64(limits.idleTime.inSeconds * 1e9)),
      httpDecoderConfiguration: .init(
        maxHeaderFieldSize: limits.headerBytes, maxHeaderListSize: limits.headerBytes, maxHeaderFieldCount: 100))
    var server = HTTPServerBuilder.http1(configuration: channel)
    if let tls = try tlsConfiguration() { server = try .tls(server, tlsConfiguration: tls) }
    let scheme = configuration.tls == nil ? "http" : "https"
    let host = configuration.host
    var quiet = log
    // Hummingbird logs each broken connection and its own start.
    quiet.logLevel = max(log.logLevel, .error)
    let application = Application(
      router: router(), server: server,
      configuration: ApplicationConfiguration(
        address: .hostname(host, port: configuration.port), serverName: nil,
        availableConnectionsDelegate: MaximumAvailableConnections(limits.connections)),
      onServerRunning: { [onListening] channel in
        let port = channel.localAddress?.port ?? 0
        await onListening("\(scheme)://\(host.contains(":") ? "[\(host)]" : host):\(port)")
      },
      logger: quiet)
    do {
      try await withGracefulShutdownHandler {
        try await withThrowingTaskGroup { group in
          if let devices = routes.thingsBoard { group.addTask { await devices.watch() } }
          try await application.run()
          group.cancelAll()
        }
      } onGracefulShutdown: {
        // Hummingbird waits for the requests under way.
        routes.deadline.end()
        routes.thingsBoard?.polled.end()
      }
    } catch let error as IOError {
      throw HTTPStartError.cannotListen(
        address: address, reason: String(cString: strerror(error.errnoCode)))
    } catch let error as SocketAddressError {
      throw HTTPStartError.cannotListen(address: address, reason: "\(error)")
    }
  }

  /// All routes, and a problem document for every other path.
  func router() -> Router<ServerContext> {
    let router = Router(context: ServerContext.self, options: .autoGenerateHeadEndpoints)
    // Before the middleware, which would write the tokens in their paths into traces.
    routes.thingsBoard?.add(to: router)
    // It costs as much as the rest of a short request, also when nobody traces.
    if !(InstrumentationSystem.instrument is NoOpInstrument) { router.add(middleware: TracingMiddleware()) }
    router.add(middleware: NotFound(metrics: routes.metrics))
    routes.add(to: router)
    routes.thingsBoardREST?.add(to: router)
    if configuration.hasConsole { routes.addConsole(to: router) }
    return router
  }
}

/// What is known of a request besides its head and body.
struct ServerContext: RemoteAddressRequestContext {
  var coreContext: CoreRequestContextStorage
  let remoteAddress: SocketAddress?

  init(source: ApplicationRequestContextSource) {
    coreContext = CoreRequestContextStorage(source: source)
    remoteAddress = source.channel.remoteAddress
  }
}

/// Answers requests for paths that are not there.
private struct NotFound: RouterMiddleware {
  typealias Context = ServerContext

  let metrics: HTTPMetrics

  func handle(
    _ request: Request, context: Context, next: (Request, Context) async throws -> Response
  ) async throws -> Response {
    do {
      return try await next(request, context)
    } catch let error as HTTPError where error.status == .notFound {
      metrics.count(request.method, "none", .notFound, nil)
      // Golioth's tools ask for more than there is here.
      let form = request.uri.path.hasPrefix("/v1/projects/") ? ProblemForm.golioth : .problemDocument
      return form.response(to: Problem(.notFound, "There is nothing at \(request.uri.path.prefix(200))."))
    }
  }
}
