// Calls: a call: what it asks, how it ends, and the table of those under way.
// Pure values and a state machine without a clock. The room Loop drives the table.

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
  /// How the call went to the device and back; its `delivery` is `.delivered`, or `.refused` for a status other than OK.
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

  /// From the moment the call was sent to the moment its result arrived; of a one-way call, its acknowledgement.
  public var roundTrip: Duration {
    let sent = evidence.sentAfter ?? .zero
    return (evidence.resultAfter ?? evidence.acknowledgedAfter ?? sent) - sent
  }
}
