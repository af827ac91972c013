extension Duration {
  var seconds: Double {
    let (seconds, attoseconds) = components
    return Double(seconds) + Double(attoseconds) * 1e-18
  }

  var nanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? .max : scaled &+ attoseconds / 1_000_000_000
  }

  /// The duration for log lines and error messages: `1.5 s`, `230 ms`, `85 us`.
  package var readable: String {
    let (seconds, attoseconds) = components
    let microseconds = attoseconds / 1_000_000_000_000
    if seconds == 0 && microseconds < 1_000 { return "\(microseconds) us" }
    if seconds == 0 { return "\(microseconds / 1_000) ms" }
    let tenths = microseconds / 100_000
    return tenths == 0 ? "\(seconds) s" : "\(seconds).\(tenths) s"
  }
}
