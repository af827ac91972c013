internal import CoAP
internal import DeviceRPC
internal import Logging

/// Golioth's device API: `.rpc` to observe, `.rpc/status` for results, and what else stock firmware sends.
final class GoliothEndpoint: CoAPHandler, Sendable {
  private let directory: DeviceDirectory
  private let configuration: CoAPConfiguration
  private let identity: SenderIdentity
  private let numbers: ObserveNumbers
  private let log: Logger

  init(
    directory: DeviceDirectory, configuration: CoAPConfiguration, authority: CredentialAuthority?, numbers: ObserveNumbers,
    log: Logger
  ) {
    self.directory = directory
    self.configuration = configuration
    identity = SenderIdentity(authority: authority)
    self.numbers = numbers
    self.log = log
  }

  let paths = [".rpc", ".rpc/status", ".s/logs", ".well-known/core"]

  func sessionBegan(_ session: CoAPSession) {
    guard let secured = session.secured else { return }
    guard let credential = CredentialAuthority.credential(of: session),
      identity.authority?.objection(to: credential) == nil
    else {
      // The credential was revoked since the handshake began.
      secured.principal = nil
      return session.loop.atEndOfPass { session.close() }
    }
    let address = session.address.description
    directory.home(of: credential.device).run { $0.proved(credential, at: address) }
  }

  func heard(from session: CoAPSession) {
    for observation in session.observations { (observation.owner as? GoliothLink)?.heard() }
  }

  func sessionEnded(_ session: CoAPSession) {
    guard let name = CredentialAuthority.credential(of: session)?.device else { return }
    let address = session.address.description
    directory.home(of: name).run { $0.provedNoMore(name, at: address) }
  }

  func responseWasCut(_ code: CoAPCode, on session: CoAPSession) {
    notice("a response did not fit a message to its peer", of: session, ["code": "\(code)"])
  }

  private func notice(_ message: String, of session: CoAPSession, _ metadata: [String: String]) {
    directory.peerLog?.notice(
      message, about: session.address.host, now: .nanoseconds(Int64(clamping: session.loop.passTime)),
      metadata.merging(["address": "\(session.address)"]) { $1 })
  }

