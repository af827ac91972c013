// Messages: what is read from requests and written into responses: calls, devices and problems as JSON.
// Pure; every other room of this module may use it.

internal import DeviceRPC
internal import FoundationEssentials
internal import Hummingbird
internal import NIOCore

/// A call as JSON.
enum CallDocument {
  static func value(of call: CallInfo) -> RPCValue {
    let created = call.created
    func time(_ after: Duration?) -> RPCValue { after.map { .string(timestamp(created.addingTimeInterval($0.inSeconds))) } ?? .null }
    var members: [(String, RPCValue)] = [
      ("id", .string(call.id.description)), ("wireId", .string(call.wireID)), ("device", .string(call.device)),
      ("method", .string(call.call.method)), ("params", call.call.params), ("oneWay", .bool(call.call.isOneWay)),
      ("state", .string(call.state.rawValue)),
    ]
    switch call.outcome {
    case .result(let result):
      members.append(
        ("status", .object(RPCObject([("code", RPCValue(result.status.rawValue)), ("name", .string(result.status.name ?? "UNLISTED"))]))))
      members.append(("detail", result.detail ?? .null))
      members.append(("roundTrip", .double(result.roundTrip.inSeconds)))
    case .error(let error):
      let problem = Problem(error)
      members.append(
        (
          "error",
          .object(
            RPCObject([
              ("type", .string(problem.kind.path)), ("title", .string(problem.kind.title)), ("detail", .string(problem.detail)),
            ]))
        ))
    case nil: break
    }
    members += [
      ("delivery", .string(call.evidence.delivery.rawValue)), ("safeToRepeat", .bool(call.evidence.delivery.isSafeToRepeat)),
      ("created", .string(timestamp(created))), ("sent", time(call.evidence.sentAfter)),
      ("acknowledged", time(call.evidence.acknowledgedAfter)), ("answered", time(call.evidence.resultAfter)),
      ("ended", call.ended.map { .string(timestamp($0)) } ?? .null),
    ]
    if let persistence = call.persistence { members.append(("persistent", value(of: persistence))) }
    return .object(RPCObject(members))
  }

  private static func value(of persistence: CallInfo.Persistence) -> RPCValue {
    [
      "state": .string(persistence.state.rawValue), "expires": .string(timestamp(persistence.expires)),
      "attempt": RPCValue(persistence.attempt), "attempts": persistence.attempts.map { RPCValue($0) } ?? .null,
      "repeatable": .bool(persistence.isRepeatable), "reason": persistence.reason.map { .string($0) } ?? .null,
    ]
  }

  /// RFC 3339, in UTC, with milliseconds.
  static func timestamp(_ date: Date) -> String { date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true)) }
}

/// A device as JSON.
enum DeviceDocument {
  static func value(of device: DeviceInfo) -> RPCValue {
    .object(
      RPCObject([
        ("name", .string(device.name)), ("state", .string(device.state.rawValue)),
        ("since", .string(CallDocument.timestamp(device.since))), ("evidence", .string(device.evidence)),
        ("address", device.address.map { .string($0) } ?? .null), ("dialect", device.dialect.map { .string($0) } ?? .null),
        ("firstSeen", .string(CallDocument.timestamp(device.firstSeen))),
        ("lastHeard", .string(CallDocument.timestamp(device.lastHeard))), ("openCalls", RPCValue(device.openCalls)),
      ]))
  }
}

extension Duration {
  /// To the nanosecond, with no more digits than that.
  var inSeconds: Double {
    let (seconds, attoseconds) = components
    return Double(seconds * 1_000_000_000 + attoseconds / 1_000_000_000) / 1e9
  }
}

extension Response {
  /// A JSON document.
  static func json(_ value: RPCValue, status: HTTPResponse.Status = .ok) -> Response {
    Response(
      status: status, headers: [.contentType: "application/json", .cacheControl: "no-store"],
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: value.jsonBytes)))
  }
}

extension CallInfo {
  /// About the memory that the call takes, or its document.
  var approximateBytes: Int {
    var bytes = 1_024 + call.params.approximateBytes
    if case .result(let result) = outcome, let detail = result.detail { bytes += detail.approximateBytes }
    return bytes
  }
}

extension RPCValue {
  /// The value as JSON, on one line. What JSON cannot express, such as a byte string, is written as text.
  var jsonBytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(512)
    do {
      try JSONWriter.write(self, to: &bytes)
    } catch {
      bytes = Array(expressibleInJSON.description.utf8)
    }
    return bytes
  }

  /// The value, with byte strings in Base64, and numbers that JSON does not have as text.
  fileprivate var expressibleInJSON: RPCValue {
    switch self {
    case .bytes(let bytes): .string(Data(bytes).base64EncodedString())
    case .double(let value) where !value.isFinite: .string("\(value)")
    case .array(let elements): .array(elements.map(\.expressibleInJSON))
    case .object(let object): .object(RPCObject(object.map { ($0.key, $0.value.expressibleInJSON) }))
    default: self
    }
  }
}
