internal import DeviceRPC
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import ServiceLifecycle

/// ThingsBoard's HTTP API for devices: `GET /api/v1/{token}/rpc` waits for a call, `POST /api/v1/{token}/rpc/{id}` has its result, and
/// `POST /api/v1/{token}/rpc` is a call to the server.
///
/// The statuses are ThingsBoard's. Its errors have no body; here they have a line of text that says what is wrong.
struct ThingsBoardDevices: Sendable {
  /// The time that a request waits for a call, and the longest, as ThingsBoard's (`DeviceApiController`).
  static let waits = (standard: Duration.seconds(60), longest: Duration.seconds(300))
  /// The longest body, as ThingsBoard's.
  static let bodyBytes = 65_536

  let api: ThingsBoardHTTP
  let polled: PolledDevices
  private let tokens: AccessTokens
  private let rates: RateLimiter
  private let gate: Gate
  private let deadline: Deadline
  private let now: @Sendable () -> Duration
  private let clock: any Clock<Duration>

  init(
    _ api: ThingsBoardHTTP, gate: Gate, deadline: Deadline, now: @escaping @Sendable () -> Duration, clock: any Clock<Duration>
  ) {
    self.api = api
    self.gate = gate
    self.deadline = deadline
    self.now = now
    self.clock = clock
    polled = PolledDevices(api.server.directory, limit: Self.bodyBytes)
    tokens = AccessTokens(api.credentials)
    rates = RateLimiter(perSecond: api.server.limits.requestsPerSecond, now: now)
  }

  /// Handles changes of the access tokens, until the task is cancelled.
  func watch() async {
    guard let credentials = api.credentials else { return }
    for await _ in credentials.changes() { polled.endRevoked(credentials) }
  }

  // MARK: Requests

  /// Why a request is refused.
  private struct Refusal: Error {
    let response: Response

    init(_ status: HTTPResponse.Status, _ text: String, retryAfter seconds: Int? = nil) {
      var response = Response(
        status: status, headers: [.contentType: "text/plain; charset=utf-8"], body: ResponseBody(byteBuffer: ByteBuffer(string: "\(text)\n")))
      if let seconds { response.headers[.retryAfter] = "\(seconds)" }
      self.response = response
    }
  }

  private struct Sender {
    let name: String
    let credential: DeviceCredential?
    let host: String
    let address: String
    /// Seconds after which to try again, for a device that sends more than it may.
    let refusedFor: Int?
  }

  func add<Context: RemoteAddressRequestContext>(to router: some RouterMethods<Context>) {
    let calls: RouterPath = "/api/v1/{token}/rpc"
    let results: RouterPath = "/api/v1/{token}/rpc/{id}"
    router.on(calls, method: .get) { request, context in await respond(request, context, poll) }
    router.on(calls, method: .post) { request, context in await respond(request, context, call) }
    router.on(results, method: .post) { request, context in await respond(request, context, result) }
    for method in DeviceRPCRoutes.methods {
      // HEAD, too: it would take a call.
      if method != .get && method != .post { refuse(method, calls, "GET, POST", router) }
      if method != .post { refuse(method, results, "POST", router) }
    }
  }

  private func refuse<Context: RequestContext>(
    _ method: HTTPRequest.Method, _ path: RouterPath, _ allowed: String, _ router: some RouterMethods<Context>
  ) {
    router.on(path, method: method) { _, _ in
      var response = Refusal(.methodNotAllowed, "This path has \(allowed).").response
      response.headers[.allow] = allowed
      return response
    }
  }

  private func respond<Context: RemoteAddressRequestContext>(
    _ request: Request, _ context: Context,
    _ handler: (Request, Parameters, Sender) async throws(Refusal) -> Response
  ) async -> Response {
    do throws(Refusal) {
      let sender = try await sender(of: request, context.parameters, context.remoteAddress)
      return try await handler(request, context.parameters, sender)
    } catch {
      return error.response
    }
  }

  private func sender(
    of request: Request, _ parameters: Parameters, _ address: SocketAddress?
  ) async throws(Refusal) -> Sender {
    do throws(Problem) {
      _ = try await gate.admit(request, .nothing)
    } catch {
      throw Refusal(error.kind.status, error.detail)
    }
    let host = address?.ipAddress ?? ""
    let token = parameters.get("token")?.removingPercentEncoding ?? ""
    let directory = api.server.directory
    let device: (name: String, credential: DeviceCredential?)
    do throws(AccessTokens.Refusal) {
      device = try tokens.device(token, from: host, now: now()) { polled.isConnected($0, from: host) }
    } catch {
      if error == .tooMany { throw Refusal(.tooManyRequests, "\(error)", retryAfter: 1) }
      directory.peerLog?.notice(
        "device refused over HTTP", about: host, now: now(), ["address": host, "reason": "\(error)"])
      throw Refusal(.unauthorized, "\(error)")
    }
    // Without tokens nothing tells a device from a web page that somebody else has made.
    guard device.credential != nil || request.headers[.origin] == nil else { throw Refusal(.forbidden, "Web pages are no devices.") }
    return Sender(
      name: device.name, credential: device.credential, host: host, address: address.map { "\(host):\($0.port ?? 0)" } ?? host,
      refusedFor: rates.refuse(device.name))
  }

  private func refuseAboveRate(_ sender: Sender) throws(Refusal) {
    guard let seconds = sender.refusedFor else { return }
    api.server.directory.countRateLimitedRequest()
    throw Refusal(.tooManyRequests, "At most \(rates.perSecond) requests a second.", retryAfter: seconds)
  }

