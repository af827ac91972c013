internal import Synchronization

/// How many requests each key may send in a second; as many may come at once.
///
/// A token bucket for each key. Keys that have not been used for a second have full buckets, so their entries are dropped.
final class RateLimiter: Sendable {
  private struct Bucket {
    var tokens: Double
    var filled: Duration
  }

  /// 0 for no limit.
  let perSecond: Int
  private let now: @Sendable () -> Duration
  private let buckets = Mutex<[String: Bucket]>([:])

  init(perSecond: Int, now: @escaping @Sendable () -> Duration) {
    self.perSecond = perSecond
    self.now = now
  }

  /// Nil when a request may be handled; otherwise the seconds after which to try again.
  func refuse(_ id: String) -> Int? {
    guard perSecond > 0 else { return nil }
    let now = now()
    let capacity = Double(perSecond)
    return buckets.withLock { buckets in
      if buckets.count > 10_000 { buckets = buckets.filter { now - $0.value.filled < .seconds(1) } }
      var bucket = buckets[id] ?? Bucket(tokens: capacity, filled: now)
      bucket.tokens = min(capacity, bucket.tokens + max(0, (now - bucket.filled).inSeconds) * capacity)
      bucket.filled = now
      defer { buckets[id] = bucket }
      guard bucket.tokens >= 1 else { return 1 }
      bucket.tokens -= 1
      return nil
    }
  }
}
