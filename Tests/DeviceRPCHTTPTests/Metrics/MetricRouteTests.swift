import DeviceRPC
import DeviceRPCHTTP
import InMemoryTracing
import Testing
import Tracing

struct MetricRouteTests {
  @Test func `the page has calls, devices, requests by route and status, and the process`() async throws {
    let metrics = PrometheusMetrics()
    try await withAPI(metrics: metrics) { api in
      await api.devices.connect("sensor-1") { _, _ in .ok(1_337) }
      #expect(try await api.call("sensor-1", #"{"method":"multiply"}"#).status == 200)
      #expect(try await api.call("sensor-2", #"{"method":"multiply"}"#).status == 404)
      #expect(try await api.call("sensor-1", "{").status == 400)
      #expect(try await api.ask(.put, "/v1/devices/sensor-1/calls").status == 405)
      #expect(try await api.get("/nothing").status == 404)
      let page = try await api.get("/metrics")
      #expect(page.status == 200)
      #expect(page.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8")
      let lines = page.text.split(separator: "\n")
      let route = #"method="POST",route="/v1/devices/{device}/calls""#
      for line in [
        #"device_rpc_calls_total{outcome="ok"} 1"#, #"device_rpc_calls_total{outcome="unknown_device"} 1"#,
        #"device_rpc_devices{state="observing"} 1"#, #"device_rpc_open_calls{state="sent"} 0"#,
        #"device_rpc_round_trip_seconds_count 1"#,
        "device_rpc_http_requests_total{\(route),status=\"200\"} 1", "device_rpc_http_requests_total{\(route),status=\"404\"} 1",
        "device_rpc_http_requests_total{\(route),status=\"400\"} 1", "device_rpc_http_request_seconds_count{\(route)} 3",
        #"device_rpc_http_requests_total{method="PUT",route="/v1/devices/{device}/calls",status="405"} 1"#,
        #"device_rpc_http_requests_total{method="GET",route="none",status="404"} 1"#,
        "# TYPE process_open_fds gauge",
      ] {
        #expect(lines.contains(line[...]), "\(line)")
      }
      // Of what no route has answered there is no time.
      #expect(!lines.contains { $0.hasPrefix("device_rpc_http_request_seconds_count") && !$0.hasSuffix(" 3") })
      let memory = lines.first { $0.hasPrefix("process_resident_memory_bytes ") }
      #expect(Int(memory?.split(separator: " ").last ?? "").map { $0 > 1 << 20 } == true)
      // Each name is described.
      for line in lines where line.hasPrefix("# TYPE ") {
        let name = line.split(separator: " ")[2]
        #expect(lines.contains { $0.hasPrefix("# HELP \(name) ") }, "\(name)")
      }
      #expect(try await api.get("/v1/openapi.json")["paths"]?["/metrics"] != nil)
    }
  }

  @Test func `the page needs a key where there are keys`() async throws {
    let keys = InMemoryAPIKeys()
    let key = keys.add("prometheus", APIPermissions())
    try await withAPI(keys: keys, metrics: PrometheusMetrics()) { (api) async throws in
      #expect(try await api.get("/metrics").status == 401)
      #expect(try await api.get("/metrics", headers: ["Authorization": "Bearer \(key)"]).status == 200)
    }
  }

  @Test func `without a collector there is no page`() async throws {
    try await withAPI { (api) async throws in
      #expect(try await api.get("/metrics").status == 404)
      #expect(try await api.get("/v1/openapi.json")["paths"]?["/metrics"] == nil)
    }
  }

  // Tracers read `traceparent`; the one for tests has headers of its own.
  @Test func `a call over HTTP is in the trace that its headers name`() async throws {
    let tracer = InMemoryTracer()
    try await withAPI(tracer: tracer) { api in
      await api.devices.connect("sensor-1") { _, _ in .ok(1_337) }
      let headers = [InMemoryTracer.traceIDKey: "trace-7", InMemoryTracer.spanIDKey: "span-7"]
      let answer = try await withTracer(tracer) {
        try await api.call("sensor-1", #"{"method":"multiply"}"#, headers: headers)
      }
      #expect(answer.status == 200)
      let spans = tracer.finishedSpans
      let call = try #require(spans.first { $0.operationName == "multiply" })
      let request = try #require(spans.first { $0.kind == .server })
      #expect(request.parentSpanID == "span-7")
      #expect(call.parentSpanID == request.spanID)
      #expect(spans.count == 5)
      for span in spans { #expect(span.traceID == "trace-7", "\(span.operationName)") }
    }
  }
}