  func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    switch request.path {
    case ".rpc/status":
      guard request.method == .post else { return .methodNotAllowed("POST results here") }
      return result(request, on: session)
    case ".rpc":
      guard request.method == .get else {
        return .methodNotAllowed("GET with Observe here, POST results to /.rpc/status")
      }
      return listen(request, on: session)
    case "":
      return keepAlive(request)
    case ".s/logs":
      // Always a success response: firmware would log an error, and send that line here, too.
      return deviceLog(request, on: session)
    case ".well-known/core":
      guard request.method == .get else { return .methodNotAllowed("GET only") }
      let links = "</.rpc>;ct=\"50 60\";obs,</.rpc/status>;ct=\"50 60\""
      return CoAPResponse(.content, contentFormat: .linkFormat, payload: Array(links.utf8))
    default:
      return .error(.notFound, "no such resource; devices observe /.rpc and POST to /.rpc/status")
    }
  }

  // MARK: Rate limit

  func mayExceedRate(_ request: CoAPRequest) -> Bool {
    request.path == ".s/logs" || (request.path == ".rpc/status" && request.method == .post)
  }

  func refusedForRate(_ session: CoAPSession, isFirst: Bool) {
    directory.countRateLimitedRequest()
    guard isFirst else { return }
    notice(
      "more requests than it may send", of: session,
      [
        "device": SenderIdentity.device(of: session) ?? "not known",
        "requests-per-second": "\(session.requestsPerSecond)",
      ])
  }

  // MARK: Observations

  private func listen(_ request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    guard let format = GoliothCodec.Format(request.accept ?? .json) else {
      return .error(.notAcceptable, "calls are to be had as JSON (50) and CBOR (60)")
    }
    let name: String
    do throws(ForbiddenSender) {
      name = try identity.named(by: request, on: session).name ?? session.address.description
    } catch {
      if error.isUnproved { identity.authority?.refuseUnproved(error.name, from: session.address) }
      return error.response
    }
    if let problem = problem(withName: name) { return .error(.badRequest, problem) }
    switch request.observe {
    case 0: return observe(request, name, format, on: session)
    case 1:
      if let observation = session.observation(token: request.token) {
        session.drop(observation, reason: .deregistered)
      }
      return CoAPResponse(.content, contentFormat: format.contentFormat, payload: GoliothCodec.established(format))
    default: return poll(name, format, request, on: session)
    }
  }

  private func problem(withName name: String) -> String? {
    DeviceName.problem(with: name).map { "ep, the name of the device, \($0)" }
  }

  private func observe(
    _ request: CoAPRequest, _ name: String, _ format: GoliothCodec.Format, on session: CoAPSession
  ) -> CoAPResponse? {
    let home = directory.home(of: name)
    if let earlier = session.observation(token: request.token), let link = earlier.owner as? GoliothLink,
      link.device != name
    {
      // The same registration with another name: the device of the old name no longer observes.
      session.drop(earlier, reason: .deregistered)
    }
    let link = GoliothLink(
      device: name, home: home, format: format, settings: configuration.settings(for: name), session: session)
    let sequence = numbers.first(of: name, now: session.loop.passTime)
    guard let observation = session.observe(request, owner: link, sequence: sequence) else {
      return .error(.serviceUnavailable, "too many observations from one address")
    }
    link.observation = observation
    // Firmware requires this response, and would drop a call sent instead; calls follow as notifications.
    var established = CoAPResponse(
      .content, contentFormat: format.contentFormat, payload: GoliothCodec.established(format))
    established.observe = observation.sequence
    if home.driver === session.loop {
      guard home.assumeIsolated({ $0.observed(name, on: link) }) else { return .error(.serviceUnavailable, Self.full) }
      session.loop.atEndOfPass { home.assumeIsolated { $0.ready(link) } }
      return established
    }
    // The calls of the home loop reach this loop after the response. Both steps run in one action: a call between `observed` and
    // `ready` would find the device unreachable.
    home.run { loop in
      guard loop.observed(name, on: link) else { return link.end(Self.full) }
      loop.ready(link)
    }
    return established
  }

  private static let full = "the server takes no more devices at the moment"

  /// A GET without Observe returns the oldest waiting call, or else `OK`.
  private func poll(
    _ name: String, _ format: GoliothCodec.Format, _ request: CoAPRequest, on session: CoAPSession
  ) -> CoAPResponse? {
    let home = directory.home(of: name)
    let settings = configuration.settings(for: name)
    let ask = { @Sendable (loop: isolated DeviceLoop) -> CoAPResponse? in
      let call = loop.poll(name) { (call, id) throws(CallError) in
        try GoliothCodec.encode(call, id: id, format: format, settings: settings)
      }
      var response = CoAPResponse(
        .content, contentFormat: format.contentFormat, payload: call ?? GoliothCodec.established(format))
      response.isOnce = call != nil
      return response
    }
    return answer(request, on: session, from: home, ask)
  }

  /// Responds with the result of `ask` on the home loop, at once if that is the session's loop; nil results in 4.29.
  private func answer(
    _ request: CoAPRequest, on session: CoAPSession, from home: DeviceLoop,
    _ ask: @escaping @Sendable (isolated DeviceLoop) -> CoAPResponse?
  ) -> CoAPResponse? {
    if home.driver === session.loop {
      var response: CoAPResponse?
      home.onLoop { response = ask($0) }
      return response ?? session.tooManyRequests()
    }
    home.run { loop in
      let response = ask(loop)
      session.loop.execute { session.respond(response ?? session.tooManyRequests(), to: request) }
    }
    return nil
  }

  // MARK: Results

  private func result(_ request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    let format: GoliothCodec.Format
    if let contentFormat = request.contentFormat {
      guard let known = GoliothCodec.Format(contentFormat) else {
        if request.isOverRate { return session.tooManyRequests() }
        let reason = "a result is JSON (50) or CBOR (60), not \(contentFormat)"
        unreadable(nil, reason, request, on: session)
        return .error(.unsupportedContentFormat, reason)
      }
      format = known
    } else {
      // Without the option the receiver may inspect the payload (RFC 7252 §5.5.1); no CBOR map begins like a JSON object.
      let first = request.payload.first { ![0x20, 0x09, 0x0a, 0x0d].contains($0) }
      format = first == UInt8(ascii: "{") ? .json : .cbor
    }
    let result: GoliothCodec.Result
    do throws(GoliothCodec.Malformed) {
      result = try GoliothCodec.decodeResult(request.payload, format: format)
    } catch {
      if request.isOverRate { return session.tooManyRequests() }
      unreadable(error.id, error.diagnostic, request, on: session)
      return .error(.badRequest, error.diagnostic)
    }
    if request.isOverRate { return takeIfAwaited(result, request, on: session) }
    let sender: Sender
    do throws(ForbiddenSender) {
      sender = try identity.sender(of: request, on: session)
    } catch {
      let name = error.name
      home(ofCall: result.id, of: name).run { $0.forbid(result.id, from: name) }
      return error.response
    }
    if let link = sender.link {
      link.home.noteResult(id: result.id, status: result.status, detail: result.detail, on: link)
      return CoAPResponse(.changed)
    }
    return take(result, from: sender, request, on: session)
  }

  private func home(ofCall id: String, of name: String?) -> DeviceLoop {
    directory.loop(ofCall: id) ?? directory.home(of: name ?? "")
  }

  /// Handles a result of a sender that is known by proof, by the name that it gives, or not at all. A sender with proof may
  /// answer calls to its own device only. A sender without proof may not answer calls to devices that have credentials.
  private func take(
    _ result: GoliothCodec.Result, from sender: Sender, _ request: CoAPRequest, on session: CoAPSession
  ) -> CoAPResponse? {
    let id = result.id
    let home = home(ofCall: id, of: sender.name)
    guard identity.authority != nil else {
      home.run { $0.received(id: id, status: result.status, detail: result.detail, from: sender.name) }
      return CoAPResponse(.changed)
    }
    return answer(request, on: session, from: home) { [identity] loop in
      if sender.isProved, let name = sender.name {
        return loop.received(id: id, status: result.status, detail: result.detail, proved: name)
          ? CoAPResponse(.changed) : .error(.forbidden, "this call was made to another device")
      }
      if let called = loop.device(ofCall: id), identity.isReserved(called) {
        loop.forbid(id, from: sender.name)
        return .error(.forbidden, CredentialAuthority.unproved)
      }
      loop.received(id: id, status: result.status, detail: result.detail, from: sender.name)
      return CoAPResponse(.changed)
    }
  }

  /// Handles a result above the rate limit: it is accepted if it ends an open call of its sender. Anything else is neither
  /// reported nor counted.
  private func takeIfAwaited(
    _ result: GoliothCodec.Result, _ request: CoAPRequest, on session: CoAPSession
  ) -> CoAPResponse? {
    guard let sender = try? identity.sender(of: request, on: session) else { return session.tooManyRequests() }
    let id = result.id
    return answer(request, on: session, from: home(ofCall: id, of: sender.name)) { [identity] loop in
      // Without proof, nothing is accepted about a call to a device that has credentials.
      if !sender.isProved, loop.device(ofCall: id).map(identity.isReserved) == true { return nil }
      return loop.receivedIfAwaited(id: id, status: result.status, detail: result.detail, from: sender.name)
        ? CoAPResponse(.changed) : nil
    }
  }

  private func unreadable(_ id: String?, _ reason: String, _ request: CoAPRequest, on session: CoAPSession) {
    let sender = try? identity.sender(of: request, on: session)
    if let link = sender?.link { return link.home.run { $0.unreadable(id: id, reason: reason, on: link) } }
    let home = id.flatMap(directory.loop(ofCall:)) ?? directory.home(of: sender?.name ?? "")
    home.run { [identity] loop in
      // Without proof, nothing is accepted about a call to a device that has credentials.
      let called = sender?.isProved == true ? nil : id.flatMap(loop.device(ofCall:))
      let mayTell = sender != nil && called.map(identity.isReserved) != true
      loop.unreadable(id: mayTell ? id : nil, reason: reason, from: mayTell ? sender?.name : nil)
    }
  }

  // MARK: Other requests

  /// Golioth's keep-alive is a DELETE without a path; any response will do.
  private func keepAlive(_ request: CoAPRequest) -> CoAPResponse {
    switch request.method {
    case .delete: CoAPResponse(.deleted)
    case .get, .fetch: CoAPResponse(.content)
    default: CoAPResponse(.changed)
    }
  }

  private func deviceLog(_ request: CoAPRequest, on session: CoAPSession) -> CoAPResponse {
    if request.isOverRate {
      directory.countDroppedLog()
    } else if log.logLevel <= .debug, let format = GoliothCodec.Format(request.contentFormat ?? .cbor),
      let value = try? GoliothCodec.decode(request.payload, format: format)
    {
      let name = (try? identity.sender(of: request, on: session))?.name ?? session.address.description
      log.debug("device log", metadata: ["device": "\(name.onOneLine)", "line": "\("\(value)".cut())"])
    }
    return CoAPResponse(.changed)
  }
}

extension CoAPResponse {
  fileprivate static func methodNotAllowed(_ diagnostic: String) -> CoAPResponse {
    .error(.methodNotAllowed, diagnostic)
  }
}
