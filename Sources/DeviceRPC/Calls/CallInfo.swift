public import FoundationEssentials

/// What the server knows of one call: one that is open, or one that has ended and is still remembered.
public struct CallInfo: Sendable, Hashable, Identifiable {
  /// How far a call has come.
  public enum State: String, Sendable, Hashable, CaseIterable {
    /// It waits for earlier calls to the same device, or for the device to connect.
    case queued
    /// It was sent to the device.
    case sent
    /// The device has it: the message was acknowledged, or answered with something that cannot be read.
    case acknowledged
    /// It has ended, with a result or an error.
    case ended
  }

  /// What is kept of a persistent call besides.
  public struct Persistence: Sendable, Hashable {
    public let state: PersistentCall.State
    public let expires: Date
    /// How often the call was sent, as far as the device may have received it.
    public let attempt: Int
    /// How often it may be sent, if it is repeatable; nil for any number of times.
    public let attempts: Int?
    public let isRepeatable: Bool
    /// Why it has failed, or why the last attempt has; nil when there is nothing to say.
    public let reason: String?
    /// What its caller keeps with it; nil for nothing.
    public let note: RPCValue?
    /// By which its caller finds it; nil for nothing.
    public let reference: String?

    public init(
      state: PersistentCall.State, expires: Date, attempt: Int = 0, attempts: Int? = nil, isRepeatable: Bool = false,
      reason: String? = nil, note: RPCValue? = .none, reference: String? = nil
    ) {
      self.state = state
      self.expires = expires
      self.attempt = attempt
      self.attempts = attempts
      self.isRepeatable = isRepeatable
      self.reason = reason
      self.note = note
      self.reference = reference
    }
  }

  public let id: CallID
  /// The id that goes over the wire: `multiply/74e4`. Another call may get the same one after a restart of the server.
  public let wireID: String
  public let device: String
  public let call: Call
  public let state: State
  /// When the call was made.
  public let created: Date
  /// When the call ended; nil while it is open.
  public let ended: Date?
  /// How the call ended; nil while it is open.
  public let outcome: CallOutcome?
  /// How far the call has certainly come, and when that was known.
  public let evidence: CallEvidence
  /// Nil for a call that is not persistent.
  public let persistence: Persistence?

  public init(
    id: CallID, wireID: String, device: String, call: Call, state: State, created: Date, ended: Date? = nil,
    outcome: CallOutcome? = nil, evidence: CallEvidence, persistence: Persistence? = nil
  ) {
    self.id = id
    self.wireID = wireID
    self.device = device
    self.call = call
    self.state = state
    self.created = created
    self.ended = ended
    self.outcome = outcome
    self.evidence = evidence
    self.persistence = persistence
  }
}
