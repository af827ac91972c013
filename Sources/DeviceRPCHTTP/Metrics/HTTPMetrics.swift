// Metrics: what the API counts of itself, a collector of swift-metrics, and the page on which Prometheus reads it.
// The room Routes counts its requests here; the room Server mounts the page.

internal import HTTPTypes
internal import Metrics
internal import Synchronization

/// The requests by their routes.
final class HTTPMetrics: Sendable {
  static let descriptions = [
    "device_rpc_http_requests_total": "HTTP requests, by method, route and status.",
    "device_rpc_http_request_seconds": "Time from the head of an HTTP request to the head of its response.",
  ]

  private struct Key: Hashable {
    let method: HTTPRequest.Method
    let route: String
    let status: Int
  }

  // Nil when nobody collects metrics.
  private let factory: (any MetricsFactory)?
  // Looking up a metric in its collector takes longer than the rest.
  private let known = Mutex<[Key: (count: Counter, time: Timer?)]>([:])

  init() {
    let factory = MetricsSystem.factory
    self.factory = factory is NOOPMetricsHandler ? nil : factory
  }

  /// - Parameters:
  ///   - route: its path with names in braces; `none` for a path that is not there.
  ///   - time: nil for a request that was refused without a look at it, whose time nobody takes.
  func count(_ method: HTTPRequest.Method, _ route: String, _ status: HTTPResponse.Status, _ time: Duration?) {
    guard let factory else { return }
    // A client may send any word.
    let method = DeviceRPCRoutes.methods.contains(method) ? method : HTTPRequest.Method("OTHER")!
    let key = Key(method: method, route: route, status: status.code)
    let (count, timer) = known.withLock { known in
      if let metrics = known[key] { return metrics }
      let dimensions = [("method", method.rawValue), ("route", route)]
      let metrics: (count: Counter, time: Timer?) = (
        count: Counter(
          label: "device_rpc_http_requests_total", dimensions: dimensions + [("status", "\(status.code)")], factory: factory),
        time: time == nil ? nil : Timer(label: "device_rpc_http_request_seconds", dimensions: dimensions, factory: factory)
      )
      known[key] = metrics
      return metrics
    }
    count.increment()
    guard let time, let timer else { return }
    timer.recordNanoseconds(time.components.seconds * 1_000_000_000 + time.components.attoseconds / 1_000_000_000)
  }
}
