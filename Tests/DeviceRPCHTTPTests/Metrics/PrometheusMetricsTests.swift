import DeviceRPCHTTP
import Metrics
import Testing

struct PrometheusMetricsTests {
  private let metrics = PrometheusMetrics(buckets: [1, 0.01, 1, .infinity, -.infinity, .nan, 0], descriptions: ["jobs_total": "Jobs, \\ by\nkind."])

  private var lines: [String] { metrics.text().split(separator: "\n").map(String.init) }

  @Test func `counters, gauges, histograms and summaries are written as Prometheus reads them`() {
    withMetricsFactory(metrics) {
      Counter(label: "jobs_total", dimensions: [("kind", "b")]).increment(by: 2)
      Counter(label: "jobs_total", dimensions: [("kind", "a"), ("by", "me")]).increment()
      Meter(label: "level").set(1.5)
      Recorder(label: "size", dimensions: [("of", "x")], aggregate: true).record(3)
      Recorder(label: "size", dimensions: [("of", "x")], aggregate: true).record(0.5)
      let timer = Timer(label: "time_seconds", dimensions: [("route", "/")])
      for nanoseconds in [10_000_000, 10_000_001, 5_000_000_000] { timer.recordNanoseconds(nanoseconds) }
    }
    #expect(
      metrics.text() == """
        # HELP jobs_total Jobs, \\\\ by\\nkind.
        # TYPE jobs_total counter
        jobs_total{by="me",kind="a"} 1
        jobs_total{kind="b"} 2
        # TYPE level gauge
        level 1.5
        # TYPE size summary
        size_sum{of="x"} 3.5
        size_count{of="x"} 2
        # TYPE time_seconds histogram
        time_seconds_bucket{route="/",le="0.01"} 1
        time_seconds_bucket{route="/",le="1.0"} 2
        time_seconds_bucket{route="/",le="+Inf"} 3
        time_seconds_sum{route="/"} 5.020000001
        time_seconds_count{route="/"} 3

        """)
  }

  @Test func `names and labels become those of Prometheus`() {
    withMetricsFactory(metrics) {
      Counter(label: "http.requests-in").increment()
      Counter(label: "1x:y").increment()
      Timer(label: "http.duration").recordNanoseconds(1)
      Counter(label: "é", dimensions: [("a.b:c", "q\"\\\n"), ("a_b_c", "second")]).increment()
      Counter(label: "").increment()
    }
    for line in ["http_requests_in_total 1", "_1x:y_total 1", "http_duration_seconds_count 1", #"__total{a_b_c="q\"\\\n"} 1"#, "__total 1"] {
      #expect(lines.contains(line), "\(line)")
    }
  }

  @Test func `the same name and labels are one series, in whatever order`() {
    withMetricsFactory(metrics) {
      Counter(label: "x_total", dimensions: [("a", "1"), ("b", "2")]).increment()
      Counter(label: "x_total", dimensions: [("b", "2"), ("a", "1")]).increment()
      Meter(label: "g").increment()
      Meter(label: "g").decrement(by: 3)
    }
    #expect(lines.contains(#"x_total{a="1",b="2"} 2"#))
    #expect(lines.contains("g -2"))
  }

  @Test func `a name of another kind, and what is beyond the limit, is not shown and does no harm`() {
    let metrics = PrometheusMetrics(limit: 2)
    withMetricsFactory(metrics) {
      Meter(label: "a_total").set(7)
      Counter(label: "a").increment()
      Counter(label: "b").increment()
      Counter(label: "c").increment()
    }
    #expect(metrics.text() == "# TYPE a_total gauge\na_total 7\n# TYPE b_total counter\nb_total 1\n")
  }

  @Test func `a destroyed metric is gone and makes room`() {
    let metrics = PrometheusMetrics(limit: 1)
    withMetricsFactory(metrics) {
      let first = Counter(label: "a")
      first.increment()
      first.destroy()
      Timer(label: "b").recordNanoseconds(1)
      Timer(label: "b").destroy()
      Meter(label: "c").set(Double.infinity)
    }
    #expect(metrics.text() == "# TYPE c gauge\nc +Inf\n")
  }

  @Test func `nothing is lost when many count at once`() async {
    let counter = withMetricsFactory(metrics) { Counter(label: "n") }
    let meter = withMetricsFactory(metrics) { Meter(label: "m") }
    let timer = withMetricsFactory(metrics) { Timer(label: "t") }
    await withTaskGroup { group in
      for _ in 0..<8 {
        group.addTask {
          for _ in 0..<10_000 {
            counter.increment()
            meter.increment(by: 0.5)
            timer.recordNanoseconds(20_000_000)
          }
        }
      }
    }
    #expect(lines.contains("n_total 80000"))
    #expect(lines.contains("m 40000"))
    #expect(lines.contains("t_seconds_count 80000"))
    #expect(lines.contains("t_seconds_sum 1600.0"))
  }
}
