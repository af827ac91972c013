internal import DeviceRPC
internal import HTTPTypes
internal import Hummingbird

/// The page on which Prometheus reads the metrics.
struct MetricRoutes: Sendable {
  let caller: any DeviceCaller
  let metrics: PrometheusMetrics

  var routes: [APIRoute] {
    [
      APIRoute(
        method: .get, path: "/metrics", need: .key,
        description: RouteDescription(
          name: "getMetrics", summary: "The metrics, in Prometheus' text format.",
          responses: [(200, "The metrics of the server and of its process.", "Text")]),
        handler: { _ throws(Problem) in
          await caller.recordMetrics()
          return Response(
            status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: metrics.text() + ProcessMetrics.text())))
        })
    ]
  }
}
