internal import CoAP
internal import DeviceRPC

/// Who has sent a request, as far as it is known at this moment.
///
/// It is decided here alone, for every path of every dialect, from what the session has proved and the request says. Nothing
/// is remembered from earlier requests but the observations that are open now.
struct Sender {
  /// The device; nil when nothing says which it is.
  let name: String?
  /// Whether its session has proved to be that device.
  let isProved: Bool
  /// The observation of that device that is open on its session, where it has proved nothing.
  let link: GoliothLink?
}

/// A request in the name of a device that its sender may not speak for.
struct ForbiddenSender: Error {
  let name: String
  let reason: String
  /// It has proved nothing, and devices of this name have to.
  let isUnproved: Bool

  var response: CoAPResponse { .error(.forbidden, reason) }
}

struct SenderIdentity: Sendable {
  let authority: CredentialAuthority?

  /// Whether a device of this name must prove itself.
  func isReserved(_ name: String) -> Bool { authority?.knows(device: name) == true }

  /// The device that a request names, by the proof of its session or as `ep`.
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

  /// The same; a request that names nobody is taken for one of the device that observes from there, if there is only one.
  /// Of several, behind a gateway, names and ids say which is meant.
  func sender(of request: CoAPRequest, on session: CoAPSession) throws(ForbiddenSender) -> Sender {
    let sender = try named(by: request, on: session)
    guard sender.name == nil, let link = Self.link(of: nil, on: session) else { return sender }
    try mayBear(link.device)
    return Sender(name: link.device, isProved: false, link: link)
  }

  /// The device of a session, by its proof or because it is the only one that observes there; for people.
  static func device(of session: CoAPSession) -> String? {
    CredentialAuthority.credential(of: session)?.device ?? link(of: nil, on: session)?.device
  }

  private func mayBear(_ name: String) throws(ForbiddenSender) {
    if isReserved(name) { throw ForbiddenSender(name: name, reason: CredentialAuthority.unproved, isUnproved: true) }
  }

  /// The open observation of that device, or, without a name, of the only device that observes on this session.
  private static func link(of name: String?, on session: CoAPSession) -> GoliothLink? {
    var found: GoliothLink?
    for observation in session.observations {
      guard let link = observation.owner as? GoliothLink, name == nil || name == link.device else { continue }
      if let found, found.device != link.device { return nil }
      found = link
    }
    return found
  }
}
