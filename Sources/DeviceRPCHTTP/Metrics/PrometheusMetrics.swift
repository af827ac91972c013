internal import DeviceRPC
public import Metrics
internal import Synchronization

/// Collects the metrics of swift-metrics, of the whole process, in memory, and writes them in Prometheus' text format.
///
/// ```swift
/// let metrics = PrometheusMetrics()
/// MetricsSystem.bootstrap(metrics)
/// ```
///
/// `DeviceRPCHTTPServer` and `DeviceRPCRoutes` have the page `/metrics` when they are given one. All methods may be called from any
/// thread.
///
/// Names become those of Prometheus: other characters than letters, digits, `_` and `:` become `_`; counters end in `_total`; timers
/// are histograms in seconds and end in `_seconds`; recorders that aggregate are summaries with a count and a sum. A metric that has
/// the name of another of another kind is not collected.
public final class PrometheusMetrics: MetricsFactory, Sendable {
  /// The upper bounds of the buckets of timers, in seconds: from 100 µs, a pass of a loop, to a minute, a call to a sleepy device.
  public static let defaultBuckets = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
  ]

  private struct Family {
    let kind: MetricKind
    var series: [MetricLabels: any MetricSeries] = [:]
  }

  private struct State {
    var families: [String: Family] = [:]
    var count = 0
  }

  private let state = Mutex(State())
  private let limit: Int
  private let buckets: [Double]
  private let descriptions: [String: String]

  /// - Parameters:
  ///   - limit: how many series, which are metrics with all their labels, are collected; further ones are not. 10,000.
  ///   - buckets: the upper bounds of the buckets of timers, in seconds; those that are not above 0 are left out.
  ///   - descriptions: what metrics count, by their names here. Those of this package are known.
  public init(
    limit: Int = 10_000, buckets: [Double] = PrometheusMetrics.defaultBuckets, descriptions: [String: String] = [:]
  ) {
    self.limit = limit
    // What is above the last has a bucket of its own.
    self.buckets = Set(buckets.filter { $0.isFinite && $0 > 0 }).sorted()
    self.descriptions = metricDescriptions.merging(HTTPMetrics.descriptions) { $1 }.merging(descriptions) { $1 }
  }

  /// All metrics in the text format, version 0.0.4, sorted by name.
  public func text() -> String {
    let families = state.withLock(\.families)
    var text = ""
    for (name, family) in families.sorted(by: { $0.key < $1.key }) {
      if let description = descriptions[name] { text += "# HELP \(name) \(MetricLabels.escaped(description, quotes: false))\n" }
      text += "# TYPE \(name) \(family.kind.rawValue)\n"
      for (labels, series) in family.series.sorted(by: { $0.key < $1.key }) { series.write(name, labels, to: &text) }
    }
    return text
  }

  private func series<Series: MetricSeries>(
    _ label: String, _ suffix: String, _ kind: MetricKind, _ dimensions: [(String, String)], _ make: () -> Series
  ) -> Series {
    var name = MetricLabels.name(label)
    if !name.hasSuffix(suffix) { name += suffix }
    let labels = MetricLabels(dimensions)
    return state.withLock { state in
      var family = state.families[name] ?? Family(kind: kind)
      if let known = family.series[labels] as? Series, family.kind == kind { return known }
      let series = make()
      // What is not in the table is counted and never shown.
      guard family.kind == kind, state.count < limit else { return series }
      family.series[labels] = series
      state.families[name] = family
      state.count += 1
      return series
    }
  }

  private func remove(_ handler: AnyObject) {
    state.withLock { state in
      for (name, family) in state.families {
        guard let labels = family.series.first(where: { $0.value === handler })?.key else { continue }
        state.families[name]?.series[labels] = nil
        if family.series.count == 1 { state.families[name] = nil }
        state.count -= 1
      }
    }
  }

  public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
    series(label, "_total", .counter, dimensions) { CounterSeries() }
  }

  public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
    series(label, "", .gauge, dimensions) { GaugeSeries() }
  }

  public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
    if aggregate { return series(label, "", .summary, dimensions) { SummarySeries() } }
    return series(label, "", .gauge, dimensions) { GaugeSeries() }
  }

  public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    series(label, "_seconds", .histogram, dimensions) { [buckets] in HistogramSeries(buckets) }
  }

  public func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
  public func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
  public func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
  public func destroyTimer(_ handler: any TimerHandler) { remove(handler) }
}
