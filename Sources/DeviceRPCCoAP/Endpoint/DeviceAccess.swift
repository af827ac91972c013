// Endpoint: what all dialects have in common: the routing of paths, who a device is and what it may answer, and its observations.
// The transport makes it. The dialects, each a room beside it, use it and are called by it.

internal import CoAP
internal import DeviceRPC

/// What dialects do with devices: the rules of names, of identity and of forbidden results.
struct DeviceAccess: Sendable {
  let directory: DeviceDirectory
  let identity: SenderIdentity
  private let numbers = ObserveNumbers()

  init(directory: DeviceDirectory, authority: CredentialAuthority?, credentials: (any DeviceCredentials)?) {
    self.directory = directory
    identity = SenderIdentity(authority: authority, tokens: AccessTokens(credentials))
  }

  // MARK: Names

  /// A request that is refused, with its response.
  struct Refusal: Error {
    let response: CoAPResponse
  }

  /// The name of the device whose calls a request asks for.
  func name(of request: CoAPRequest, on session: CoAPSession) throws(Refusal) -> String {
    let name: String
    do throws(ForbiddenSender) {
      name = try identity.named(by: request, on: session).name ?? session.address.description
    } catch {
      if error.isUnproved { identity.authority?.refuseUnproved(error.name, from: session.address) }
      throw Refusal(response: error.response)
    }
    if let problem = DeviceName.problem(with: name) {
      throw Refusal(response: .error(.badRequest, "ep, the name of the device, \(problem)"))
    }
    return name
  }

  /// The device that a request is from, by the access token in its path or, without one, by the proof of its session.
  func sender(token: String?, on session: CoAPSession) throws(Refusal) -> Sender {
    do throws(AccessTokens.Refusal) {
      if let token { return try identity.sender(token: token, on: session) }
    } catch {
      var response = CoAPResponse.error(error == .tooMany ? .tooManyRequests : .unauthorized, error.description)
      if error == .tooMany {
        response.maxAge = 1
      } else {
        identity.authority?.refuseToken(from: session.address, error.description)
      }
      throw Refusal(response: response)
    }
    guard let proved = CredentialAuthority.credential(of: session) else {
      throw Refusal(response: .error(.unauthorized, "without an access token in the path, a key or certificate is needed (DTLS, TLS)"))
    }
    return Sender(name: proved.device, isProved: true, link: nil)
  }

  // MARK: Observations

  /// Begins an observation, or continues it if it was registered before.
  ///
  /// - Parameters:
  ///   - credential: the access token that the request has.
  ///   - established: the response, which is sent before the first call.
  func observe(
    _ request: CoAPRequest, as name: String, by credential: DeviceCredential? = nil, _ form: any CallForm,
    established: CoAPResponse, on session: CoAPSession
  ) -> CoAPResponse? {
    let home = directory.home(of: name)
    if let earlier = session.observation(token: request.token), let link = earlier.owner as? ObservationLink, link.device != name {
      // The same registration with another name: the device of the old name no longer observes.
      session.drop(earlier, reason: .deregistered)
    }
    let link = ObservationLink(device: name, home: home, form: form, credential: credential, session: session)
    let sequence = form.firstNumber ?? numbers.first(of: name, now: session.loop.passTime)
    guard let observation = session.observe(request, owner: link, sequence: sequence, isConfirmable: form.isConfirmable) else {
      return .error(.serviceUnavailable, "too many observations from one address")
    }
    link.observation = observation
    var established = established
    established.observe = observation.sequence
    if home.driver === session.loop {
      guard home.assumeIsolated({ $0.observed(name, on: link, by: credential) }) else { return .error(.serviceUnavailable, Self.full) }
      session.loop.atEndOfPass { home.assumeIsolated { $0.ready(link) } }
      return established
    }
    // The calls of the home loop reach this loop after the response. Both steps run in one action: a call between `observed` and
    // `ready` would find the device unreachable.
    home.run { loop in
      guard loop.observed(name, on: link, by: credential) else { return link.end(Self.full) }
      loop.ready(link)
    }
    return established
  }

  private static let full = "the server takes no more devices at the moment"

  /// Ends the observation that a request has the token of, if there is one.
  func endObservation(_ request: CoAPRequest, on session: CoAPSession) {
    guard let observation = session.observation(token: request.token) else { return }
    session.drop(observation, reason: .deregistered)
  }

