internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCCoAP
internal import DeviceRPCHTTP
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import Metrics

/// A server with the HTTP API, and beside it one with a route that does nothing, to compare with.
struct HTTPServer: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "http-server",
    abstract: "Serve the HTTP API for a fleet until the time is up.",
    discussion: """
      On a port of its own, Hummingbird as it comes answers POST /empty with 200 and nothing. Run `fleet` and `http` beside it.
      """)

  @Option(help: "Port for the HTTP API.") var httpPort = 8_090
  @Option(help: "Port for the route that does nothing.") var emptyPort = 8_091
  @Option(help: "Port for CoAP.") var port: UInt16 = 5_690
  @Option(help: "Seconds after which it ends.") var seconds = 120.0
  @Flag(help: "Collect no metrics; there is no /metrics then.") var noMetrics = false

  func validate() throws {
    guard seconds > 0, seconds <= 3_600 else { throw ValidationError("--seconds must be above 0, at most 3600.") }
  }

  func run() async throws {
    let metrics = noMetrics ? nil : PrometheusMetrics()
    if let metrics { MetricsSystem.bootstrap(metrics) }
    var log = Logger(label: "rpc-bench")
    log.logLevel = .error
    var coap = CoAPConfiguration()
    coap.listeners = [.init(.udp, host: "127.0.0.1", port: port)]
    let server = try DeviceRPCServer(coap: coap, logger: log)
    try await server.start()
    var configuration = HTTPConfiguration()
    configuration.limits.eventReaders = 10_000
    configuration.limits.connections = 20_000
    configuration.port = httpPort
    let http = DeviceRPCHTTPServer(server, configuration: configuration, metrics: metrics, logger: log)
    let router = Router()
    router.post("/empty") { _, _ in HTTPResponse.Status.ok }
    let empty = Application(
      router: router, configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: emptyPort)), logger: log)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await http.run() }
      group.addTask { try await empty.runService(gracefulShutdownSignals: []) }
      group.addTask { try await Task.sleep(for: .seconds(seconds)) }
      try await group.next()
      group.cancelAll()
    }
    await server.shutdown()
  }
}
