/// One invocation of a method on a device, as the caller asks for it.
public struct Call: Sendable, Hashable {
  /// The name of the function that the firmware registered.
  public var method: String
  /// Positional parameters, in order.
  ///
  /// A dialect may be able to carry something else than a list; Golioth's cannot, and refuses it before anything is
  /// sent. `RPCValue.array` of none when there are no parameters.
  public var params: RPCValue
  /// How long to wait for the result once the device can be reached; nil for `Limits.defaultTimeout`.
  public var timeout: Duration?
  /// How long to wait for a device that is not connected; zero fails at once. Zero by default.
  public var wait: Duration
  /// True when no result is wanted: the call ends as soon as the device has acknowledged it.
  public var isOneWay: Bool

  public init(
    _ method: String, params: RPCValue = [], timeout: Duration? = nil, wait: Duration = .zero,
    isOneWay: Bool = false
  ) {
    self.method = method
    self.params = params
    self.timeout = timeout
    self.wait = wait
    self.isOneWay = isOneWay
  }
}

/// How far a call has certainly come.
public enum Delivery: String, Sendable, Hashable, Comparable {
  /// It has not left the server: the device cannot have run it, and it is safe to try again.
  case notSent
  /// It has left the server and was not acknowledged: the device may have run it.
  case sent
  /// The device has acknowledged it, or answered: it has it.
  case delivered

  public static func < (left: Delivery, right: Delivery) -> Bool { left.rank < right.rank }

  private var rank: Int {
    switch self {
    case .notSent: 0
    case .sent: 1
    case .delivered: 2
    }
  }
}

/// What came back from a device.
public struct CallResult: Sendable, Hashable {
  /// The id that went over the wire: `multiply/74e4`.
  public let id: String
  public let device: String
  public let method: String
  /// The device's status; `.ok` for a one-way call that was delivered.
  public let status: RPCStatus
  /// The device's detail; nil when it sent none.
  public let detail: RPCValue?
  /// From the moment the call was sent to the moment its result arrived.
  public let roundTrip: Duration

  public init(
    id: String, device: String, method: String, status: RPCStatus, detail: RPCValue?, roundTrip: Duration
  ) {
    self.id = id
    self.device = device
    self.method = method
    self.status = status
    self.detail = detail
    self.roundTrip = roundTrip
  }
}

/// Why a call has no result, by who gave up and how far the call had come.
public enum CallError: Error, Sendable, Hashable {
  /// The server has never heard from a device of that name.
  case unknownDevice(String)
  /// The device is not connected, and the time to wait for it is over. Nothing was sent.
  case offline(String)
  /// The dialect cannot carry this call, or the device would drop it without a word. Nothing was sent.
  case invalidCall(String)
  /// A limit of the server is reached. Nothing was sent.
  case limitExceeded(String)
  /// The deadline passed while the call waited behind others for the same device. Nothing was sent.
  case notSent(device: String, after: Duration)
  /// It was sent and never acknowledged; the device may still have run it.
  case undelivered(device: String, reason: String)
  /// The device has it, and its result did not come in time.
  case unanswered(device: String, after: Duration)
  /// The device answered with a status other than OK.
  case refused(CallResult)
  /// The device answered with OK, and its detail is not what the caller asked for.
  case unreadableResult(CallResult, reason: String)
  /// The caller's task was cancelled.
  case cancelled(Delivery)
  /// The server is ending.
  case shuttingDown(Delivery)

  /// How far the call had certainly come.
  public var delivery: Delivery {
    switch self {
    case .unknownDevice, .offline, .invalidCall, .limitExceeded, .notSent: .notSent
    case .undelivered: .sent
    case .unanswered, .refused, .unreadableResult: .delivered
    case .cancelled(let delivery), .shuttingDown(let delivery): delivery
    }
  }
}

extension CallError: CustomStringConvertible {
  /// One line for a person: what happened, and what can be done about it.
  public var description: String {
    switch self {
    case .unknownDevice(let name):
      "no device named \"\(name)\" has connected yet"
    case .offline(let name):
      "\(name) is not connected"
    case .invalidCall(let reason):
      reason
    case .limitExceeded(let reason):
      reason
    case .notSent(let device, let after):
      "not sent within \(after.readable): other calls to \(device) are still under way"
    case .undelivered(let device, let reason):
      "\(device) did not acknowledge the call: \(reason)"
    case .unanswered(let device, let after):
      "\(device) has received the call and sent no result within \(after.readable)"
    case .refused(let result):
      "\(result.device) answered \(result.status)" + (result.detail.map { ": \($0)" } ?? "")
    case .unreadableResult(let result, let reason):
      "\(result.device) answered \(result.detail.map(String.init(describing:)) ?? "nothing"): \(reason)"
    case .cancelled(let delivery):
      "cancelled by the caller (\(delivery.phrase))"
    case .shuttingDown(let delivery):
      "the server is shutting down (\(delivery.phrase))"
    }
  }
}

extension Delivery {
  var phrase: String {
    switch self {
    case .notSent: "it was not sent"
    case .sent: "it was sent, not acknowledged"
    case .delivered: "the device has received it"
    }
  }
}
