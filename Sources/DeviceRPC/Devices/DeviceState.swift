/// A device as its home loop keeps it: its state, and the lane of its calls. Used on that loop only.
package typealias DeviceRecord = PendingCalls<DeviceState, CallCompletion>.Lane

/// What is told of the end of a call, besides those who wait for it by its id.
package struct CallCompletion {
  /// Whoever performs the call; nil for a call that was begun to be looked at, and so is remembered after its end.
  var caller: UnsafeContinuation<Result<CallResult, CallError>, Never>?
  /// Nil when nobody traces.
  var trace: CallTrace?
  /// The persistent call of which this is an attempt; nil for other calls.
  var persistent: PersistentCalls.Entry?
}

/// The state of one device, kept by its loop.
package struct DeviceState {
  // The fields that a call uses come first, to share a cache line: with tens of thousands of devices each line is a cache miss.
  var link: (any DeviceLink)?
  // False until calls may be sent on the link.
  var isReady = false
  // A probe is under way. Calls wait until it ends or any packet of the device arrives: if the device turns out to be
  // unreachable, they have certainly not been sent.
  var isProbing = false
  // It is one of those in `DeviceLoop.quietCount`.
  var isCountedQuiet = false
  let name: String
  // When the last packet of the device arrived, as far as it was reported to the loop; the link may have a later time.
  var lastHeard: Duration
  var presence: Presence
  // Nil while the device has never connected and calls only wait for its name.
  var firstSeen: Duration?
  // Nil while there is a link.
  var absence: Absence?
  // The credential with which it last proved its name; nil if it never did.
  var proof: Proof?
  // Its calls that have ended and are remembered.
  var ended = CallHistory.List()

  init(name: String, now: Duration) {
    self.name = name
    lastHeard = now
    presence = Presence(since: now)
    absence = Absence(since: now)
  }

  /// A separate object, so that devices without a proof use no memory for it.
  final class Proof {
    let credential: DeviceCredential
    init(_ credential: DeviceCredential) { self.credential = credential }
  }

  /// What is kept of the last link, if there was one. A separate object, so that connected devices use no memory for it.
  final class Absence {
    let since: Duration
    let address: String?
    let dialect: String?
    let reason: String
    /// The link of a device that could not be reached; nil when the link has ended.
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

/// Connects a waiting caller to its call.
// Unchecked, because it is used on the loop only, and by the caller only after the call has ended.
package final class CallSlot: @unchecked Sendable {
  var serial: UInt32?
  var isCancelled = false

  package init() {}

  /// The id of a call that has ended; nil when the call was refused before it got an id.
  package func id(of call: Call) -> String? { serial.map { DeviceLoop.Pending.id(method: call.method, serial: $0) } }
}

extension PendingCalls.Entry {
  /// The evidence of a call that ended with this outcome.
  func evidence(of outcome: Result<CallResult, CallError>) -> CallEvidence {
    switch outcome {
    case .success(let result): result.evidence
    case .failure(let error): evidence(error.delivery)
    }
  }
}
