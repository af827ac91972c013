internal import CoAP

/// Golioth's messages, as in its firmware SDK 0.22.
struct GoliothDialect: DeviceDialect {
  private let query: [String]
  private let format: SimulatedFormat

  init(_ device: SimulatedDevice) {
    // Over DTLS and TLS the credentials identify the device.
    query = device.credentials == nil ? ["ep=\(device.name)"] : []
    format = device.format
  }

  var observeRequest: CoAPClientRequest {
    var request = CoAPClientRequest(.get, [".rpc"])
    request.query = query
    request.accept = format.contentFormat
    return request
  }

  var keepAliveRequest: CoAPClientRequest? { CoAPClientRequest(.delete, []) }

  func problem(withFirst answer: CoAPResponse) -> String? {
    answer.payload == format.established ? nil : "the server's first answer is not \"OK\": \(answer.summary)"
  }

  /// A call has an id and a method that are text, and a list of params.
  func call(in notification: CoAPResponse) throws(NoCall) -> SimulatedCall {
    guard notification.contentFormat == format.contentFormat else { throw NoCall("it is not \(format.contentFormat)") }
    guard let message = try? format.value(of: notification.payload) else { throw NoCall("it is not well-formed") }
    guard case .text(let id) = message["id"], case .text(let method) = message["method"],
      case .array(let params) = message["params"]
    else { throw NoCall("it has not an id, a method and a list of params") }
    return SimulatedCall(id: id, method: method, params: params)
  }

  /// The POST to `/.rpc/status`.
  ///
  /// The status is the member `statusCode` in CBOR, as firmware sends it, and `status` in JSON, as in the documentation.
  func request(_ result: SimulatedResult, of call: SimulatedCall) -> CoAPClientRequest {
    CoAPClientRequest(
      .post, [".rpc", "status"], contentFormat: format.contentFormat, payload: payload(result, of: call))
  }

  private func payload(_ result: SimulatedResult, of call: SimulatedCall) -> [UInt8] {
    var members: [SimulatedValue.Member] = [.init("id", .text(call.id))]
    if let detail = result.detail { members.append(.init("detail", detail)) }
    members.append(.init(format == .cbor ? "statusCode" : "status", .int(Int64(result.status))))
    switch format {
    case .cbor: return SimulatedValue.map(members).cbor
    case .json:
      if let bytes = try? SimulatedValue.map(members).json() { return bytes }
      // A detail that JSON cannot express is an error of the function, which the caller should see.
      return payload(.internalError, of: call)
    }
  }
}

extension SimulatedFormat {
  /// The first response to an observation: the text `OK`. Firmware compares the bytes.
  fileprivate var established: [UInt8] { self == .cbor ? [0x62, 0x4f, 0x4b] : Array("\"OK\"".utf8) }
}
