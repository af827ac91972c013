internal import DeviceRPC
internal import HTTPTypes
internal import Hummingbird
internal import Logging

/// Calls: to begin one, look at it, wait for it, cancel it.
struct CallRoutes: Sendable {
  let known: KnownDevices
  let idempotency: IdempotencyKeys
  let limits: HTTPLimits
  let audit: AuditLog

  private var caller: any DeviceCaller { known.caller }

  var routes: [APIRoute] {
    [
      APIRoute(
        method: .post, path: "/v1/devices/{device}/calls", need: .key,
        description: RouteDescription(
          name: "createCall", summary: "Call a function on a device.",
          parameters: [Self.device, Self.prefer, Self.idempotencyKey],
          body: "CallRequest",
          responses: [
            (200, "The device has answered, with any status, or has acknowledged a one-way call.", "Call"),
            (202, "The call is open, or is kept. Location is where it can be looked at.", "Call"),
          ],
          problems: [
            .forbidden, .unknownDevice, .offline, .invalidCall, .limitExceeded, .notSent, .undelivered, .unconfirmed,
            .unanswered, .rejected, .unreadable, .revoked, .cancelled, .shuttingDown, .notKept, .expired, .idempotencyKeyReused,
          ]),
        handler: create),
      APIRoute(
        method: .get, path: "/v1/devices/{device}/calls", need: .key,
        description: RouteDescription(
          name: "listCalls", summary: "List the calls of a device, newest first.",
          parameters: [
            Self.device, Self.state, .query("limit", "The number of calls, at most.", Schemas.limit),
            .query("after", "The id of the last call of the page before.", Schemas.callID),
          ],
          responses: [(200, "The calls. A Link header leads to the next page, if there is one.", "CallList")],
          problems: [.forbidden]),
        handler: list),
      APIRoute(
        method: .get, path: "/v1/calls", need: .key,
        description: RouteDescription(
          name: "listAllCalls", summary: "List calls, newest first: all that the key may read.",
          parameters: [
            .query("device", "Only calls of this device."), Self.state,
            .query("limit", "The number of calls, at most.", Schemas.limit),
            .query("after", "The id of the last call of the page before.", Schemas.callID),
          ],
          responses: [(200, "The calls. A Link header leads to the next page, if there is one.", "CallList")]),
        handler: list),
      APIRoute(
        method: .get, path: "/v1/calls/{id}", need: .key,
        description: RouteDescription(
          name: "getCall", summary: "Look at a call, or wait for its end.",
          parameters: [Self.call, Self.prefer, .header("If-None-Match", "The ETag of the answer before.")],
          responses: [(200, "The call, whether it is open or has ended.", "Call"), (304, "The call has not changed.", nil)],
          problems: [.forbidden, .unknownCall]),
        handler: get),
      APIRoute(
        method: .delete, path: "/v1/calls/{id}", need: .key,
        description: RouteDescription(
          name: "cancelCall", summary: "Cancel a call.",
          parameters: [Self.call],
          responses: [(200, "The call, which has ended: how far it had come says delivery.", "Call")],
          problems: [.forbidden, .unknownCall]),
        handler: cancel),
    ]
  }

  private static let device = RouteDescription.Parameter.path("device", "The name of the device.")
  private static let call = RouteDescription.Parameter.path("id", "The id of the call.", Schemas.callID)
  private static let states = CallInfo.State.allCases.map(\.rawValue) + PersistentCall.State.allCases.map(\.rawValue)
  private static let state = RouteDescription.Parameter.query(
    "state", "Only calls in this state; in upper case, only persistent ones.", ["type": "string", "enum": .array(states.map { .string($0) })])
  private static let prefer = RouteDescription.Parameter.header(
    "Prefer", "respond-async, or wait=N with a number of seconds (RFC 7240).")
  private static let idempotencyKey = RouteDescription.Parameter.header(
    "Idempotency-Key", "A key of the client's. Requests with the same key make one call.",
    ["type": "string", "minLength": 1, "maxLength": 255])

  @Sendable private func create(_ request: APIRequest) async throws(Problem) -> Response {
    _ = try request.queryItems([])
    let device = request.parameter("device")
    let wanted = try CallRequest(body: request.body ?? .null)
    let call = wanted.call
    try request.sender.requireCall(call.method, on: device)
    let preference = request.preference
    // A persistent call is waited for only if that is asked for.
    let patience = min(preference.wait ?? (wanted.persistence == nil ? limits.longestWait : .zero), limits.longestWait)
    let info: CallInfo
    do throws(Problem) {
      if let key = request.headers[.idempotencyKey] {
        guard (1...255).contains(key.utf8.count) else {
          throw Problem(.invalidRequest, "The Idempotency-Key must have 1 to 255 bytes.")
        }
        info = try await idempotency.perform(
          wanted, on: device, as: .init(sender: request.sender.id, key: key), body: request.bytes, waiting: patience)
      } else {
        info = try await Self.begin(wanted, on: device, caller, waiting: patience)
      }
    } catch {
      let problem = await known.explained(error, of: device)
      audit.refused(call, on: device, by: request.sender, problem)
      throw problem
    }
    audit.note(info, by: request.sender)
    do throws(Problem) {
      return try Self.response(to: info, preference)
    } catch {
      throw await known.explained(error, of: device)
    }
  }

