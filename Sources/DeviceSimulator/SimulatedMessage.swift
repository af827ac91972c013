internal import CoAP

/// The formats of a device's calls and results.
public enum SimulatedFormat: String, Sendable, CaseIterable {
  case cbor
  case json

  var contentFormat: ContentFormat { self == .cbor ? .cbor : .json }

  func value(of payload: [UInt8]) throws -> SimulatedValue {
    switch self {
    case .cbor: try SimulatedValue(cbor: payload)
    case .json: try SimulatedValue(json: payload)
    }
  }
}

/// A CoAP message that a device has sent or received, for display.
public struct SimulatedMessage: Sendable, Hashable {
  /// `GET`, `POST`, or the code of a response: `2.05`.
  public var code: String
  /// `/.rpc?ep=sensor-1`; nil in a response. To ThingsBoard it has the access token: `/api/v1/A1_TEST_TOKEN/rpc`.
  public var target: String?
  /// The number in the Observe option.
  public var observe: UInt32?
  /// The format that the Accept option asks for.
  public var accept: SimulatedFormat?
  /// The format of the payload.
  public var format: SimulatedFormat?
  public var payload: [UInt8]

  /// The payload as JSON text, or in CBOR's diagnostic notation. Nil when it is empty or not valid in its format.
  public var text: String? {
    guard !payload.isEmpty else { return nil }
    if format == .json { return String(validating: payload, as: UTF8.self) }
    return (try? format?.value(of: payload))?.description
  }

  init(_ request: CoAPClientRequest, _ method: String) {
    code = method
    let query = request.query.isEmpty ? "" : "?" + request.query.joined(separator: "&")
    target = "/" + request.path.joined(separator: "/") + query
    observe = request.observe
    accept = SimulatedFormat(request.accept)
    format = SimulatedFormat(request.contentFormat)
    payload = request.payload
  }

  init(_ response: CoAPResponse) {
    code = response.code.description
    observe = response.observe
    format = SimulatedFormat(response.contentFormat)
    payload = response.payload
  }
}

extension SimulatedMessage: CustomStringConvertible {
  /// The first line and the options: `GET /.rpc?ep=sensor-1, Observe 0, Accept application/cbor`.
  public var description: String {
    var parts = [target.map { "\(code) \($0)" } ?? code]
    if let observe { parts.append("Observe \(observe)") }
    if let accept { parts.append("Accept application/\(accept.rawValue)") }
    if let format { parts.append("Content-Format application/\(format.rawValue)") }
    return parts.joined(separator: ", ")
  }
}

extension SimulatedFormat {
  fileprivate init?(_ format: ContentFormat?) {
    switch format {
    case .cbor: self = .cbor
    case .json: self = .json
    default: return nil
    }
  }
}

/// An event of a simulated device; events come in order.
public enum SimulatedEvent: Sendable {
  /// The server has accepted the observation with its first response: calls may arrive.
  case connected(request: SimulatedMessage, answer: SimulatedMessage)
  /// A call has arrived in a notification. ThingsBoard's ids are numbers: `12`.
  case called(id: String, method: String, params: [SimulatedValue], message: SimulatedMessage)
  /// The server has responded to a result.
  case answered(id: String, result: SimulatedResult, message: SimulatedMessage, answer: SimulatedMessage)
  /// A message from the server is not a call; the device drops it, as firmware does.
  case dropped(SimulatedMessage, reason: String)
  /// The observation has ended or could not be established; the device tries again after `retry`.
  case disconnected(reason: String, retry: Duration)
  /// The device has deregistered from the server, and ends.
  case deregistered
}
