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

  public init(
    id: CallID, wireID: String, device: String, call: Call, state: State, created: Date, ended: Date? = nil,
    outcome: CallOutcome? = nil, evidence: CallEvidence
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
  }
}
