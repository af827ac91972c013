public import FoundationEssentials

/// How a call is kept until it is done, and how often it may be sent.
public struct CallPersistence: Sendable, Hashable {
  /// How long the device has time for the call, from when it is made. One day. A call that is not done by then ends as expired.
  public var expires: Duration
  /// How often a repeatable call may be sent; nil for any number of times until it expires.
  public var attempts: Int?
  /// Whether the device may run the call more than once. False: what the device may have run is never sent again.
  public var isRepeatable: Bool
  /// What the caller wants to find with the call again; it is not sent to the device. Nil for nothing.
  public var note: RPCValue?
  /// By which the caller wants to find the call again, up to 1,000 bytes; nil for nothing. Several calls may have the same.
  public var reference: String?

  public init(
    expires: Duration = .seconds(86_400), attempts: Int? = nil, isRepeatable: Bool = false, note: RPCValue? = .none,
    reference: String? = nil
  ) {
    self.expires = expires
    self.attempts = attempts
    self.isRepeatable = isRepeatable
    self.note = note
    self.reference = reference
  }
}

/// A call that is kept in a journal until it is done, also while its device is away and over restarts of the server.
///
/// A state is in the journal before the datagram leaves the server: a call that is still `queued` after a crash was certainly not
/// sent. The states and what leads from one to another are in <doc:PersistentCalls>.
public struct PersistentCall: Sendable, Hashable, Identifiable {
  /// How far the call has come, in ThingsBoard's words.
  public enum State: String, Sendable, Hashable, CaseIterable {
    /// It was never sent.
    case queued = "QUEUED"
    /// It was sent, or was about to be: `Progress.attempt` tells.
    case sent = "SENT"
    /// The device has acknowledged it.
    case delivered = "DELIVERED"
    /// The device has answered with OK.
    case successful = "SUCCESSFUL"
    /// It was sent and not acknowledged. A late answer still counts.
    case timeout = "TIMEOUT"
    /// It was not done in time.
    case expired = "EXPIRED"
    /// The device has answered with another status, or cannot be given the call.
    case failed = "FAILED"
    /// Its caller took it back.
    case deleted = "DELETED"
  }

  /// What has become of a call.
  public struct Progress: Sendable, Hashable {
    public var state = State.queued
    /// How often the call was sent, as far as the device may have received it.
    public var attempt = 0
    /// How far it has certainly come.
    public var delivery = Delivery.notSent
    /// When it was first sent, acknowledged and answered; nil when it was not.
    public var sent: Date?
    public var acknowledged: Date?
    public var answered: Date?
    /// When it was over; nil while it is open.
    public var ended: Date?
    /// The device's status; nil when it has not answered.
    public var status: RPCStatus?
    /// The value that the function returned, or details of its error.
    public var detail: RPCValue?
    /// Why it has failed, or why the last attempt has; nil when there is nothing to say.
    public var reason: String?

    public init() {}
  }

  public let id: CallID
  /// The id on the wire, the same for each attempt. No other call has it while this one is open.
  public let wireID: String
  public let device: String
  public let call: Call
  public let created: Date
  public let expires: Date
  /// How often it may be sent, if it is repeatable; nil for any number of times.
  public let attempts: Int?
  public let isRepeatable: Bool
  /// What its caller keeps with it; nil for nothing.
  public let note: RPCValue?
  /// By which its caller finds it; nil for nothing.
  public let reference: String?
  public internal(set) var progress: Progress
  /// Counts the changes to the call in the journal; 1 for a new one.
  public internal(set) var revision: Int

  public init(
    id: CallID, wireID: String, device: String, call: Call, created: Date, expires: Date, attempts: Int? = nil,
    isRepeatable: Bool = false, note: RPCValue? = .none, reference: String? = nil, progress: Progress = Progress(), revision: Int = 1
  ) {
    self.id = id
    self.wireID = wireID
    self.device = device
    self.call = call
    self.created = created
    self.expires = expires
    self.attempts = attempts
    self.isRepeatable = isRepeatable
    self.note = note
    self.reference = reference
    self.progress = progress
    self.revision = revision
  }

  /// About the memory of what its caller has given.
  package var givenBytes: Int { call.params.approximateBytes + (note?.approximateBytes ?? 0) + (reference?.utf8.count ?? 0) }

  /// Whether the call has ended.
  public var isOver: Bool { progress.ended != nil }

  /// The call as a journal has it after an update.
  public func updated(_ progress: Progress) -> PersistentCall {
    var call = self
    call.progress = progress
    call.revision += 1
    return call
  }
}
