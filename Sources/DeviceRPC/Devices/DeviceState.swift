/// A device as its home loop keeps it: what is known of it, and the lane of its calls. Used on that loop only.
package typealias DeviceRecord = PendingCalls<DeviceState, UnsafeContinuation<Result<CallResult, CallError>, Never>>
  .Lane

/// What a loop keeps of one device.
package struct DeviceState {
  // In the order of their use: at tens of thousands of devices each line of memory that a call touches is waited for.
  var link: (any DeviceLink)?
  // False until calls may go out on the link.
  var isReady = false
  // A probe is under way. Calls wait for its end, or for any other word of the device: to one that is not there they have
  // certainly not left then.
  var isProbing = false
  let name: String
  // When a packet of the device came last, as far as the loop was told; the link may know better.
  var lastHeard: Duration
  var presence: Presence
  // Nil as long as it is only a name for which calls wait.
  var firstSeen: Duration?
  // Nil while there is a link.
  var absence: Absence?
  // With what it has proved its name last; nil: never.
  var proof: Proof?

  init(name: String, now: Duration) {
    self.name = name
    lastHeard = now
    presence = Presence(since: now)
    absence = Absence(since: now)
  }

  /// Apart, so that it takes no room of devices that have none.
  final class Proof {
    let credential: DeviceCredential
    init(_ credential: DeviceCredential) { self.credential = credential }
  }

  /// What is kept of the last link, if there ever was one. Apart, so that it takes no room of connected devices.
  final class Absence {
    let since: Duration
    let address: String?
    let dialect: String?
    let reason: String
    /// Kept for a device that could not be reached; nil when its link has ended.
    var link: (any DeviceLink)?

    init(
      since: Duration, address: String? = nil, dialect: String? = nil, reason: String = "it has never connected"
    ) {
      self.since = since
      self.reason = reason
      self.address = address
      self.dialect = dialect
    }
  }
}

/// What connects a waiting caller to its call.
// Unchecked because it is touched on the loop only, and by the caller when the call has ended.
package final class CallSlot: @unchecked Sendable {
  var serial: UInt32?
  var isCancelled = false

  package init() {}

  /// The id of a call that has ended; nil when it was refused before it had one.
  package func id(of call: Call) -> String? { serial.map { DeviceLoop.Pending.id(method: call.method, serial: $0) } }
}

extension PendingCalls.Entry {
  /// What is known of the way of a call that has ended so.
  func evidence(of outcome: Result<CallResult, CallError>) -> CallEvidence {
    switch outcome {
    case .success(let result): result.evidence
    case .failure(let error): evidence(error.delivery)
    }
  }
}
