/// Why a call failed. Each case says who gave up, and how far the call had come.
public enum CallError: Error, Sendable, Hashable {
  /// No device of that name has ever connected. Nothing was sent.
  case unknownDevice(String)
  /// The device is not connected, and the time to wait for it is over. Nothing was sent.
  case offline(String)
  /// The dialect cannot carry this call, or the device would drop it silently. Nothing was sent.
  case invalidCall(String)
  /// A limit of the server is reached. Nothing was sent.
  case limitExceeded(String)
  /// The deadline passed while earlier calls to the device were under way, or the session ended first. Nothing was sent.
  case notSent(device: String, reason: String)
  /// The call was sent, but no acknowledgement was seen; the device may still have run it.
  case undelivered(device: String, reason: String)
  /// The call was sent over a transport without acknowledgements, such as TCP, and no result came in time; the device may have
  /// run it.
  case unconfirmed(device: String, after: Duration)
  /// The device has received the call, but its result did not come in time.
  case unanswered(device: String, after: Duration)
  /// The device has rejected the message with a Reset; see `Delivery.refused` for what that means.
  case rejected(device: String, reason: String)
  /// The device answered with a status other than OK.
  case refused(CallResult)
  /// The device answered with OK, but the detail does not have the type that the caller asked for.
  case unreadableResult(CallResult, reason: String)
  /// The device sent a result that could not be read, and no readable one came in time.
  case garbled(device: String, reason: String)
  /// The device was disabled or removed, or has been given another key or certificate, and its session was closed for that.
  ///
  /// This also applies to a device that connected without proof when credentials for its name have been added. A call that has
  /// not left and has time left in `Call.wait` does not fail: it waits for the device to connect with its new credential.
  case revoked(device: String, reason: String, delivery: Delivery)
  /// The caller's task was cancelled.
  case cancelled(Delivery)
  /// The server is shutting down.
  case shuttingDown(Delivery)
  /// The call was to be persistent, and the server cannot keep it. Nothing was sent.
  case notKept(reason: String)
  /// The time of a persistent call was over before the device had answered it.
  case expired(device: String, delivery: Delivery)

  /// How far the call is known to have come.
  public var delivery: Delivery {
    switch self {
    case .unknownDevice, .offline, .invalidCall, .limitExceeded, .notSent, .notKept: .notSent
    case .undelivered, .unconfirmed: .sentNoAck
    case .unanswered: .delivered
    case .rejected, .refused: .refused
    case .unreadableResult, .garbled: .unreadable
    case .revoked(_, _, let delivery), .cancelled(let delivery), .shuttingDown(let delivery), .expired(_, let delivery): delivery
    }
  }
}

extension CallError: CustomStringConvertible {
  /// One line for people: who gave up and why, and in parentheses how far the call had come and whether it is safe to try again.
  public var description: String { text(naming: true) }

  /// The description; without the device's name if `naming` is false, for a line that already begins with it.
  package func text(naming: Bool) -> String {
    func it(_ device: String) -> String { naming ? device : "it" }
    func gaveUp(_ device: String) -> String { "the server gave up" + (naming ? " on \(device)" : "") }
    switch self {
    case .unknownDevice(let name):
      return "the server refused the call: no device \(naming ? "named \"\(name)\"" : "of that name") has connected yet (\(delivery.phrase))"
    case .offline(let name):
      return "the server gave up: \(it(name)) is not connected (\(delivery.phrase))"
    case .invalidCall(let reason):
      return "the server refused the call: \(reason) (not sent; it is safe to try again with another)"
    case .limitExceeded(let reason):
      return "the server refused the call: \(reason) (not sent; it is safe to try again later)"
    case .notSent(let device, let reason), .undelivered(let device, let reason):
      return "\(gaveUp(device)): \(reason) (\(delivery.phrase))"
    case .unconfirmed(let device, let after):
      return "\(gaveUp(device)): no result within \(after.readable), and its connection knows no "
        + "acknowledgements (\(delivery.phrase))"
    case .unanswered(let device, let after):
      return "\(gaveUp(device)): no result within \(after.readable) (\(delivery.phrase))"
    case .rejected(let device, let reason):
      return "\(it(device)) did not take the call: \(reason) (refused; unless it has restarted since, it is safe to try again)"
    case .refused(let result):
      return "\(it(result.device)) refused the call: \(result.status)" + (result.detail.map { " \($0)" } ?? "")
        + " (answered; its status says whether trying again makes sense)"
    case .unreadableResult(let result, let reason):
      return "the caller cannot read what \(it(result.device)) answered, "
        + "\(result.detail.map(String.init(describing:)) ?? "nothing"): \(reason) (run; trying again runs it again)"
    case .garbled(let device, let reason):
      return "the server cannot read what \(it(device)) answered: \(reason) (\(delivery.phrase))"
    case .revoked(let device, let reason, let delivery):
      return "the server ended \(naming ? "the session of \(device)" : "its session"): \(reason) (\(delivery.phrase))"
    case .cancelled(let delivery):
      return "the caller gave up (\(delivery.phrase))"
    case .shuttingDown(let delivery):
      return "the server is shutting down (\(delivery.phrase))"
    case .notKept(let reason):
      return "the server cannot keep the call: \(reason) (\(delivery.phrase))"
    case .expired(let device, let delivery):
      return "the time of the call was over before \(it(device)) had answered (\(delivery.phrase))"
    }
  }
}

extension Delivery {
  var phrase: String {
    switch self {
    case .notSent: "not sent; it is safe to try again"
    case .sentNoAck: "sent, not known to have arrived; it may have run, and trying again may run it twice"
    case .delivered: "delivered; it may have run, and trying again may run it twice"
    case .refused: "refused by the device"
    case .unreadable: "answered; it may have run, and trying again may run it twice"
    }
  }
}
