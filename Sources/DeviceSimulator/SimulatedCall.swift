internal import CoAP

/// A call as it arrived, and the result as it goes back.
struct SimulatedCall: Sendable {
  let id: String
  let method: String
  let params: [SimulatedValue]

  /// Nil is a message that the firmware would acknowledge and drop without a word: an id or method that is not text,
  /// params that are not a list.
  init?(_ message: SimulatedValue) {
    guard case .text(let id) = message["id"], case .text(let method) = message["method"],
      case .array(let params) = message["params"]
    else { return nil }
    self.id = id
    self.method = method
    self.params = params
  }

  /// The POST to `/.rpc/status`.
  ///
  /// The code is `statusCode` in CBOR, as the firmware sends it, and `status` in JSON, as the documentation has it.
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
      // A detail that JSON cannot express is the function's mistake, and the caller should hear of it.
      return payload(.internalError, format: format)
    }
  }
}
