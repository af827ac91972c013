internal import DeviceRPC
internal import FoundationEssentials

/// An event as JSON.
enum EventDocument {
  /// The names of all events, with what their data have besides `time`.
  static let names: [(name: String, members: String)] = [
    ("device.online", "device"), ("device.offline", "device, reason"), ("device.quiet", "device"), ("device.heard", "device"),
    ("call.queued", "call"), ("call.sent", "call"), ("call.acknowledged", "call"), ("call.ended", "call"),
    ("result.unreadable", "result"), ("result.forbidden", "result"), ("result.stray", "result"), (gap, "reason, dropped"),
  ]

  static let gap = "gap"

  static func name(of content: NumberedEvent.Content) -> String {
    switch content {
    case .event(.online): "device.online"
    case .event(.offline): "device.offline"
    case .event(.quiet): "device.quiet"
    case .event(.heardAgain): "device.heard"
    case .event(.callQueued): "call.queued"
    case .event(.callSent): "call.sent"
    case .event(.callAcknowledged): "call.acknowledged"
    case .event(.callEnded): "call.ended"
    case .event(.unreadableResult): "result.unreadable"
    case .event(.forbiddenResult): "result.forbidden"
    case .event(.strayResult): "result.stray"
    case .lost: gap
    }
  }

  static func value(of content: NumberedEvent.Content, at time: Date) -> RPCValue {
    guard case .event(let event) = content else {
      guard case .lost(let count) = content else { return .null }
      return gap("server-busy", dropped: count, at: time)
    }
    switch event {
    case .online(let device), .quiet(let device), .heardAgain(let device):
      return object(at: time, [("device", DeviceDocument.value(of: device))])
    case .offline(let device, let reason):
      return object(at: time, [("device", DeviceDocument.value(of: device)), ("reason", .string(reason))])
    case .callQueued(let call), .callSent(let call), .callAcknowledged(let call), .callEnded(let call):
      return object(at: time, [("call", CallDocument.value(of: call))])
    case .unreadableResult(let id, let device, let reason):
      return result(id, device, [("reason", .string(reason))], at: time)
    case .forbiddenResult(let id, let device):
      return result(id, device, [], at: time)
    case .strayResult(let id, let device, let isLate):
      return result(id, device, [("late", .bool(isLate))], at: time)
    }
  }

  /// - Parameter dropped: how many events are missing; nil when that is not known.
  static func gap(_ reason: String, dropped: Int?, at time: Date) -> RPCValue {
    object(at: time, [("reason", .string(reason)), ("dropped", dropped.map { RPCValue($0) } ?? .null)])
  }

  private static func result(_ id: String?, _ device: String?, _ more: [(String, RPCValue)], at time: Date) -> RPCValue {
    let members: [(String, RPCValue)] = [
      ("wireId", id.map { .string($0) } ?? .null), ("device", device.map { .string($0) } ?? .null),
    ]
    return object(at: time, [("result", .object(RPCObject(members + more)))])
  }

  private static func object(at time: Date, _ members: [(String, RPCValue)]) -> RPCValue {
    .object(RPCObject([("time", .string(CallDocument.timestamp(time)))] + members))
  }
}
