internal import CoAP
internal import DeviceRPC

/// The sender of a request, as far as it is known now.
///
/// This is the only place that decides it, for every path of every dialect, from the proof of the session and the request.
/// Nothing is remembered from earlier requests except the open observations.
struct Sender {
  /// The name of the device; nil when it is not known.
  let name: String?
  /// Whether the session has proved to be that device.
  let isProved: Bool
  /// The open observation of that device on its session, if the session has no proof.
  let link: ObservationLink?
  /// The access token that shows who it is, if it was one.
  var credential: DeviceCredential?
}

/// A request that names a device which its sender may not represent.
struct ForbiddenSender: Error {
  let name: String
  let reason: String
  /// The sender has no proof, and devices of this name need one.
  let isUnproved: Bool

  var response: CoAPResponse { .error(.forbidden, reason) }
}

struct SenderIdentity: Sendable {
  let authority: CredentialAuthority?
  let tokens: AccessTokens

  /// Whether a device of this name must prove itself.
  func isReserved(_ name: String) -> Bool { authority?.knows(device: name) == true }

  /// The device that a request names, by the proof of its session or by `ep`.
  func named(by request: CoAPRequest, on session: CoAPSession) throws(ForbiddenSender) -> Sender {
    let said = request.queryValue("ep")
    if let proved = CredentialAuthority.credential(of: session)?.device {
      guard said == nil || said == proved else {
        throw ForbiddenSender(
          name: proved, reason: "the credentials are those of another device than ep", isUnproved: false)
      }
      return Sender(name: proved, isProved: true, link: nil)
    }
    guard let said else { return Sender(name: nil, isProved: false, link: nil) }
    try mayBear(said)
    return Sender(name: said, isProved: false, link: Self.link(of: said, on: session))
  }

  /// The same, but a request that names no device is taken for one of the device that observes on the session, if there is only
  /// one. If several observe, behind a gateway, names and ids tell which one is meant.
  func sender(of request: CoAPRequest, on session: CoAPSession) throws(ForbiddenSender) -> Sender {
    let sender = try named(by: request, on: session)
    guard sender.name == nil, let link = Self.link(of: nil, on: session) else { return sender }
    try mayBear(link.device)
    return Sender(name: link.device, isProved: false, link: link)
  }

  /// The device of an access token. A session that has proved to be another device cannot use it.
  func sender(token: String, on session: CoAPSession) throws(AccessTokens.Refusal) -> Sender {
    let now = Duration.nanoseconds(Int64(clamping: session.loop.passTime))
    let (name, credential) = try tokens.device(token, from: session.address.host, now: now) { credential in
      session.observations.contains { ($0.owner as? ObservationLink)?.credential == credential }
    }
    if let proved = CredentialAuthority.credential(of: session)?.device, proved != name {
      throw .unknown("the access token is that of another device than the credentials")
    }
    return Sender(name: name, isProved: credential != nil, link: Self.link(of: name, on: session), credential: credential)
  }

  /// The device of a session, by its proof, or because only that one observes on it; for log lines.
  static func device(of session: CoAPSession) -> String? {
    CredentialAuthority.credential(of: session)?.device ?? link(of: nil, on: session)?.device
  }

  private func mayBear(_ name: String) throws(ForbiddenSender) {
    if isReserved(name) { throw ForbiddenSender(name: name, reason: CredentialAuthority.unproved, isUnproved: true) }
  }

  /// The open observation of that device; without a name, that of the only device that observes on this session.
  private static func link(of name: String?, on session: CoAPSession) -> ObservationLink? {
    var found: ObservationLink?
    for observation in session.observations {
      guard let link = observation.owner as? ObservationLink, name == nil || name == link.device else { continue }
      if let found, found.device != link.device { return nil }
      found = link
    }
    return found
  }
}
