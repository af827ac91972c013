internal import CoAP
internal import Crypto
internal import DeviceRPC
internal import Logging
internal import Metrics
internal import Synchronization

/// Checks handshakes against the credentials of the devices, and logs why a handshake is refused.
final class CredentialAuthority: CoAPAuthority {
  private let credentials: any DeviceCredentials
  private let log: Logger
  private let refusals = Mutex(RefusalLog())
  private let refused = Counter(label: "device_rpc_refused_connections_total", dimensions: [("reason", "credentials")])

  init(_ credentials: any DeviceCredentials, log: Logger) {
    self.credentials = credentials
    self.log = log
  }

  func preSharedKey(of identity: String, from peer: CoAPAddress) -> (key: [UInt8], principal: any Sendable)? {
    guard let credential = usable(.preSharedKey, identity, from: peer) else { return nil }
    guard case .preSharedKey(let key) = credential.proof else { return nil }
    return (key.bytes, credential)
  }

  func principal(of identity: CoAPIdentity, from peer: CoAPAddress) -> (any Sendable)? {
    guard case .certificate(let name, let der) = identity,
      let credential = usable(.certificate, name, from: peer)
    else { return nil }
    guard fits(credential, der) else {
      refuse(peer, name, "its certificate is not the one that is pinned")
      return nil
    }
    return credential
  }

  func handshakeFailed(from peer: CoAPAddress, identity: String?, reason: String) {
    refuse(peer, identity, reason)
  }

  private func usable(
    _ kind: DeviceCredential.Kind, _ identity: String, from peer: CoAPAddress
  ) -> DeviceCredential? {
    // Checked before the lookup, since Swift treats texts as equal that differ in their bytes.
    if let problem = DeviceName.problem(with: identity) {
      refuse(peer, identity, "its identity \(problem)")
      return nil
    }
    guard let credential = credentials.credential(kind, identity: identity) else {
      refuse(peer, identity, "there is no device of that identity")
      return nil
    }
    if let problem = DeviceName.problem(with: credential.device) {
      refuse(peer, identity, "the name of its device \(problem)")
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
    refused.increment()
    let now = Duration.nanoseconds(Int64(clamping: EventLoop.monotonic))
    let line = refusals.withLock { $0.take(identity ?? peer.host, reason, now: now) }
    guard let line else { return }
    var metadata: Logger.Metadata = ["address": "\(peer)", "reason": "\(reason.onOneLine)"]
    if let identity { metadata["identity"] = "\(identity.onOneLine)" }
    if line.repeated > 0 { metadata["repeated"] = "\(line.repeated)" }
    if line.notShown > 0 { metadata["not-shown"] = "\(line.notShown)" }
    log.notice("connection refused", metadata: metadata)
  }

  // MARK: Sessions

  /// The credential with which a session has proved its device; nil when it has proved nothing.
  static func credential(of session: CoAPSession) -> DeviceCredential? { session.secured?.principal as? DeviceCredential }

  /// Why a credential that was used in a handshake is no longer valid; nil when it is unchanged.
  func objection(to credential: DeviceCredential) -> String? {
    let proof =
      switch credential.kind {
      case .preSharedKey: "key"
      case .certificate: "certificate"
      case .accessToken: "access token"
      }
    guard let current = credentials.credential(credential.kind, identity: credential.identity) else {
      return "its \(proof) was removed"
    }
    guard current.isEnabled else { return "it was disabled" }
    return current == credential ? nil : "its \(proof) was replaced"
  }

  /// Whether a device of this name must prove itself.
  func knows(device: String) -> Bool { credentials.knows(device: device) }

  /// Logs that a peer without proof has claimed to be the device of this name.
  func refuseUnproved(_ device: String, from peer: CoAPAddress) {
    refuse(peer, device, Self.unproved)
  }

  /// Logs that a request had no valid access token. The token itself is not logged.
  func refuseToken(from peer: CoAPAddress, _ reason: String) { refuse(peer, nil, reason) }

  static let unproved = "a device of this name must prove it, with its key or certificate (DTLS, TLS) or its access token"
}
