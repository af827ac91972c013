/// Finds devices by their access tokens, and slows down guessing.
package final class AccessTokens: Sendable {
  /// Wrong tokens that may come from one host at once; then one a second may. A device whose token is long enough not to be guessed
  /// is let in all the same: others at its address, or who forge it, cannot keep it out.
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

  private struct Found {
    let credential: DeviceCredential
    let isStrong: Bool
    var isEnabled: Bool { credential.isEnabled }
  }

  private let credentials: (any DeviceCredentials)?
  private let failures = FailureLimiter(burst: burst)

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
    let found = AccessToken(token).flatMap { token in
      credentials.credential(.accessToken, identity: token.digest).map { Found(credential: $0, isStrong: token.isStrong) }
    }
    if let found, found.isEnabled, found.isStrong || isKnown(found.credential) { return (found.credential.device, found.credential) }
    // Nor is it told whether a short token, which could be guessed, is right.
    guard failures.take(host, now: now) else { throw .tooMany }
    if found?.isEnabled == true { failures.giveBack(host) }
    guard let found, DeviceName.problem(with: found.credential.device) == nil else {
      throw .unknown("the access token is that of no device")
    }
    guard found.isEnabled else { throw .unknown("the device is disabled") }
    return (found.credential.device, found.credential)
  }

  /// The hosts that are remembered.
  package var remembered: Int { failures.remembered }
}
