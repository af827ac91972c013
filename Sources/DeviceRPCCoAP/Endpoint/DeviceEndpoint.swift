internal import CoAP
internal import DeviceRPC

/// Answers all requests on one loop: finds the dialect of a path, and reports what the sessions of devices do.
final class DeviceEndpoint: CoAPHandler, Sendable {
  private let dialects: [any Dialect]
  private let access: DeviceAccess
  let paths: [String]
  private let links: [UInt8]
  private let notFound: CoAPResponse

  init(dialects: [any Dialect], access: DeviceAccess) {
    self.dialects = dialects
    self.access = access
    paths = dialects.flatMap(\.paths) + [Self.core]
    links = Array(dialects.flatMap(\.links).joined(separator: ",").utf8)
    notFound = .error(.notFound, "no such resource; " + dialects.map(\.hint).joined(separator: "; "))
  }

  private static let core = ".well-known/core"

  func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    if let dialect = dialect(of: request) { return dialect.respond(to: request, on: session) }
    guard request.path == Self.core else { return notFound }
    guard request.method == .get else { return .methodNotAllowed("GET only") }
    return CoAPResponse(.content, contentFormat: .linkFormat, payload: links)
  }

  private func dialect(of request: CoAPRequest) -> (any Dialect)? { dialects.first { $0.owns(request.path) } }

  // MARK: Rate limit

  func mayExceedRate(_ request: CoAPRequest) -> Bool { dialect(of: request)?.mayExceedRate(request) ?? false }

  func refusedForRate(_ session: CoAPSession, isFirst: Bool) {
    access.directory.countRateLimitedRequest()
    guard isFirst else { return }
    notice(
      "more requests than it may send", of: session,
      [
        "device": SenderIdentity.device(of: session) ?? "not known",
        "requests-per-second": "\(session.requestsPerSecond)",
      ])
  }

  // MARK: Sessions

  func sessionBegan(_ session: CoAPSession) {
    guard let secured = session.secured else { return }
    guard let credential = CredentialAuthority.credential(of: session),
      access.identity.authority?.objection(to: credential) == nil
    else {
      // The credential was revoked since the handshake began.
      secured.principal = nil
      return session.loop.atEndOfPass { session.close() }
    }
    let address = session.address.description
    access.directory.home(of: credential.device).run { $0.proved(credential, at: address) }
  }

  func heard(from session: CoAPSession) {
    for observation in session.observations { (observation.owner as? ObservationLink)?.heard() }
  }

  func sessionEnded(_ session: CoAPSession) {
    guard let name = CredentialAuthority.credential(of: session)?.device else { return }
    let address = session.address.description
    access.directory.home(of: name).run { $0.provedNoMore(name, at: address) }
  }

  func responseWasCut(_ code: CoAPCode, on session: CoAPSession) {
    notice("a response did not fit a message to its peer", of: session, ["code": "\(code)"])
  }

  private func notice(_ message: String, of session: CoAPSession, _ metadata: [String: String]) {
    access.directory.peerLog?.notice(
      message, about: session.address.host, now: .nanoseconds(Int64(clamping: session.loop.passTime)),
      metadata.merging(["address": "\(session.address)"]) { $1 })
  }
}
