public import DeviceRPC
internal import FoundationEssentials
internal import HTTPTypes
public import Hummingbird
public import Logging

/// The routes of the HTTP API, to be mounted in a Hummingbird router.
///
/// ```swift
/// let router = Router()
/// DeviceRPCRoutes(server).add(to: router)
/// ```
///
/// `DeviceRPCHTTPServer` is a server that has nothing else. Where the routes are mounted in another, its limits on connections and
/// headers are those of that server, and it needs Hummingbird's `TracingMiddleware` for traces that begin with a request.
public struct DeviceRPCRoutes: Sendable {
  let table: [APIRoute]
  private let console = ConsoleRoutes().routes
  let events: EventFeed
  let thingsBoard: ThingsBoardDevices?
  let thingsBoardREST: RESTRoutes?
  private let runner: RouteRunner
  var metrics: HTTPMetrics { runner.metrics }
  var deadline: Deadline { runner.deadline }

  /// - Parameters:
  ///   - caller: what calls the devices, such as a `DeviceRPCServer`.
  ///   - keys: the API keys; nil for none.
  ///   - administration: where devices are added and removed; nil for a server that cannot do that.
  ///   - metadata: what front ends keep about devices; nil to keep it in memory.
  ///   - configuration: limits, hosts and what is logged. Without keys every request is let in, if the address is loopback.
  ///   - isReady: why devices cannot be served at the moment; nil when they can.
  ///   - metrics: what `/metrics` shows; nil for no such page.
  ///   - logger: gets a line for each call.
  public init(
    _ caller: any DeviceCaller, keys: (any APIKeyProvider)? = nil, administration: (any DeviceAdministration)? = nil,
    metadata: (any DeviceMetadataStore)? = nil, configuration: HTTPConfiguration = HTTPConfiguration(), isReady: @escaping @Sendable () async -> String? = { nil },
    metrics: PrometheusMetrics? = nil, logger: Logger = Logger(label: "device-rpc.http")
  ) {
    self.init(
      caller, keys: keys, administration: administration, metadata: metadata, configuration: configuration, readiness: isReady,
      metrics: metrics, logger: logger, now: Self.monotonic)
  }

  init(
    _ caller: any DeviceCaller, keys: (any APIKeyProvider)?, administration: (any DeviceAdministration)? = nil,
    metadata: (any DeviceMetadataStore)? = nil, thingsBoard: ThingsBoardHTTP? = nil, configuration: HTTPConfiguration, readiness: @escaping @Sendable () async -> String?, metrics: PrometheusMetrics? = nil, logger: Logger,
    date: @escaping @Sendable () -> Date = { Date() }, now: @escaping @Sendable () -> Duration,
    clock: any Clock<Duration> = ContinuousClock()
  ) {
    let limits = configuration.limits
    let gate = Gate(
      keys: keys, isOpenWithoutKeys: configuration.isLoopback, hosts: configuration.allowedHosts,
      rates: RateLimiter(perSecond: limits.requestsPerSecond, now: now), now: date)
    let deadline = Deadline(limits.requestTime)
    runner = RouteRunner(gate: gate, limits: limits, deadline: deadline, metrics: HTTPMetrics(), now: now)
    self.thingsBoard = thingsBoard.map { ThingsBoardDevices($0, gate: gate, deadline: deadline, now: now, clock: clock) }
    let audit = AuditLog(log: logger, hasParams: configuration.logsParams)
    let known = KnownDevices(caller: caller, registry: administration, audit: audit)
    thingsBoardREST = thingsBoard.map { RESTRoutes($0, known: known, gate: gate, limits: limits, deadline: deadline, now: now) }
    let calls = CallRoutes(
      known: known, idempotency: IdempotencyKeys(caller: caller, limits: limits, now: now), limits: limits, audit: audit)
    events = EventFeed(caller: caller, keys: keys, limits: limits, clock: clock, date: date)
    let registry = GoliothRegistry(known: known)
    let golioth =
      GoliothCalls(registry: registry, limits: limits, audit: audit).routes + GoliothProjects(registry: registry).routes
      + GoliothDevices(registry: registry).routes
    let devices =
      DeviceRoutes(known: known).routes + AdministrationRoutes(known: known).routes
      + MetadataRoutes(known: known, store: metadata ?? InMemoryDeviceMetadata()).routes
    let api = calls.routes + devices + EventRoutes(feed: events, limits: limits).routes + golioth
    let service =
      ServiceRoutes(caller: caller, readiness: readiness, started: date()).routes + (metrics.map { MetricRoutes(caller: caller, metrics: $0).routes } ?? [])
    table = OpenAPIDocument.describing(api + service)
  }

  /// Adds the routes of the API. Other methods of their paths are answered with 405.
  public func add<Context: RequestContext>(to router: some RouterMethods<Context>) { add(table, to: router) }

  /// Adds the console: `/`, which must not have a route yet, and `/console/…`. It uses the API at `/v1`.
  public func addConsole<Context: RequestContext>(to router: some RouterMethods<Context>) { add(console, to: router) }

  private func add<Context: RequestContext>(_ table: [APIRoute], to router: some RouterMethods<Context>) {
    for route in table {
      router.on(RouterPath(route.path), method: route.method) { request, context in
        await runner.run(route, request, context.parameters)
      }
    }
    for (path, routes) in Dictionary(grouping: table, by: \.path) {
      let known = routes.map(\.method)
      var allowed = known.map(\.rawValue).sorted()
      if known.contains(.get) { allowed.append("HEAD") }
      let allow = allowed.joined(separator: ", ")
      let form = routes[0].problemForm
      for method in Self.methods where !known.contains(method) && !(method == .head && known.contains(.get)) {
        router.on(RouterPath(path), method: method) { _, _ in
          metrics.count(method, path, .methodNotAllowed, nil)
          var problem = Problem(.methodNotAllowed, "This path has \(allow), not \(method.rawValue).")
          problem.headers[.allow] = allow
          return form.response(to: problem)
        }
      }
    }
  }

  /// The methods that clients use for anything; a path that is there does not become unknown with them.
  static let methods: [HTTPRequest.Method] = [
    .get, .head, .post, .put, .patch, .delete, .options, .trace, HTTPRequest.Method("QUERY")!,
  ]

  private static let start = ContinuousClock.now
  @Sendable static func monotonic() -> Duration { ContinuousClock.now - start }
}