  static func begin(
    _ request: CallRequest, on device: String, _ caller: any DeviceCaller, waiting patience: Duration
  ) async throws(Problem) -> CallInfo {
    do throws(CallError) {
      guard let persistence = request.persistence else {
        return try await caller.begin(request.call, on: device, waiting: patience)
      }
      let kept = try await caller.submit(request.call, persistence, on: device)
      return patience > .zero ? await caller.info(of: kept.id, waiting: patience) ?? kept : kept
    } catch {
      throw Problem(error)
    }
  }

  /// What a call is answered with: 200 with what the device answered, 202 while it is open, or the problem that it has ended with.
  private static func response(to info: CallInfo, _ preference: Preference) throws(Problem) -> Response {
    if case .error(let error) = info.outcome { throw Problem(error, call: info) }
    var response = Response.json(CallDocument.value(of: info), status: info.state == .ended ? .ok : .accepted)
    if info.state != .ended { response.headers[.location] = path(of: info) }
    if let applied = preference.applied { response.headers[.preferenceApplied] = applied }
    return response
  }

  private static func path(of info: CallInfo) -> String { "/v1/calls/\(info.id)" }

  @Sendable private func list(_ request: APIRequest) async throws(Problem) -> Response {
    let device = request.parameters["device"]
    let items = try request.queryItems((device == nil ? ["device"] : []) + ["state", "limit", "after"])
    let limit = try APIRequest.limit(items["limit"])
    // One more tells whether there is another page.
    var query = CallQuery(device: device ?? items["device"], limit: limit + 1)
    if let device { try request.sender.requireRead(device) }
    if let text = items["state"] { try Self.set(text, in: &query) }
    query.before = try items["after"].map { text throws(Problem) in
      guard let id = CallID(text) else { throw APIRequest.wrong("after", "the id of a call") }
      return id
    }
    // A key for some devices sees these only, so a page may need several looks.
    var calls: [CallInfo] = []
    while calls.count <= limit {
      let found = await caller.calls(query)
      calls += found.filter { request.sender.mayRead($0.device) }
      guard found.count == query.limit, let last = found.last else { break }
      query.before = last.id
      query.limit = max(query.limit, 1_000)
    }
    let hasMore = calls.count > limit
    calls = Array(calls.prefix(limit))
    var response = Response.json(["calls": .array(calls.map(CallDocument.value))])
    if hasMore, let last = calls.last { response.headers[.link] = request.nextPage(limit: limit, after: "\(last.id)") }
    return response
  }

  private static func set(_ state: String, in query: inout CallQuery) throws(Problem) {
    if let state = CallInfo.State(rawValue: state) {
      query.states = [state]
    } else if let state = PersistentCall.State(rawValue: state) {
      query.persistentStates = [state]
    } else {
      throw APIRequest.wrong("state", "one of \(states.joined(separator: ", "))")
    }
  }

  @Sendable private func get(_ request: APIRequest) async throws(Problem) -> Response {
    _ = try request.queryItems([])
    let preference = request.preference
    let id = try id(in: request)
    // Who may not read the device must not learn how long the call takes.
    guard let first = await caller.info(of: id, waiting: .zero) else { throw Self.unknown(id) }
    try request.sender.requireRead(first.device)
    let patience = min(preference.wait ?? .zero, limits.longestWait)
    let waited = patience > .zero && first.state != .ended ? await caller.info(of: id, waiting: patience) : first
    guard let info = waited else { throw Self.unknown(id) }
    let kept = info.persistence.map { "-\($0.state.rawValue)-\($0.attempt)" } ?? ""
    let tag = "\"\(info.id)-\(info.state.rawValue)\(kept)\(info.evidence.delivery == .unreadable ? "-unreadable" : "")\""
    var response =
      request.hasSeen(tag) ? Response(status: .notModified) : Response.json(CallDocument.value(of: info))
    response.headers[.eTag] = tag
    if let applied = preference.applied { response.headers[.preferenceApplied] = applied }
    return response
  }

  @Sendable private func cancel(_ request: APIRequest) async throws(Problem) -> Response {
    _ = try request.queryItems([])
    let id = try id(in: request)
    guard let first = await caller.info(of: id, waiting: .zero) else { throw Self.unknown(id) }
    // Whoever may make a call may take it back.
    try request.sender.requireCall(first.call.method, on: first.device)
    guard let info = await caller.cancel(id) else { throw Self.unknown(id) }
    return .json(CallDocument.value(of: info))
  }

  private func id(in request: APIRequest) throws(Problem) -> CallID {
    guard let id = CallID(request.parameter("id")) else {
      throw Problem(.unknownCall, "\"\(request.parameter("id").prefix(64))\" is not the id of a call.")
    }
    return id
  }

  private static func unknown(_ id: CallID) -> Problem {
    Problem(.unknownCall, "The server knows no call \(id); calls that ended long ago are forgotten.")
  }
}
