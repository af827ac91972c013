internal import Synchronization

/// Finds devices by their access tokens, and slows down guessing.
package final class AccessTokens: Sendable {
  /// Wrong tokens that may come from one host at once. Then one a second may, and further requests are refused unread.
  package static let burst = 10

  /// Why a request is refused.
  package enum Refusal: Error, Sendable, Hashable, CustomStringConvertible {
    /// The token is that of no device, or of one that must not connect.
    case unknown(String)
    /// Too many wrong tokens have come from this host.
    case tooMany

    package var description: String {
      switch self {
      case .unknown(let reason): reason
      case .tooMany: "too many wrong access tokens from this address; try again later"
      }
    }
  }

  private struct Bucket {
    var left: Double
    var filled: Duration
  }

  private let credentials: (any DeviceCredentials)?
  private let buckets = Mutex<[String: Bucket]>([:])
  // Beyond it, the hosts whose buckets are full again are forgotten, and if there are none, all are.
  private static let mostRemembered = 10_000

  /// - Parameter credentials: the credentials of all devices. Nil for a server that has none, which takes a token as the name of the
  ///   device.
  package init(_ credentials: (any DeviceCredentials)?) { self.credentials = credentials }

  /// The name of the device of a token, and its credential.
  ///
  /// - Parameters:
  ///   - host: where the request comes from, without the port.
  ///   - now: the time, on any clock that runs steadily.
  ///   - isKnown: whether a credential was used before by the very same sender, for whom others' wrong tokens do not count.
  package func device(
    _ token: String, from host: String, now: Duration, isKnown: (DeviceCredential) -> Bool = { _ in false }
  ) throws(Refusal) -> (name: String, credential: DeviceCredential?) {
    guard let credentials else {
      if let problem = DeviceName.problem(with: token) { throw .unknown("the token, here the name of the device, \(problem)") }
      return (token, nil)
    }
    let found = AccessToken(token).flatMap { credentials.credential(.accessToken, identity: $0.digest) }
    if let found, found.isEnabled, isKnown(found) { return (found.device, found) }
    guard mayTry(host, now: now, isWrong: found?.isEnabled != true) else { throw .tooMany }
    guard let found, DeviceName.problem(with: found.device) == nil else { throw .unknown("the access token is that of no device") }
    guard found.isEnabled else { throw .unknown("the device is disabled") }
    return (found.device, found)
  }

  /// The hosts that are remembered.
  package var remembered: Int { buckets.withLock(\.count) }

  // Takes one from the host's bucket for a wrong token.
  private func mayTry(_ host: String, now: Duration, isWrong: Bool) -> Bool {
    buckets.withLock { buckets in
      let full = Double(Self.burst)
      guard let bucket = buckets[host] ?? (isWrong ? Bucket(left: full, filled: now) : nil) else { return true }
      let left = min(full, bucket.left + max(0, (now - bucket.filled).seconds))
      if !isWrong, left >= 1 { return true }
      if buckets.count >= Self.mostRemembered, buckets[host] == nil {
        buckets = buckets.filter { $0.value.left + (now - $0.value.filled).seconds < full }
        if buckets.count >= Self.mostRemembered { buckets = [:] }
      }
      buckets[host] = Bucket(left: left >= 1 ? left - 1 : left, filled: now)
      return left >= 1
    }
  }
}
