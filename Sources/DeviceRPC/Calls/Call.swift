// Calls: a call, its result or error, and the table of the calls under way.
// Pure values and a state machine without a clock. The room Loop drives the table.

/// One invocation of a method on a device, as requested by the caller.
public struct Call: Sendable, Hashable {
  /// The name of the function that the firmware registered.
  public var method: String
  /// Positional parameters, in order.
  ///
  /// An empty array when there are no parameters. Other values than an array depend on the dialect; Golioth's cannot carry them,
  /// and the call then fails with `CallError.invalidCall` before anything is sent.
  public var params: RPCValue
  /// How long to wait for the result, from when the device can be reached; nil for `Limits.defaultTimeout`.
  public var timeout: Duration?
  /// How long to wait for a device that is not connected. Zero by default: the call fails at once.
  public var wait: Duration
  /// True when no result is wanted: the call ends when the device has acknowledged it.
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

/// The result of a call, as the device returned it.
public struct CallResult: Sendable, Hashable {
  /// The id of the call on the wire: `multiply/74e4`.
  public let id: String
  public let device: String
  public let method: String
  /// The device's status; `.ok` for a one-way call that was delivered.
  public let status: RPCStatus
  /// The value that the function returned, or details of its error; nil when the device sent none.
  public let detail: RPCValue?
  /// What is known of the call's way to the device and back. Its `delivery` is `.delivered`, or `.refused` for a status other
  /// than OK. It is `.sentNoAck` for a one-way call over a connection whose dialect knows no acknowledgements: ThingsBoard's
  /// non-confirmable observations, and HTTP.
  public let evidence: CallEvidence

  public init(
    id: String, device: String, method: String, status: RPCStatus, detail: RPCValue?, evidence: CallEvidence
  ) {
    self.id = id
    self.device = device
    self.method = method
    self.status = status
    self.detail = detail
    self.evidence = evidence
  }

  /// The time from sending the call to the arrival of its result, or of its acknowledgement for a one-way call.
  public var roundTrip: Duration {
    let sent = evidence.sentAfter ?? .zero
    return (evidence.resultAfter ?? evidence.acknowledgedAfter ?? sent) - sent
  }
}
