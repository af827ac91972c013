internal import CoAP
internal import DeviceRPC
internal import Logging

/// Golioth's device API: `.rpc` to observe, `.rpc/status` for results, and what stock firmware sends besides.
final class GoliothEndpoint: CoAPHandler {
  private let directory: DeviceDirectory
  private let configuration: CoAPConfiguration
  private let authority: CredentialAuthority?
  private let log: Logger

  init(
    directory: DeviceDirectory, configuration: CoAPConfiguration, authority: CredentialAuthority?, log: Logger
  ) {
    self.directory = directory
    self.configuration = configuration
    self.authority = authority
    self.log = log
  }

  func sessionBegan(_ session: CoAPSession) {
    session.secured?.principal = session.secured.flatMap { authority?.credential(of: $0.identity) }
    // Revoked since the handshake began.
    if session.secured?.principal == nil { session.loop.atEndOfPass { session.close() } }
  }

  /// The device that the sender has proved to be; nil where nothing is proved.
  private func proved(_ session: CoAPSession) -> String? { (session.secured?.principal as? DeviceCredential)?.device }

  func heard(from session: CoAPSession) { link(of: session)?.heard() }

  // The attachment refers to the session, and would keep it.
  func sessionEnded(_ session: CoAPSession) { session.attachment = nil }

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
      // An error would be logged by the firmware, and that line sent here again.
      return deviceLog(request, on: session)
    case ".well-known/core":
      guard request.method == .get else { return .methodNotAllowed("GET only") }
      let links = "</.rpc>;ct=\"50 60\";obs,</.rpc/status>;ct=\"50 60\""
      return CoAPResponse(.content, contentFormat: .linkFormat, payload: Array(links.utf8))
    default:
      return .error(.notFound, "no such resource; devices observe /.rpc and POST to /.rpc/status")
    }
  }

  // MARK: Listening

  private func listen(_ request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    guard let format = GoliothCodec.Format(request.accept ?? .json) else {
      return .error(.notAcceptable, "calls are to be had as JSON (50) and CBOR (60)")
    }
    let proved = proved(session)
    let name = request.queryValue("ep") ?? proved ?? session.address.description
    if let problem = problem(withName: name) { return .error(.badRequest, problem) }
    if let proved, proved != name { return .error(.forbidden, "the credentials are those of another device than ep") }
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
    if name.isEmpty { return "ep, the name of the device, is empty" }
    if name.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) {
      return "ep, the name of the device, has a control character in it"
    }
    return nil
  }

  private func observe(
    _ request: CoAPRequest, _ name: String, _ format: GoliothCodec.Format, on session: CoAPSession
  ) -> CoAPResponse? {
    let home = directory.home(of: name)
    if let earlier = session.observation(token: request.token), let link = earlier.owner as? GoliothLink,
      link.device != name
    {
      // The same registration under another name: the device of the old name is gone.
      session.drop(earlier, reason: .deregistered)
    }
    let link = GoliothLink(
      device: name, home: home, format: format, settings: configuration.settings(for: name), session: session)
    guard let observation = session.observe(request, owner: link) else {
      return .error(.serviceUnavailable, "too many observations from one address")
    }
    link.observation = observation
    session.attachment = link
    // Firmware counts on this answer and drops a call in its place: calls follow as notifications.
    var established = CoAPResponse(
      .content, contentFormat: format.contentFormat, payload: GoliothCodec.established(format))
    established.observe = observation.sequence
    let answer = established
    if home.driver === session.loop {
      guard home.assumeIsolated({ $0.observed(name, on: link) }) else { return .full }
      session.loop.atEndOfPass { home.assumeIsolated { $0.ready(link) } }
      return answer
    }
    home.run { loop in
      guard loop.observed(name, on: link) else {
        return session.loop.execute {
          session.respond(.full, to: request)
          if let observation = session.observation(token: request.token), observation.owner === link {
            session.drop(observation, reason: .closed)
          }
        }
      }
      // Calls leave over the same queue, behind the answer. A call between observed and ready would find the device
      // out of reach.
      session.loop.execute { session.respond(answer, to: request) }
      loop.ready(link)
    }
    return nil
  }

  /// A GET without Observe takes the oldest waiting call away, or `OK`.
  private func poll(
    _ name: String, _ format: GoliothCodec.Format, _ request: CoAPRequest, on session: CoAPSession
  ) -> CoAPResponse? {
    let home = directory.home(of: name)
    let settings = configuration.settings(for: name)
    let ask = { @Sendable (loop: isolated DeviceLoop) -> CoAPResponse in
      let call = loop.poll(name) { (call, id) throws(CallError) in
        try GoliothCodec.encode(call, id: id, format: format, settings: settings)
      }
      return CoAPResponse(
        .content, contentFormat: format.contentFormat, payload: call ?? GoliothCodec.established(format))
    }
    if home.driver === session.loop { return home.assumeIsolated { ask($0) } }
    home.run { loop in
      let response = ask(loop)
      session.loop.execute { session.respond(response, to: request) }
    }
    return nil
  }

  // MARK: Results

  private func result(_ request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    let format: GoliothCodec.Format
    if let contentFormat = request.contentFormat {
      guard let known = GoliothCodec.Format(contentFormat) else {
        let reason = "a result is JSON (50) or CBOR (60), not \(contentFormat)"
        unreadable(nil, reason, request, on: session)
        return .error(.unsupportedContentFormat, reason)
      }
      format = known
    } else {
      // Without the option the receiver may look (RFC 7252 §5.5.1); no CBOR map begins like a JSON object.
      let first = request.payload.first { ![0x20, 0x09, 0x0a, 0x0d].contains($0) }
      format = first == UInt8(ascii: "{") ? .json : .cbor
    }
    let result: GoliothCodec.Result
    do throws(GoliothCodec.Malformed) {
      result = try GoliothCodec.decodeResult(request.payload, format: format)
    } catch {
      unreadable(error.id, error.diagnostic, request, on: session)
      return .error(.badRequest, error.diagnostic)
    }
    if let proved = proved(session) { return take(result, from: proved, request, on: session) }
    let name = request.queryValue("ep")
    if let link = link(of: session), name == nil || name == link.device {
      link.home.noteResult(id: result.id, status: result.status, detail: result.detail, on: link)
      return CoAPResponse(.changed)
    }
    // Without an observation of its own the sender is unknown, and the id alone says which call it means.
    let home = name.map(directory.home(of:)) ?? directory.loop(ofCall: result.id) ?? directory.loops[0]
    home.run { $0.received(id: result.id, status: result.status, detail: result.detail, from: name) }
    return CoAPResponse(.changed)
  }

  /// A result of whom we know: it counts only for calls to that device.
  private func take(
    _ result: GoliothCodec.Result, from device: String, _ request: CoAPRequest, on session: CoAPSession
  ) -> CoAPResponse? {
    let home = directory.loop(ofCall: result.id) ?? directory.home(of: device)
    let take = { @Sendable (loop: isolated DeviceLoop) -> CoAPResponse in
      loop.received(id: result.id, status: result.status, detail: result.detail, proved: device)
        ? CoAPResponse(.changed) : .error(.forbidden, "this call was made to another device")
    }
    if home.driver === session.loop { return home.onLoop { take($0) } }
    home.run { loop in
      let response = take(loop)
      session.loop.execute { session.respond(response, to: request) }
    }
    return nil
  }

  private func unreadable(_ id: String?, _ reason: String, _ request: CoAPRequest, on session: CoAPSession) {
    let name = proved(session) ?? request.queryValue("ep")
    if let link = link(of: session), name == nil || name == link.device {
      return link.home.run { $0.unreadable(id: id, reason: reason, on: link) }
    }
    let home = name.map(directory.home(of:)) ?? id.flatMap(directory.loop(ofCall:)) ?? directory.loops[0]
    home.run { $0.unreadable(id: id, reason: reason, from: name) }
  }

  // MARK: The rest of what firmware sends

  /// Golioth's keep-alive is a DELETE to no path; it waits for any response.
  private func keepAlive(_ request: CoAPRequest) -> CoAPResponse {
    switch request.method {
    case .delete: CoAPResponse(.deleted)
    case .get, .fetch: CoAPResponse(.content)
    default: CoAPResponse(.changed)
    }
  }

  private func deviceLog(_ request: CoAPRequest, on session: CoAPSession) -> CoAPResponse {
    if log.logLevel <= .debug, let format = GoliothCodec.Format(request.contentFormat ?? .cbor),
      let value = try? GoliothCodec.decode(request.payload, format: format)
    {
      log.debug(
        "device log",
        metadata: ["device": "\(link(of: session)?.device ?? session.address.description)", "line": "\(value)"])
    }
    return CoAPResponse(.changed)
  }

  private func link(of session: CoAPSession) -> GoliothLink? { session.attachment as? GoliothLink }
}

extension CoAPResponse {
  fileprivate static func methodNotAllowed(_ diagnostic: String) -> CoAPResponse {
    .error(.methodNotAllowed, diagnostic)
  }

  fileprivate static var full: CoAPResponse {
    .error(.serviceUnavailable, "the server takes no more devices at the moment")
  }
}
