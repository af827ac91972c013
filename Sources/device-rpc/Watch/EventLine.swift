// Watch: `device-rpc watch`: the events of devices and calls as lines.
// Uses the rooms Client and Terminal.

internal import DeviceRPC

/// An event as one line of text.
struct EventLine {
  private let name: String
  /// An object, or null when the data are not JSON.
  private let data: RPCValue
  private let event: EventStreamParser.Event

  init(_ event: EventStreamParser.Event) {
    self.event = event
    name = event.name
    data = (try? JSONReader.read(Array(event.data.utf8), limits: JSONLimits(maxDepth: 128, maxItems: .max))) ?? .null
  }

  /// Events are missing here: why, and how many, for people.
  var gap: String? {
    guard name == "gap" else { return nil }
    let count = data["dropped"]?.intValue.map { $0 == 1 ? "1 event is" : "\($0) events are" } ?? "events are"
    let reason =
      switch data["reason"]?.stringValue {
      case "slow-reader": "they came faster than they were read"
      case "server-busy": "the server was too busy"
      case "forgotten": "the server no longer remembers them"
      case "unknown-id": "the server was restarted"
      case let other: (other ?? "for an unknown reason").cut()
      }
    return "\(count) missing here: \(reason)"
  }

  /// For programs: what the server sent, with the name and the id of the event before it.
  var json: RPCValue {
    var object = RPCObject([("event", .string(name)), ("id", event.id.isEmpty ? .null : .string(event.id))])
    if case .object(let members) = data {
      for (name, value) in members where object[name] == nil { object[name] = value }
    } else {
      object["data"] = .string(event.data)
    }
    return .object(object)
  }

  /// For people: the time, the device, and what has happened.
  var text: String {
    [data["time"]?.stringValue ?? "-", device ?? "-", words].joined(separator: " ")
  }

  private var device: String? {
    (data["call"]?["device"] ?? data["device"]?["name"] ?? data["result"]?["device"])?.stringValue
  }

  private var words: String {
    let (call, reason) = (data["call"], data["reason"]?.stringValue ?? "")
    let result = data["result"]
    let id = (call ?? result)?["wireId"]?.stringValue ?? "-"
    switch name {
    case "device.online":
      return EventWords.online(
        from: EventWords.place(data["device"]?["address"]?.stringValue, data["device"]?["dialect"]?.stringValue))
    case "device.offline": return EventWords.offline(reason)
    case "device.quiet": return EventWords.quiet(data["device"]?["evidence"]?.stringValue ?? "")
    case "device.heard": return EventWords.heardAgain
    case "call.queued", "call.sent":
      let params = call?["params"].flatMap { $0.arrayValue?.isEmpty == true ? nil : " \($0)" } ?? ""
      return "\(id)\(params) \(name.dropFirst("call.".count))"
    case "call.acknowledged": return "\(id) acknowledged"
    case "call.ended":
      if let error = call?["error"] { return EventWords.failed(id, error["detail"]?.stringValue ?? "") }
      let status = RPCStatus(rawValue: call?["status"]?["code"]?.intValue ?? 0)
      let detail = call?["detail"]
      return EventWords.ended(
        id, status, detail?.isNull == true ? RPCValue?.none : detail, after: .seconds(min(max(call?["roundTrip"]?.doubleValue ?? 0, 0), 86_400)))
    case "result.unreadable": return EventWords.unreadable(result?["wireId"]?.stringValue, result?["reason"]?.stringValue ?? "")
    case "result.forbidden": return EventWords.forbidden(id)
    case "result.stray": return EventWords.stray(id, isLate: result?["late"] == true)
    // A server may know more events than this program.
    default: return "\(name) \(event.data)"
    }
  }
}
