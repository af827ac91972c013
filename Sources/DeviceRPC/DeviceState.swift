/// A device as its home loop keeps it: what is known of it, and the lane of its calls. Used on that loop only.
package typealias DeviceRecord = PendingCalls<DeviceState, UnsafeContinuation<Result<CallResult, CallError>, Never>>
  .Lane

/// What a loop keeps of one device.
package struct DeviceState {
  // In the order of their use: at tens of thousands of devices each line of memory that a call touches is waited for.
  var link: (any DeviceLink)?
  // False until calls may go out on the link.
  var isReady = false
  let name: String
  var lastHeard: Duration
  // Nil as long as it is only a name for which calls wait.
  var firstSeen: Duration?
  var offlineSince: Duration?
  // Of the last link, while there is none.
  var lastAddress: String?
  var lastDialect: String?

  init(name: String, now: Duration) {
    self.name = name
    lastHeard = now
    offlineSince = now
  }
}

/// What connects a waiting caller to its call.
// Unchecked because it is touched on the loop only.
final class CallSlot: @unchecked Sendable {
  var serial: UInt32?
  var isCancelled = false
}
