public import FoundationEssentials

/// Something that happened to a device or a call.
public enum DeviceEvent: Sendable, Hashable {
  /// A device has connected, or connected anew.
  case online(DeviceInfo)
  case offline(DeviceInfo, reason: String)
  /// A connected device has said nothing for a while, nor answered a ping; see `Limits.probeInterval`.
  case quiet(DeviceInfo)
  /// A quiet device has said something.
  case heardAgain(DeviceInfo)
  /// A call waits: for its turn, or for its device.
  case callQueued(id: String, device: String, call: Call)
  /// A call has left for its device.
  case callSent(id: String, device: String, call: Call)
  /// The device is known to have a call that has not ended yet.
  case callAcknowledged(id: String, device: String, evidence: CallEvidence)
  case callEnded(id: String, device: String, outcome: CallOutcome, evidence: CallEvidence)
  /// A device sent something for a result that cannot be read, and was told so. No call has ended with it; `id` is that
  /// of the call that it answers, where so much could be read.
  case unreadableResult(id: String?, device: String?, reason: String)
  /// A device, known by its credentials, sent a result for a call to another device, or somebody who has proved nothing for a
  /// call to a device that has credentials; `device` is nil where he said no name. The sender was told that it may not.
  case forbiddenResult(id: String, device: String?)
  /// A result that no open call was waiting for: late, repeated, or of an id that was never given.
  case strayResult(id: String, device: String?, isLate: Bool)
}

/// How a call ended.
public enum CallOutcome: Sendable, Hashable {
  case result(CallResult)
  case error(CallError)

  init(_ outcome: Result<CallResult, CallError>) {
    switch outcome {
    case .success(let result): self = .result(result)
    case .failure(let error): self = .error(error)
    }
  }
}

/// What the server knows of a device.
public struct DeviceInfo: Sendable, Hashable {
  /// Whether a device can be called, as far as is known.
  public enum State: String, Sendable, Hashable, CaseIterable {
    /// It has an observation open, and nothing speaks against it.
    case observing
    /// It has an observation open, and has not answered the last ping: a call to it may get lost.
    case quiet
    /// It has no observation open.
    case offline
  }

  public let name: String
  public let state: State
  /// Since when it is in this state.
  public let since: Date
  /// Why it is taken to be so: `observation open, heard 3 s ago`, `not heard for 95 s, ping unanswered`, `its session was
  /// closed`.
  public let evidence: String
  /// Where it is or was last: `127.0.0.1:40213`; nil when it has never observed.
  public let address: String?
  /// `Golioth, CBOR`; nil when it has never observed.
  public let dialect: String?
  public let firstSeen: Date
  /// When the last packet of the device arrived. What is sent to it does not count, nor what others say in its name where
  /// it has proved its own.
  public let lastHeard: Date
  /// Calls under way or waiting.
  public let openCalls: Int

  /// Whether the device has an observation open and so can be called.
  public var isOnline: Bool { state != .offline }
}
