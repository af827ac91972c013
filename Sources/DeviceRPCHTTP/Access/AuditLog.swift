// Access: who may do what: API keys, the host of a request, and how many requests a key may send.
// The room Routes asks it before it hands a request on.

internal import DeviceRPC
internal import Logging

/// One line in the log for each call and for each administration of a device: who did it, and what came of it.
struct AuditLog: Sendable {
  let log: Logger
  let hasParams: Bool

  func note(_ call: CallInfo, by sender: Sender) {
    guard log.logLevel <= .info else { return }
    let outcome =
      switch call.outcome {
      case .result(let result): "\(result.status)"
      case .error(let error): Problem(error).kind.rawValue
      case nil: call.state.rawValue
      }
    write(
      call.call, on: call.device, by: sender, outcome,
      ["id": "\(call.id)", "delivery": "\(call.evidence.delivery.rawValue)"])
  }

  func refused(_ call: Call, on device: String, by sender: Sender, _ problem: Problem) {
    write(call, on: device, by: sender, problem.kind.rawValue, ["delivery": "\(Delivery.notSent.rawValue)"])
  }

  /// A device was administered, or could not be: `problem` says why not.
  func note(_ action: String, of device: String, by sender: Sender, _ problem: Problem? = nil) {
    log.info(
      "device",
      metadata: [
        "key": "\(sender.name)", "device": "\(device.prefix(255))", "action": "\(action)",
        "outcome": "\(problem?.kind.rawValue ?? "done")",
      ])
  }

  private func write(_ call: Call, on device: String, by sender: Sender, _ outcome: String, _ more: Logger.Metadata) {
    var metadata = more
    metadata["key"] = "\(sender.name)"
    metadata["device"] = "\(device.prefix(255))"
    metadata["method"] = "\(call.method.prefix(255))"
    metadata["outcome"] = "\(outcome)"
    if hasParams { metadata["params"] = "\(call.params)" }
    log.info("call", metadata: metadata)
  }
}
