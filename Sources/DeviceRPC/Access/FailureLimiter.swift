internal import Synchronization

/// Slows down guessing: how many failures each key may have at once, such as each address; then one a second.
package final class FailureLimiter: Sendable {
  private struct Bucket {
    var left: Double
    var filled: Duration
  }

  private let burst: Double
  private let buckets = Mutex<[String: Bucket]>([:])
  // Beyond it, the keys whose buckets are full again are forgotten, and if there are none, all are.
  private static let mostRemembered = 10_000

  package init(burst: Int) { self.burst = Double(burst) }

  /// Whether another try of a key is looked at.
  ///
  /// - Parameter now: the time, on any clock that runs steadily.
  package func mayTry(_ key: String, now: Duration) -> Bool {
    buckets.withLock { buckets in buckets[key].map { left(in: $0, now) >= 1 } ?? true }
  }

  /// A try of a key has failed.
  package func note(_ key: String, now: Duration) {
    buckets.withLock { buckets in
      if buckets.count >= Self.mostRemembered, buckets[key] == nil {
        buckets = buckets.filter { left(in: $0.value, now) < burst }
        if buckets.count >= Self.mostRemembered { buckets = [:] }
      }
      let bucket = buckets[key] ?? Bucket(left: burst, filled: now)
      buckets[key] = Bucket(left: max(0, left(in: bucket, now) - 1), filled: now)
    }
  }

  private func left(in bucket: Bucket, _ now: Duration) -> Double {
    min(burst, bucket.left + max(0, (now - bucket.filled).seconds))
  }

  /// The keys that are remembered.
  package var remembered: Int { buckets.withLock(\.count) }
}
