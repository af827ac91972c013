// ThingsBoardREST: the part of ThingsBoard's REST API that back ends and its clients need to call devices.
// Mounted by the room Server if a ThingsBoardHTTP has it. Its forms of requests and errors are ThingsBoard's; its calls are ours.

internal import DeviceRPC
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// ThingsBoard's server-side RPC (`RpcV1Controller`, `RpcV2Controller`): one-way, two-way and persistent calls.
struct RESTCalls: Sendable {
  /// The statuses differ between the versions.
  enum Version: Sendable {
    case v1, v2

    /// Nobody has answered in time.
    var timeout: HTTPResponse.Status { self == .v1 ? .requestTimeout : .gatewayTimeout }
    /// The device was not connected.
    var offline: HTTPResponse.Status { self == .v1 ? .conflict : .gatewayTimeout }
  }

  /// As ThingsBoard's (`server.rest.server_side_rpc`, `actors.rpc.max_retries`).
  static let times = (standard: Duration.milliseconds(10_000), least: Duration.milliseconds(5_000))
  static let mostRetries = 5
  /// How long a persistent call that was acknowledged may take before it is sent again. ThingsBoard does that only when the device
  /// observes anew; a device that ignores a call would then keep others waiting until it expires.
  static let attemptTime = Duration.seconds(60)

  let known: KnownDevices
  let ids: RESTIDs
  let idempotency: IdempotencyKeys
  let limits: HTTPLimits
  let date: @Sendable () -> Date

  private var caller: any DeviceCaller { known.caller }

  /// What a request asks for.
  private struct Wanted {
    let call: Call
    let time: Duration
    let requestID: String?
    /// Nil for a call that is not kept.
    let persistence: CallPersistence?
  }

  func call(_ version: Version, isOneWay: Bool, _ id: String, _ bytes: [UInt8], by sender: RESTSender) async throws(RESTError) -> Response {
    let device = try await device(of: id)
    let wanted = try wanted(bytes, isOneWay: isOneWay, by: sender)
    guard sender.permissions.mayCall(wanted.call.method, on: device) else { throw .noPermission }
    // Its time has passed: it is not sent.
    if wanted.persistence == nil, wanted.time == .zero { throw RESTError(version.timeout, .general, "expirationTime has passed") }
    let info: CallInfo
    do throws(Problem) {
      let request = CallRequest(wanted.call, wanted.persistence)
      if let requestID = wanted.requestID {
        info = try await idempotency.perform(
          request, on: device, as: .init(sender: sender.id, key: "\(isOneWay ? "oneway" : "twoway") \(requestID)"), body: bytes,
          waiting: wanted.persistence == nil ? wanted.time : .zero)
      } else {
        info = try await CallRoutes.begin(request, on: device, caller, waiting: wanted.persistence == nil ? wanted.time : .zero)
      }
    } catch {
      // The core does not know a device that has not connected yet.
      if error.kind == .unknownDevice || error.kind == .offline { throw RESTError(version.offline, .general, "\(device) is not connected") }
      throw RESTError(error)
    }
    if info.persistence != nil { return .json(["rpcId": .string(wanted.requestID ?? "\(info.id)")]) }
    return try await answer(version, info, after: wanted.time)
  }

  /// What a call is answered with that has ended, or whose time is over.
  private func answer(_ version: Version, _ info: CallInfo, after time: Duration) async throws(RESTError) -> Response {
    let ended = info.outcome == nil ? await caller.cancel(info.id) ?? info : info
    switch ended.outcome {
    case .result(let result) where result.status == .ok:
      guard !ended.call.isOneWay, let detail = result.detail else { return Response(status: .ok) }
      return .json(detail)
    // Golioth's devices have statuses, which ThingsBoard's have not.
    case .result(let result):
      throw RESTError(.internalServerError, .general, "The device has answered \(result.status): \(result.detail ?? .null)")
    case .error(let error):
      switch error {
      case .unknownDevice, .offline: throw RESTError(version.offline, .general, "\(info.device) is not connected")
      case .cancelled(.notSent), .notSent: throw RESTError(version.offline, .general, "\(info.device) was not reached within \(time.inSeconds) s")
      case .cancelled, .undelivered, .unconfirmed, .unanswered, .garbled, .unreadableResult, .expired:
        throw RESTError(version.timeout, .general, "\(info.device) has not answered within \(time.inSeconds) s")
      default: throw RESTError(Problem(error))
      }
    case nil: throw RESTError(.internalServerError, .general, "The call has no outcome")
    }
  }

  func device(of id: String) async throws(RESTError) -> String {
    if let name = try await ids.device(of: id) { return name }
    throw .text(.notFound, "Device with requested id wasn't found!")
  }

  // MARK: Requests

  private func wanted(_ bytes: [UInt8], isOneWay: Bool, by sender: RESTSender) throws(RESTError) -> Wanted {
    guard case .object(let body)? = try? JSONReader.read(bytes) else { throw .badRequest("Invalid request body") }
    guard let method = body["method"]?.stringValue, !method.isEmpty else { throw .badRequest("method is missing, a text") }
    var requestID: String?
    if let given = body["requestUUID"], given != .null {
      guard let id = given.stringValue.flatMap(RESTIDs.canonical) else { throw .badRequest("requestUUID is no UUID") }
      requestID = id
    }
    let time = try time(body)
    let bounded = min(time, limits.longestWait)
    let isKept = try flag("persistent", body)
    let params = body["params"] ?? .null
    guard isKept else {
      let call = Call(method, params: params, timeout: bounded, wait: bounded, isOneWay: isOneWay)
      return Wanted(call: call, time: bounded, requestID: requestID, persistence: nil)
    }
    var retries: Int?
    if let given = body["retries"], given != .null {
      guard let number = given.intValue, number >= 0 else { throw .badRequest("retries is no whole number from 0") }
      retries = number
    }
    let most = min(retries ?? Self.mostRetries, Self.mostRetries)
    var additional: RPCValue?
    if let given = body["additionalInfo"], given != .null { additional = .some(given) }
    // ThingsBoard's contract is at least once: what was not acknowledged is sent again, with the same id.
    let persistence = CallPersistence(
      expires: time, attempts: most == 0 ? nil : most + 1, isRepeatable: most > 0,
      note: RESTNote.make(retries: retries, additionalInfo: additional),
      reference: requestID.map { RESTNote.reference($0, of: sender) })
    let call = Call(method, params: params, timeout: Self.attemptTime, isOneWay: isOneWay)
    return Wanted(call: call, time: time, requestID: requestID, persistence: persistence)
  }

  /// The time until the call expires; zero if that has passed.
  private func time(_ body: RPCObject) throws(RESTError) -> Duration {
    if let given = body["expirationTime"], given != .null {
      guard let milliseconds = given.doubleValue, milliseconds.magnitude < 1e15 else { throw .badRequest("expirationTime is no time in ms") }
      return .milliseconds(max(0, milliseconds - Double(date().milliseconds)))
    }
    guard let given = body["timeout"], given != .null else { return Self.times.standard }
    guard let milliseconds = given.doubleValue, milliseconds.magnitude < 1e13 else { throw .badRequest("timeout is no number of ms") }
    return max(Self.times.least, .milliseconds(milliseconds))
  }

  private func flag(_ name: String, _ body: RPCObject) throws(RESTError) -> Bool {
    guard let given = body[name], given != .null else { return false }
    guard let flag = given.boolValue else { throw .badRequest("\(name) is true or false") }
    return flag
  }
}
