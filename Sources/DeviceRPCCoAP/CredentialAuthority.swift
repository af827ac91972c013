internal import CoAP
internal import Crypto
internal import DeviceRPC
internal import Logging
internal import Synchronization

/// Checks handshakes against the credentials of the devices, and tells in the log why one is refused.
final class CredentialAuthority: CoAPAuthority {
  private struct Budget {
    var second: UInt64 = 0
    var lines = 0
    var dropped = 0
  }

  // Anybody may try: what is told of it must not fill the disk.
  private static let linesPerSecond = 10

  private let credentials: any DeviceCredentials
  private let log: Logger
  private let budget = Mutex(Budget())

  init(_ credentials: any DeviceCredentials, log: Logger) {
    self.credentials = credentials
    self.log = log
  }

  func preSharedKey(of identity: String, from peer: CoAPAddress) -> [UInt8]? {
    guard let credential = usable(.preSharedKey, identity, from: peer) else { return nil }
    guard case .preSharedKey(let key) = credential.proof else { return nil }
    return key.bytes
  }

  func accepts(_ identity: CoAPIdentity, from peer: CoAPAddress) -> Bool {
    guard case .certificate(let name, let der) = identity,
      let credential = usable(.certificate, name, from: peer)
    else { return false }
    guard fits(credential, der) else {
      refuse(peer, name, "its certificate is not the one that is pinned")
      return false
    }
    return true
  }

  func handshakeFailed(from peer: CoAPAddress, identity: String?, reason: String) {
    refuse(peer, identity, reason)
  }

  private func usable(
    _ kind: DeviceCredential.Kind, _ identity: String, from peer: CoAPAddress
  ) -> DeviceCredential? {
    guard let credential = credentials.credential(kind, identity: identity) else {
      refuse(peer, identity, "there is no device of that identity")
      return nil
    }
    guard credential.isEnabled else {
      refuse(peer, identity, "the device is disabled")
      return nil
    }
    return credential
  }

  private func fits(_ credential: DeviceCredential, _ der: [UInt8]) -> Bool {
    guard case .certificate(let fingerprint) = credential.proof else { return false }
    guard let fingerprint else { return true }
    // SHA256.Digest compares in constant time.
    return SHA256.hash(data: der) == fingerprint
  }

  private func refuse(_ peer: CoAPAddress, _ identity: String?, _ reason: String) {
    let second = EventLoop.monotonic / 1_000_000_000
    let dropped: Int? = budget.withLock { budget in
      if budget.second != second { (budget.second, budget.lines) = (second, 0) }
      guard budget.lines < Self.linesPerSecond else {
        budget.dropped += 1
        return nil
      }
      budget.lines += 1
      defer { budget.dropped = 0 }
      return budget.dropped
    }
    guard let dropped else { return }
    var metadata: Logger.Metadata = ["address": "\(peer)", "reason": "\(Self.onOneLine(reason))"]
    if let identity { metadata["identity"] = "\(Self.onOneLine(identity))" }
    if dropped > 0 { metadata["not-shown"] = "\(dropped)" }
    log.notice("connection refused", metadata: metadata)
  }

  /// The peer chooses its identity and what is in its certificate, and might forge a line of the log with it.
  private static func onOneLine(_ text: String) -> String {
    text.unicodeScalars.reduce(into: "") { result, scalar in
      switch scalar.properties.generalCategory {
      case .control, .lineSeparator, .paragraphSeparator: result += scalar.escaped(asASCII: true)
      default: result.unicodeScalars.append(scalar)
      }
    }
  }

  // MARK: Sessions

  /// The device that a session has proved to be; nil when it has not, or may not any more.
  func credential(of identity: CoAPIdentity) -> DeviceCredential? {
    switch identity {
    case .preSharedKey(let name):
      return credentials.credential(.preSharedKey, identity: name).flatMap { $0.isEnabled ? $0 : nil }
    case .certificate(let name, let der):
      guard let credential = credentials.credential(.certificate, identity: name), credential.isEnabled,
        fits(credential, der)
      else { return nil }
      return credential
    }
  }
}
