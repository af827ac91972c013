internal import CoAP

/// The messages of ThingsBoard's device API over CoAP: JSON below `/api/v1/{access token}/rpc`.
struct ThingsBoardDialect: DeviceDialect {
  private let path: [String]

  init(_ device: SimulatedDevice) {
    // Without token, as with an X.509 certificate: the credentials of DTLS or TLS identify the device.
    let token = device.accessToken ?? (device.credentials == nil ? device.name : nil)
    path = ["api", "v1"] + (token.map { [$0] } ?? []) + ["rpc"]
  }

  /// Without Accept, which ThingsBoard ignores.
  var observeRequest: CoAPClientRequest { CoAPClientRequest(.get, path) }

  /// ThingsBoard has none: its devices register again.
  var keepAliveRequest: CoAPClientRequest? { nil }

  /// Documented is 2.03 without payload, but a device needs only the Observe option.
  func problem(withFirst answer: CoAPResponse) -> String? { nil }

  /// A call is `{"id": 12, "method": "setGpio", "params": …}` in a 2.05. The number is unique only among the calls under way,
  /// since it begins at 0 again with each start of the server.
  ///
  /// A list of params is taken as it is and null as no params; anything else is the only one.
  func call(in notification: CoAPResponse) throws(NoCall) -> SimulatedCall {
    guard notification.code == .content else { throw NoCall("it is not 2.05 but \(notification.code)") }
    guard notification.contentFormat ?? .json == .json else { throw NoCall("it is not \(ContentFormat.json)") }
    guard let message = try? SimulatedValue(json: notification.payload) else { throw NoCall("it is not well-formed") }
    guard case .int(let id) = message["id"], case .text(let method) = message["method"], let params = message["params"]
    else { throw NoCall("it has not an id that is a whole number, a method and params") }
    return SimulatedCall(id: "\(id)", method: method, params: Self.list(params))
  }

  private static func list(_ params: SimulatedValue) -> [SimulatedValue] {
    switch params {
    case .null: []
    case .array(let items): items
    default: [params]
    }
  }

  /// The POST to the path of the call. ThingsBoard takes objects only.
  func request(_ result: SimulatedResult, of call: SimulatedCall) -> CoAPClientRequest {
    // A detail that JSON cannot express is an error of the function, which the caller should see.
    let body = (try? Self.body(result).json()) ?? (try? Self.body(.internalError).json()) ?? []
    return CoAPClientRequest(.post, path + [call.id], contentFormat: .json, payload: body)
  }

  private static func body(_ result: SimulatedResult) -> SimulatedValue {
    // ThingsBoard has no status, so a failure tells it in its own words.
    guard result.status == 0 else { return ["error": error(result), "status": .int(Int64(result.status))] }
    switch result.detail {
    case nil: return [:]
    case .map(let members): return .map(members)
    case let detail?: return ["value": detail]
    }
  }

  /// The detail, or what is in it under the name `error`; without any the name of the status.
  private static func error(_ result: SimulatedResult) -> SimulatedValue {
    guard let detail = result.detail else {
      return .text(statusNames.indices.contains(result.status) ? statusNames[result.status] : "status \(result.status)")
    }
    guard case .map(let members) = detail, members.count == 1, members[0].key == "error" else { return detail }
    return members[0].value
  }

  // gRPC's names, by number.
  private static let statusNames = [
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
  ]
}
