public import FoundationEssentials

/// An event of a device or a call.
public enum DeviceEvent: Sendable, Hashable {
  /// A device has connected, or has connected again.
  case online(DeviceInfo)
  /// A device has disconnected, or cannot be reached any more.
  case offline(DeviceInfo, reason: String)
  /// A connected device was not heard for `Limits.probeInterval`, and did not answer a ping.
  case quiet(DeviceInfo)
  /// A packet from a quiet device has arrived.
  case heardAgain(DeviceInfo)
  /// A call waits for earlier calls to the same device, or for the device to connect.
  case callQueued(CallInfo)
  /// A call was sent to its device.
  case callSent(CallInfo)
  /// The device has acknowledged a call that has not ended yet.
  case callAcknowledged(CallInfo)
  /// A call has ended, with a result or an error.
  case callEnded(CallInfo)
  /// A device sent a result that cannot be read, and got an error response. The call stays open, unless it is a one-way call,
  /// which ends as delivered.
  ///
  /// `id` is the id on the wire of the call that it answers, and nil when it cannot be read.
  case unreadableResult(id: String?, device: String?, reason: String)
  /// A result was refused, because its sender may not answer that call. The sender got an error response.
  ///
  /// The sender is a device with credentials and the call is to another device, or the sender has no credentials and the call is
  /// to a device that has. `device` is nil when the sender gave no name.
  case forbiddenResult(id: String, device: String?)
  /// A result arrived for which no open call waits: it is late or repeated (`isLate`), or its id was never given.
  case strayResult(id: String, device: String?, isLate: Bool)
}

/// How a call ended.
public enum CallOutcome: Sendable, Hashable {
  /// The device answered, with any status, or has acknowledged a one-way call.
  case result(CallResult)
  /// The call failed.
  case error(CallError)

  init(_ outcome: Result<CallResult, CallError>) {
    switch outcome {
    case .success(let result): self = .result(result)
    case .failure(let error): self = .error(error)
    }
  }
}

/// The state of a device, as far as the server knows it.
public struct DeviceInfo: Sendable, Hashable {
  /// Whether a device can be called, as far as the server knows.
  public enum State: String, Sendable, Hashable, CaseIterable {
    /// It has an observation open, and has left no ping unanswered.
    case observing
    /// It has an observation open, but has not answered the last ping: a call to it may be lost.
    case quiet
    /// It has no observation open, or cannot be reached.
    case offline
  }

  public let name: String
  public let state: State
  /// When this state began.
  public let since: Date
  /// The reason for this state: `observation open, heard 3 s ago`, `not heard for 95 s, ping unanswered`, `its session was
  /// closed`.
  public let evidence: String
  /// The current or last address of the device: `127.0.0.1:40213`; nil when it has neither observed nor proved its name.
  public let address: String?
  /// The dialect and format of its current or last observation: `Golioth, CBOR`; nil when it has never observed.
  public let dialect: String?
  /// When the device first connected, as far as the server remembers.
  public let firstSeen: Date
  /// When the last packet of the device arrived. Packets sent to the device do not count. If the device has proved its name,
  /// packets of others that only give its name do not count either.
  public let lastHeard: Date
  /// The number of calls to the device that are under way or waiting.
  public let openCalls: Int

  /// Whether the device has an observation open and counts as reachable, and so can be called.
  public var isOnline: Bool { state != .offline }
}
