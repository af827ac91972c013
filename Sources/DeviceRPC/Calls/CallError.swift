/// Why a call has no result, by who gave up and how far the call had come.
public enum CallError: Error, Sendable, Hashable {
  /// The server has never heard from a device of that name. Nothing was sent.
  case unknownDevice(String)
  /// The device is not connected, and the time to wait for it is over. Nothing was sent.
  case offline(String)
  /// The dialect cannot carry this call, or the device would drop it without a word. Nothing was sent.
  case invalidCall(String)
  /// A limit of the server is reached. Nothing was sent.
  case limitExceeded(String)
  /// Its turn did not come before the deadline, or the device's session ended first. Nothing was sent.
  case notSent(device: String, reason: String)
  /// It was sent, and no acknowledgement was seen; the device may still have run it.
  case undelivered(device: String, reason: String)
  /// It was sent in a way that knows no acknowledgements, such as TCP, and no result came in time; the device may have run
  /// it.
  case unconfirmed(device: String, after: Duration)
  /// The device has it, and its result did not come in time.
  case unanswered(device: String, after: Duration)
  /// The device has rejected the message with a Reset; see `Delivery.refused` for what that means.
  case rejected(device: String, reason: String)
  /// The device answered with a status other than OK.
  case refused(CallResult)
  /// The device answered with OK, and its detail is not what the caller asked for.
  case unreadableResult(CallResult, reason: String)
  /// The device sent something for a result that could not be read, and nothing better in time.
  case garbled(device: String, reason: String)
  /// The device was disabled or removed, or has another key or certificate by now, and its session was ended for that.
  ///
  /// Also when it has proved nothing and there are credentials for its name by now.
  /// A call that has not left and still has time to wait for its device goes on waiting: it may come back with its new key.
  case revoked(device: String, reason: String, delivery: Delivery)
  /// The caller's task was cancelled.
  case cancelled(Delivery)
  /// The server is ending.
  case shuttingDown(Delivery)

  /// How far the call had certainly come.
  public var delivery: Delivery {
    switch self {
    case .unknownDevice, .offline, .invalidCall, .limitExceeded, .notSent: .notSent
    case .undelivered, .unconfirmed: .sentNoAck
    case .unanswered: .delivered
    case .rejected, .refused: .refused
    case .unreadableResult, .garbled: .unreadable
    case .revoked(_, _, let delivery), .cancelled(let delivery), .shuttingDown(let delivery): delivery
    }
  }
}

extension CallError: CustomStringConvertible {
  /// One line for a person: who gave up and why, and in brackets how far the call had come and whether it is safe to try
  /// again.
  public var description: String { text(naming: true) }

  /// The same where the device need not be named, as behind its name.
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
