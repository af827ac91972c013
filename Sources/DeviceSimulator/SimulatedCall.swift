internal import CoAP

/// A call as it arrived, and the request for its result.
struct SimulatedCall: Sendable {
  let id: String
  let method: String
  let params: [SimulatedValue]

  /// Nil for a message that firmware would acknowledge and silently drop: an id or method that is not text, or params that are
  /// not a list.
  init?(_ message: SimulatedValue) {
    guard case .text(let id) = message["id"], case .text(let method) = message["method"],
      case .array(let params) = message["params"]
    else { return nil }
    self.id = id
    self.method = method
    self.params = params
  }

  /// The POST to `/.rpc/status` with the result.
  ///
  /// The status is the member `statusCode` in CBOR, as firmware sends it, and `status` in JSON, as in the documentation.
  func request(_ result: SimulatedResult, format: SimulatedFormat) -> CoAPClientRequest {
    CoAPClientRequest(
      .post, [".rpc", "status"], contentFormat: format.contentFormat, payload: payload(result, format: format))
  }

  private func payload(_ result: SimulatedResult, format: SimulatedFormat) -> [UInt8] {
    var members: [SimulatedValue.Member] = [.init("id", .text(id))]
    if let detail = result.detail { members.append(.init("detail", detail)) }
    members.append(.init(format == .cbor ? "statusCode" : "status", .int(Int64(result.status))))
    switch format {
    case .cbor: return SimulatedValue.map(members).cbor
    case .json:
      if let bytes = try? SimulatedValue.map(members).json() { return bytes }
      // A detail that JSON cannot express is an error of the function, which the caller should see.
      return payload(.internalError, format: format)
    }
  }
}