  /// Responds with the oldest waiting call, which is then with the device, or else with `empty`.
  func poll(
    _ name: String, _ form: any CallForm, else empty: CoAPResponse, _ request: CoAPRequest, on session: CoAPSession
  ) -> CoAPResponse? {
    answer(request, on: session, from: directory.home(of: name)) { loop in
      let call = loop.poll(name) { (call, id) throws(CallError) in try form.encode(call, id: id) }
      guard let call else { return empty }
      var response = CoAPResponse(.content, contentFormat: form.contentFormat, payload: call)
      response.isOnce = true
      return response
    }
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

  // MARK: Answers to calls

  /// Takes an answer, if its sender may give it.
  ///
  /// - Parameters:
  ///   - taken: the response when it was taken, or when there is no such call any more.
  ///   - known: the sender, if the dialect knows it by more than the session and `ep`.
  func take(
    _ result: DeviceAnswer, taken: CoAPCode, _ request: CoAPRequest, from known: Sender? = nil, on session: CoAPSession
  ) -> CoAPResponse? {
    if request.isOverRate { return takeIfAwaited(result, taken, request, from: known, on: session) }
    let sender: Sender
    do throws(ForbiddenSender) {
      if let known { sender = known } else { sender = try identity.sender(of: request, on: session) }
    } catch {
      let name = error.name
      home(ofCall: result.id, of: name).run { $0.forbid(result.id, from: name) }
      return error.response
    }
    if let link = sender.link {
      link.home.noteResult(id: result.id, status: result.status, detail: result.detail, on: link)
      return CoAPResponse(taken)
    }
    return take(result, taken, from: sender, request, on: session)
  }

  private func home(ofCall id: String, of name: String?) -> DeviceLoop {
    directory.loop(ofCall: id) ?? directory.home(of: name ?? "")
  }

  /// Handles a result of a sender that is known by proof, by the name that it gives, or not at all. A sender with proof may
  /// answer calls to its own device only. A sender without proof may not answer calls to devices that have credentials.
  private func take(
    _ result: DeviceAnswer, _ taken: CoAPCode, from sender: Sender, _ request: CoAPRequest, on session: CoAPSession
  ) -> CoAPResponse? {
    let id = result.id
    let home = home(ofCall: id, of: sender.name)
    guard identity.authority != nil else {
      home.run { $0.received(id: id, status: result.status, detail: result.detail, from: sender.name) }
      return CoAPResponse(taken)
    }
    return answer(request, on: session, from: home) { [identity] loop in
      if sender.isProved, let name = sender.name {
        return loop.received(id: id, status: result.status, detail: result.detail, proved: name)
          ? CoAPResponse(taken) : .error(.forbidden, "this call was made to another device")
      }
      if let called = loop.device(ofCall: id), identity.isReserved(called) {
        loop.forbid(id, from: sender.name)
        return .error(.forbidden, CredentialAuthority.unproved)
      }
      loop.received(id: id, status: result.status, detail: result.detail, from: sender.name)
      return CoAPResponse(taken)
    }
  }

  /// Handles a result above the rate limit: it is accepted if it ends an open call of its sender. Anything else is neither
  /// reported nor counted.
  private func takeIfAwaited(
    _ result: DeviceAnswer, _ taken: CoAPCode, _ request: CoAPRequest, from known: Sender?, on session: CoAPSession
  ) -> CoAPResponse? {
    guard let sender = known ?? (try? identity.sender(of: request, on: session)) else { return session.tooManyRequests() }
    let id = result.id
    return answer(request, on: session, from: home(ofCall: id, of: sender.name)) { [identity] loop in
      // Without proof, nothing is accepted about a call to a device that has credentials.
      if !sender.isProved, loop.device(ofCall: id).map(identity.isReserved) == true { return nil }
      return loop.receivedIfAwaited(id: id, status: result.status, detail: result.detail, from: sender.name)
        ? CoAPResponse(taken) : nil
    }
  }

  /// Reports an answer that cannot be read, and refuses it with that code.
  ///
  /// - Parameters:
  ///   - id: the id of the call, if that can be read.
  ///   - reason: what is wrong with it; the device is told.
  ///   - known: the sender, if the dialect knows it by more than the session and `ep`.
  func unreadable(
    _ id: String?, _ reason: String, _ code: CoAPCode, _ request: CoAPRequest, from known: Sender? = nil, on session: CoAPSession
  ) -> CoAPResponse {
    if request.isOverRate { return session.tooManyRequests() }
    let sender = known ?? (try? identity.sender(of: request, on: session))
    if let link = sender?.link {
      link.home.run { $0.unreadable(id: id, reason: reason, on: link) }
      return .error(code, reason)
    }
    let home = id.flatMap(directory.loop(ofCall:)) ?? directory.home(of: sender?.name ?? "")
    home.run { [identity] loop in
      // Without proof, nothing is accepted about a call to a device that has credentials.
      let called = sender?.isProved == true ? nil : id.flatMap(loop.device(ofCall:))
      let mayTell = sender != nil && called.map(identity.isReserved) != true
      loop.unreadable(id: mayTell ? id : nil, reason: reason, from: mayTell ? sender?.name : nil)
    }
    return .error(code, reason)
  }

  // MARK: Calls from devices

  /// Runs the function that a device calls, and responds with what `answer` makes of its result.
  func perform(
    _ call: DeviceRequest, _ request: CoAPRequest, on session: CoAPSession,
    answer: @escaping @Sendable (RPCValue) -> CoAPResponse
  ) {
    let requests = directory.requests
    Task {
      let response: CoAPResponse
      switch await requests.answer(call) {
      case .success(let value): response = answer(value)
      case .failure(let error): response = .error(CoAPCode(of: error), error.description)
      }
      session.loop.execute { session.respond(response, to: request) }
    }
  }
}

extension CoAPCode {
  /// What a device is told whose call has no result.
  fileprivate init(of error: DeviceRequestError) {
    self =
      switch error {
      case .unknownMethod: .notFound
      case .malformed, .invalidParams: .badRequest
      case .failed: .internalServerError
      case .deadlineExceeded: .gatewayTimeout
      case .tooMany: .tooManyRequests
      case .shuttingDown: .serviceUnavailable
      }
  }
}
