internal import DeviceRPC
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// The routes of ThingsBoard's REST API.
struct RESTRoutes: Sendable {
  private let sessions: RESTSessions
  private let calls: RESTCalls
  private let persistent: RESTPersistentCalls
  private let devices: RESTDevices
  private let gate: Gate
  private let deadline: Deadline
  private let limits: HTTPLimits

  init(
    _ api: ThingsBoardHTTP, known: KnownDevices, gate: Gate, limits: HTTPLimits, deadline: Deadline,
    now: @escaping @Sendable () -> Duration
  ) {
    self.gate = gate
    self.deadline = deadline
    self.limits = limits
    sessions = RESTSessions(users: api.users, gate: gate, now: now)
    let ids = RESTIDs(known: known, now: now)
    // A client may give an id to each call, and wants to join it while it waits.
    var idempotencyLimits = limits
    idempotencyLimits.idempotencyTime = limits.longestWait
    idempotencyLimits.idempotencyKeys = 100_000
    calls = RESTCalls(
      known: known, ids: ids, idempotency: IdempotencyKeys(caller: api.server, limits: idempotencyLimits, now: now), limits: limits, date: gate.now)
    persistent = RESTPersistentCalls(server: api.server, calls: calls)
    devices = RESTDevices(known: known, ids: ids)
  }

  /// A request that was let in.
  private struct Asked: Sendable {
    let parameters: [String: String]
    let query: [String: String]
    let bytes: [UInt8]
    let host: String

    var body: RPCValue? { try? JSONReader.read(bytes) }
    func parameter(_ name: String) -> String { parameters[name] ?? "" }
  }

  private typealias Handler = @Sendable (Asked, RESTSender) async throws(RESTError) -> Response

  func add<Context: RemoteAddressRequestContext>(to router: some RouterMethods<Context>) {
    open("/api/auth/login", router) { asked throws(RESTError) in .json(try await sessions.logIn(asked.body, from: asked.host)) }
    open("/api/auth/token", router) { asked throws(RESTError) in .json(try await sessions.renew(asked.body)) }
    for (version, root) in [(RESTCalls.Version.v1, "/api/plugins/rpc"), (.v2, "/api/rpc")] {
      for (isOneWay, way) in [(true, "oneway"), (false, "twoway")] {
        on(.post, "\(root)/\(way)/{id}", router) { asked, sender throws(RESTError) in
          try await calls.call(version, isOneWay: isOneWay, asked.parameter("id"), asked.bytes, by: sender)
        }
      }
    }
    on(.get, "/api/rpc/persistent/{id}", router) { asked, sender throws(RESTError) in try await persistent.get(asked.parameter("id"), by: sender) }
    on(.delete, "/api/rpc/persistent/{id}", router) { asked, sender throws(RESTError) in
      try await persistent.delete(asked.parameter("id"), by: sender)
    }
    on(.get, "/api/rpc/persistent/device/{id}", router) { asked, sender throws(RESTError) in
      try await persistent.list(asked.parameter("id"), asked.query, by: sender)
    }
    on(.post, "/api/device", router) { asked, sender throws(RESTError) in
      try await devices.save(asked.body, accessToken: asked.query["accessToken"], by: sender)
    }
    on(.post, "/api/device/credentials", router) { asked, sender throws(RESTError) in
      try await devices.setCredentials(asked.body, by: sender)
    }
    on(.get, "/api/device/{id}", router) { asked, sender throws(RESTError) in
      try await devices.get(try await devices.device(of: asked.parameter("id")), by: sender)
    }
    on(.delete, "/api/device/{id}", router) { asked, sender throws(RESTError) in
      try await devices.delete(try await devices.device(of: asked.parameter("id")), by: sender)
    }
    on(.get, "/api/device/{id}/credentials", router) { asked, sender throws(RESTError) in
      try await devices.credentials(try await devices.device(of: asked.parameter("id")), by: sender)
    }
    on(.get, "/api/tenant/device", router) { asked, sender throws(RESTError) in
      guard let name = asked.query["deviceName"] else { throw .badRequest("deviceName is missing") }
      return try await devices.get(name, by: sender)
    }
    on(.get, "/api/tenant/devices", router) { asked, sender throws(RESTError) in try await devices.list(asked.query, by: sender) }
  }

  /// A route for which nobody need have logged in.
  private func open<Context: RemoteAddressRequestContext>(
    _ path: RouterPath, _ router: some RouterMethods<Context>, _ handler: @escaping @Sendable (Asked) async throws(RESTError) -> Response
  ) {
    router.on(path, method: .post) { request, context in
      await respond { () throws(RESTError) in
        try await admit(request)
        // A name and a password, or a token.
        return try await handler(try await asked(request, context, limit: 16_384))
      }
    }
    // As ThingsBoard answers others.
    router.on(path, method: .get) { _, _ in RESTError.authentication.response(at: gate.now()) }
  }

  private func on<Context: RemoteAddressRequestContext>(
    _ method: HTTPRequest.Method, _ path: RouterPath, _ router: some RouterMethods<Context>, _ handler: @escaping Handler
  ) {
    router.on(path, method: method) { request, context in
      await respond { () throws(RESTError) in
        try await admit(request)
        let sender = try await sessions.sender(of: request)
        if let seconds = gate.rates.refuse(sender.id) {
          throw .tooMany("Too many requests for current tenant!", retryAfter: seconds)
        }
        return try await handler(try await asked(request, context, limit: limits.bodyBytes), sender)
      }
    }
  }

  private func respond(_ body: () async throws(RESTError) -> Response) async -> Response {
    do throws(RESTError) {
      return try await body()
    } catch {
      return error.response(at: gate.now())
    }
  }

  private func admit(_ request: Request) async throws(RESTError) {
    do throws(Problem) {
      _ = try await gate.admit(request, .nothing)
    } catch {
      throw RESTError(error)
    }
  }

  private func asked<Context: RemoteAddressRequestContext>(
    _ request: Request, _ context: Context, limit: Int
  ) async throws(RESTError) -> Asked {
    var parameters: [String: String] = [:]
    for (name, value) in context.parameters { parameters[String(name)] = String(value).removingPercentEncoding }
    var query: [String: String] = [:]
    for (name, value) in request.uri.queryParameters { query[String(name)] = String(value) }
    return Asked(
      parameters: parameters, query: query, bytes: try await body(of: request, limit: limit), host: context.remoteAddress?.ipAddress ?? "")
  }

  private func body(of request: Request, limit: Int) async throws(RESTError) -> [UInt8] {
    do {
      let bytes = try await deadline.run { [body = request.body] in Array(buffer: try await body.collect(upTo: limit)) }
      guard let bytes else { throw RESTError(.requestTimeout, .general, "The request did not arrive in time") }
      return bytes
    } catch is NIOTooManyBytesError {
      throw RESTError(.contentTooLarge, .badRequest, "Payload size exceeds the limit")
    } catch let error as RESTError {
      throw error
    } catch {
      throw .badRequest("Invalid request body")
    }
  }
}
