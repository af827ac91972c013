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

  /// Counts a try of a key as failed, until `giveBack(_:)`. False when there were too many: then it is not looked at.
  ///
  /// - Parameter now: the time, on any clock that runs steadily.
  package func take(_ key: String, now: Duration) -> Bool {
    buckets.withLock { buckets in
      if buckets.count >= Self.mostRemembered, buckets[key] == nil {
        buckets = buckets.filter { left(in: $0.value, now) < burst }
        if buckets.count >= Self.mostRemembered { buckets = [:] }
      }
      let tries = left(in: buckets[key] ?? Bucket(left: burst, filled: now), now)
      buckets[key] = Bucket(left: tries >= 1 ? tries - 1 : tries, filled: now)
      return tries >= 1
    }
  }

  /// The try has not failed.
  package func giveBack(_ key: String) {
    buckets.withLock { buckets in
      guard let bucket = buckets[key] else { return }
      buckets[key] = bucket.left + 1 >= burst ? nil : Bucket(left: bucket.left + 1, filled: bucket.filled)
    }
  }

  private func left(in bucket: Bucket, _ now: Duration) -> Double {
    min(burst, bucket.left + max(0, (now - bucket.filled).seconds))
  }

  /// The keys that are remembered.
  package var remembered: Int { buckets.withLock(\.count) }
}
