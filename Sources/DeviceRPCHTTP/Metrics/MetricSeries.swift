internal import Metrics
internal import Synchronization

/// The kinds of metrics, by their names in the text format.
enum MetricKind: String, Sendable { case counter, gauge, histogram, summary }

/// A metric with certain labels.
protocol MetricSeries: AnyObject, Sendable {
  func write(_ name: String, _ labels: MetricLabels, to text: inout String)
}

/// The labels of a series, as the text format writes them.
struct MetricLabels: Hashable, Comparable {
  /// `method="GET",status="200"`
  let text: String

  init(_ dimensions: [(String, String)]) {
    var names: Set<String> = []
    text = dimensions.sorted { $0.0 < $1.0 }
      .map { (Self.name($0.0, isLabel: true), Self.escaped($0.1)) }
      .filter { names.insert($0.0).inserted }
      .map { "\($0)=\"\($1)\"" }.joined(separator: ",")
  }

  /// In braces, with one more label if there is one.
  func braced(_ more: String = "") -> String {
    let all = [text, more].filter { !$0.isEmpty }.joined(separator: ",")
    return all.isEmpty ? "" : "{\(all)}"
  }

  static func < (left: Self, right: Self) -> Bool { left.text < right.text }

  /// A name of the text format: ASCII letters, digits, `_`, and `:` in the names of metrics.
  static func name(_ name: String, isLabel: Bool = false) -> String {
    let characters = name.unicodeScalars.map { scalar -> Character in
      switch scalar {
      case "a"..."z", "A"..."Z", "0"..."9", "_": Character(scalar)
      case ":" where !isLabel: ":"
      default: "_"
      }
    }
    guard let first = characters.first, !first.isNumber else { return "_" + String(characters) }
    return String(characters)
  }

  static func escaped(_ text: String, quotes: Bool = true) -> String {
    var escaped = text.replacing("\\", with: "\\\\").replacing("\n", with: "\\n")
    if quotes { escaped = escaped.replacing("\"", with: "\\\"") }
    return escaped
  }
}

final class CounterSeries: CounterHandler, MetricSeries {
  private let value = Atomic<Int64>(0)

  func increment(by amount: Int64) { value.wrappingAdd(amount, ordering: .relaxed) }
  func reset() { value.store(0, ordering: .relaxed) }

  func write(_ name: String, _ labels: MetricLabels, to text: inout String) {
    text += "\(name)\(labels.braced()) \(value.load(ordering: .relaxed))\n"
  }
}

/// A number that goes up and down.
final class GaugeSeries: MeterHandler, RecorderHandler, MetricSeries {
  private let number = AtomicNumber()

  func set(_ value: Int64) { set(Double(value)) }
  func set(_ value: Double) { number.set(value) }
  func increment(by amount: Double) { number.add(amount) }
  func decrement(by amount: Double) { number.add(-amount) }
  func record(_ value: Int64) { set(value) }
  func record(_ value: Double) { set(value) }

  func write(_ name: String, _ labels: MetricLabels, to text: inout String) {
    text += "\(name)\(labels.braced()) \(number.text)\n"
  }
}

/// How many values there were, and their sum.
final class SummarySeries: RecorderHandler, MetricSeries {
  private let count = Atomic<Int64>(0)
  private let sum = AtomicNumber()

  func record(_ value: Int64) { record(Double(value)) }
  func record(_ value: Double) {
    count.wrappingAdd(1, ordering: .relaxed)
    sum.add(value)
  }

  func write(_ name: String, _ labels: MetricLabels, to text: inout String) {
    text += "\(name)_sum\(labels.braced()) \(sum.text)\n\(name)_count\(labels.braced()) \(count.load(ordering: .relaxed))\n"
  }
}

/// How many times were within each bound.
final class HistogramSeries: TimerHandler, MetricSeries {
  private let bounds: [Double]
  // The same in nanoseconds, so that recording needs no numbers with fractions.
  private let nanoseconds: [Int64]
  // One for each bound, and one for what is above the last.
  private let counts: [Count]
  private let sum = Atomic<Int64>(0)

  private final class Count: Sendable { let value = Atomic<Int64>(0) }

  init(_ bounds: [Double]) {
    self.bounds = bounds
    nanoseconds = bounds.map { $0 < 9e9 ? Int64($0 * 1e9) : .max }
    counts = (0...bounds.count).map { _ in Count() }
  }

  func recordNanoseconds(_ duration: Int64) {
    var bucket = 0
    while bucket < nanoseconds.count, duration > nanoseconds[bucket] { bucket += 1 }
    counts[bucket].value.wrappingAdd(1, ordering: .relaxed)
    sum.wrappingAdd(duration, ordering: .relaxed)
  }

  func write(_ name: String, _ labels: MetricLabels, to text: inout String) {
    var count: Int64 = 0
    for (bound, bucket) in zip(bounds.map { "\($0)" } + ["+Inf"], counts) {
      count += bucket.value.load(ordering: .relaxed)
      text += "\(name)_bucket\(labels.braced("le=\"\(bound)\"")) \(count)\n"
    }
    let seconds = Double(sum.load(ordering: .relaxed)) / 1e9
    text += "\(name)_sum\(labels.braced()) \(seconds)\n\(name)_count\(labels.braced()) \(count)\n"
  }
}

/// A floating-point number for several threads.
private final class AtomicNumber: Sendable {
  private let bits = Atomic<UInt64>(0)

  func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

  func add(_ amount: Double) {
    var old = bits.load(ordering: .relaxed)
    while true {
      let sum = (Double(bitPattern: old) + amount).bitPattern
      let (exchanged, original) = bits.weakCompareExchange(expected: old, desired: sum, ordering: .relaxed)
      if exchanged { return }
      old = original
    }
  }

  var text: String { metricText(Double(bitPattern: bits.load(ordering: .relaxed))) }
}

/// A number as the text format has it.
func metricText(_ value: Double) -> String {
  if value.isNaN { return "NaN" }
  if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
  return value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
}
