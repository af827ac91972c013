// Golioth: the part of Golioth's management API that its Python tools need to call functions and to manage devices.
// Entries of the same table as our own API. Only the room Routes knows this one: for the schemas, and for the form of errors.

internal import DeviceRPC
internal import HTTPTypes
internal import Hummingbird

/// Calls as Golioth's tools make them: the answer comes when the device has answered or the time is over, and no sooner.
struct GoliothCalls: Sendable {
  /// The time of a call that gives none.
  static let defaultTime = Duration.seconds(10)
  /// How long the answer to such a call is held back when the time is over. python-golioth-tools takes a server that is silent for
  /// 5 s, or in later versions for 10 s, for a timeout, and cannot read an error in place of it: it has to give up first.
  static let courtesy = Duration.milliseconds(500)

  let registry: GoliothRegistry
  let limits: HTTPLimits
  let audit: AuditLog

  private var caller: any DeviceCaller { registry.known.caller }

  var routes: [APIRoute] {
    [
      APIRoute(
        method: .post, path: "/v1/projects/{project}/devices/{device}/rpc", need: .key, problemForm: .golioth,
        description: RouteDescription(
          name: "goliothCall", summary: "Call a function on a device, as in Golioth's management API.",
          parameters: [
            .goliothProject, .goliothDevice,
            .query("timeout", "Seconds until the call ends; the member of the body takes precedence.", Schemas.goliothTime),
          ],
          body: "GoliothCall",
          responses: [(200, "The device has answered, with any status.", "GoliothResult")],
          problems: [
            .forbidden, .unknownDevice, .offline, .invalidCall, .limitExceeded, .notSent, .undelivered, .unconfirmed, .unanswered,
            .rejected, .unreadable, .revoked, .cancelled, .shuttingDown, .internalError,
          ]),
        handler: call)
    ]
  }

  @Sendable private func call(_ request: APIRequest) async throws(Problem) -> Response {
    let device = request.goliothDevice
    let (call, hasTime) = try call(in: request)
    try request.sender.requireCall(call.method, on: device)
    let info: CallInfo
    do throws(Problem) {
      try await registry.require(device, in: request.goliothProject)
      do throws(Problem) {
        info = try await perform(call, on: device)
      } catch {
        throw await registry.known.explained(error, of: device)
      }
    } catch {
      audit.refused(call, on: device, by: request.sender, error)
      throw error
    }
    audit.note(info, by: request.sender)
    switch info.outcome {
    case .result(let result):
      return .json(["statusCode": RPCValue(result.status.rawValue), "detail": result.detail ?? .object(RPCObject())])
    case .error(let error):
      let problem = await registry.known.explained(Problem(error), of: device)
      if !hasTime, Self.isLate(problem.kind) { try? await Task.sleep(for: Self.courtesy) }
      throw problem
    case nil: throw Problem(.internalError, "The call has no outcome.")
    }
  }

  /// Whether this is what a call ends with when its time is over.
  private static func isLate(_ kind: ProblemKind) -> Bool {
    kind.goliothStatus == .deadlineExceeded || kind == .offline
  }

  private func call(in request: APIRequest) throws(Problem) -> (call: Call, hasTime: Bool) {
    var members = try Members(request.body ?? .null)
    guard let method = try members.string("method"), !method.isEmpty else {
      throw Members.wrong("method", "the name of a function")
    }
    let params: RPCValue
    switch members.take("params") {
    case .array(let list): params = .array(list)
    // What the tools send for a call without arguments.
    case .object(let object) where object.isEmpty: params = []
    case nil, .null: params = []
    default: throw Members.wrong("params", "a list: firmware drops calls with named parameters")
    }
    // `??` would take the type of the error away.
    let inBody = try time(members.take("timeout"))
    let inQuery = try time(try request.goliothQuery("timeout").map(RPCValue.string))
    let time = inBody ?? inQuery
    let bounded = min(time ?? Self.defaultTime, limits.longestWait)
    return (Call(method, params: params, timeout: bounded, wait: bounded), time != nil)
  }

  /// As a number or, as in a query, as text. Zero stands for a member that is not set, as in Protocol Buffers.
  private func time(_ value: RPCValue?) throws(Problem) -> Duration? {
    guard let value, !value.isNull else { return nil }
    guard let seconds = value.doubleValue ?? value.stringValue.flatMap({ Double($0) }), (0...86_400).contains(seconds) else {
      throw Members.wrong("timeout", "a number of seconds from 0 to 86400")
    }
    return seconds == 0 ? nil : .seconds(seconds)
  }

  /// Returns the call when it has ended, which is at the latest when its time is over: also for a device that was away and came
  /// back in the meantime.
  private func perform(_ call: Call, on device: String) async throws(Problem) -> CallInfo {
    let time = call.timeout ?? Self.defaultTime
    let info = try await CallRoutes.begin(CallRequest(call), on: device, caller, waiting: time)
    if case .error(.cancelled) = info.outcome { return info }
    let ended = info.outcome == nil ? await caller.cancel(info.id) ?? info : info
    switch ended.outcome {
    // The core does not know a device that has not connected yet; the registry does.
    case nil, .error(.cancelled), .error(.unknownDevice): return await late(ended, after: time)
    case .result, .error: return ended
    }
  }

  /// A call whose time is over, with an error that says what was missing.
  private func late(_ info: CallInfo, after time: Duration) async -> CallInfo {
    let device = info.device
    let seconds = "\(time.inSeconds) s"
    let error: CallError
    switch info.evidence.delivery {
    case .notSent where await caller.info(of: device)?.isOnline != true: error = .offline(device)
    case .notSent: error = .notSent(device: device, reason: "its turn behind other calls did not come within \(seconds)")
    case .sentNoAck: error = .undelivered(device: device, reason: "no acknowledgement seen within \(seconds)")
    case .delivered, .refused: error = .unanswered(device: device, after: time)
    case .unreadable: error = .garbled(device: device, reason: "no readable answer came within \(seconds)")
    }
    return CallInfo(
      id: info.id, wireID: info.wireID, device: device, call: info.call, state: .ended, created: info.created,
      ended: info.ended, outcome: .error(error), evidence: info.evidence)
  }
}