  // MARK: Calls to the device

  private func poll(_ request: Request, _ parameters: Parameters, _ sender: Sender) async throws(Refusal) -> Response {
    try refuseAboveRate(sender)
    var time = Self.waits.standard
    if let text = request.uri.queryParameters.get("timeout") {
      guard let milliseconds = Int64(text), milliseconds >= 0 else {
        throw Refusal(.badRequest, "timeout is a number of milliseconds, 0 to \(Self.waits.longest.inSeconds * 1_000).")
      }
      time = min(.milliseconds(milliseconds), Self.waits.longest)
    }
    guard let link = await polled.link(sender.name, sender.credential, at: sender.address, sender.host) else {
      throw Refusal(.serviceUnavailable, "The server takes no more devices at the moment.", retryAfter: 10)
    }
    var response: Response
    switch await next(on: link, request, sender, time) {
    case .call(let payload):
      response = Response(
        status: .ok, headers: [.contentType: "application/json", .cacheControl: "no-store"],
        body: ResponseBody(byteBuffer: ByteBuffer(bytes: payload)))
    // Without a body, as ThingsBoard's: nothing is wrong.
    case .none: response = Response(status: .requestTimeout)
    case .ended(let reason): response = Refusal(.serviceUnavailable, "The connection was ended: \(reason).", retryAfter: 5).response
    }
    // A connection that is watched, so that no call goes to a device that has left, can have no other request after this one.
    response.headers[.connection] = "close"
    return response
  }

  /// Waits until there is a call, the time is over, or the device goes away.
  private func next(on link: PolledLink, _ request: Request, _ sender: Sender, _ time: Duration) async -> PolledLink.Answer {
    let (clock, address) = (clock, sender.address)
    let wait = Task { await link.next(from: address, waiting: time, clock) }
    return await withTaskCancellationOrGracefulShutdownHandler {
      do {
        return try await request.body.consumeWithInboundCloseHandler { _ in await wait.value } onInboundClosed: { wait.cancel() }
      } catch {
        return await wait.value
      }
    } onCancelOrGracefulShutdown: {
      wait.cancel()
    }
  }

  private func result(_ request: Request, _ parameters: Parameters, _ sender: Sender) async throws(Refusal) -> Response {
    let id = parameters.get("id").flatMap(\.removingPercentEncoding) ?? ""
    guard ThingsBoardMessage.isID(id) else { throw Refusal(.badRequest, "The id of a call is a whole number.") }
    let bytes = try await body(of: request)
    var detail: RPCValue?
    do throws(JSONError) {
      detail = try ThingsBoardMessage.result(bytes)
    } catch {
      // Any text is taken, as by ThingsBoard.
      detail = .string(String(decoding: bytes, as: UTF8.self))
    }
    polled.heard(sender.name, from: sender.address)
    let directory = api.server.directory
    let home = directory.loop(ofCall: id) ?? directory.home(of: sender.name)
    if sender.refusedFor != nil {
      // The result of an open call is taken all the same, since the device may not send it a second time.
      let isTaken = await home.receivedIfAwaited(id: id, status: .ok, detail: detail, from: sender.name)
      if !isTaken { try refuseAboveRate(sender) }
      return Response(status: .ok)
    }
    guard await home.take(id, detail, from: sender.name, isProved: sender.credential != nil) else {
      throw Refusal(.forbidden, "This call was made to another device.")
    }
    return Response(status: .ok)
  }

  // MARK: Calls from the device

  private func call(_ request: Request, _ parameters: Parameters, _ sender: Sender) async throws(Refusal) -> Response {
    try refuseAboveRate(sender)
    let bytes = try await body(of: request)
    polled.heard(sender.name, from: sender.address)
    do throws(DeviceRequestError) {
      let call = try ThingsBoardMessage.request(bytes, from: sender.name)
      return .json(try await api.server.directory.requests.answer(call).get())
    } catch {
      throw Refusal(error.httpStatus, error.description, retryAfter: error.httpStatus == .tooManyRequests ? 1 : nil)
    }
  }

  private func body(of request: Request) async throws(Refusal) -> [UInt8] {
    do {
      let bytes = try await deadline.run { [body = request.body] in Array(buffer: try await body.collect(upTo: Self.bodyBytes)) }
      guard let bytes else { throw Refusal(.requestTimeout, "The request did not arrive in time.") }
      return bytes
    } catch is NIOTooManyBytesError {
      throw Refusal(.contentTooLarge, "A body may have \(Self.bodyBytes) bytes at most.")
    } catch let refusal as Refusal {
      throw refusal
    } catch {
      throw Refusal(.badRequest, "The body could not be read.")
    }
  }
}

extension DeviceLoop {
  /// Takes the result of a call. False, and it is ignored, if the call was made to another device.
  fileprivate func take(_ id: String, _ detail: RPCValue?, from name: String, isProved: Bool) -> Bool {
    if isProved { return received(id: id, status: .ok, detail: detail, proved: name) }
    received(id: id, status: .ok, detail: detail, from: name)
    return true
  }
}

extension DeviceRequestError {
  fileprivate var httpStatus: HTTPResponse.Status {
    switch self {
    case .malformed, .invalidParams: .badRequest
    case .unknownMethod: .notFound
    case .failed: .internalServerError
    // As ThingsBoard has it.
    case .deadlineExceeded: .requestTimeout
    case .tooMany: .tooManyRequests
    case .shuttingDown: .serviceUnavailable
    }
  }
}
