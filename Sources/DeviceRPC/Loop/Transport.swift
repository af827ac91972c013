package import FoundationEssentials
internal import Metrics

/// An event loop: the thread that serves the devices of one `DeviceLoop`, its clock and its timers.
package protocol LoopDriver: SerialExecutor {
  /// The loop's clock; only differences between its times are meaningful.
  var now: Duration { get }
  /// The wall clock, which may be set forward or back at any time.
  var date: Date { get }
  /// True on the loop's own thread.
  var isCurrent: Bool { get }
  /// Runs `action` on the loop, after the actions that are queued already. May be called from any thread.
  func execute(_ action: @escaping @Sendable () -> Void)
  /// Creates a timer that runs `action` on the loop. Called on the loop.
  func makeAlarm(_ action: @escaping @Sendable () -> Void) -> any LoopAlarm
  /// What the transport has counted on this loop. Called on the loop.
  var transportCounts: TransportCounts { get }
  /// Has `record` called on the loop at the end of each pass, with its length in nanoseconds. May be called from any thread.
  func measurePasses(_ record: @escaping @Sendable (Int64) -> Void)
}

extension LoopDriver {
  package var date: Date { Date() }
  package var transportCounts: TransportCounts { TransportCounts() }
  package func measurePasses(_ record: @escaping @Sendable (Int64) -> Void) {}
}

/// What a transport has done on a loop since the loop began.
package struct TransportCounts: Sendable, Hashable {
  package var packetsReceived: UInt64
  package var packetsSent: UInt64
  /// Those of the sent packets that repeat an earlier one.
  package var retransmissions: UInt64
  /// Connections that were closed at once, because there were too many.
  package var refusedConnections: UInt64

  package init(
    packetsReceived: UInt64 = 0, packetsSent: UInt64 = 0, retransmissions: UInt64 = 0, refusedConnections: UInt64 = 0
  ) {
    self.packetsReceived = packetsReceived
    self.packetsSent = packetsSent
    self.retransmissions = retransmissions
    self.refusedConnections = refusedConnections
  }

  mutating func add(_ other: Self) {
    packetsReceived += other.packetsReceived
    packetsSent += other.packetsSent
    retransmissions += other.retransmissions
    refusedConnections += other.refusedConnections
  }

  func grown(since earlier: Self) -> Self {
    func grown(_ count: KeyPath<Self, UInt64>) -> UInt64 {
      self[keyPath: count] - min(self[keyPath: count], earlier[keyPath: count])
    }
    return Self(
      packetsReceived: grown(\.packetsReceived), packetsSent: grown(\.packetsSent),
      retransmissions: grown(\.retransmissions), refusedConnections: grown(\.refusedConnections))
  }
}

/// A loop's timer, used on its loop only.
package protocol LoopAlarm: AnyObject {
  /// Sets the timer to fire once at `deadline`. A later call replaces an earlier one; nil stops the timer.
  func set(_ deadline: Duration?)
  func cancel()
}

/// A transport over which devices connect: its loops, and the sockets on them.
package protocol DeviceTransport: Sendable {
  var drivers: [any LoopDriver] { get }
  /// The loops as executors for callers' tasks, one for each driver; empty if the transport does not support it.
  var callerExecutors: [any TaskExecutor] { get }
  /// The addresses where devices connect, as a person would type them; known after `start` has returned.
  var addresses: [String] { get }
  /// Opens the sockets. What arrives is reported to the home loop of the sending device.
  func start(_ directory: DeviceDirectory) async throws
  /// Ends all links and sockets, then the loops. May be called twice, and without `start`.
  func close() async
}

/// The sending side of one connected device, in one dialect and format.
package protocol DeviceLink: AnyObject, Sendable {
  /// The address of the device: `127.0.0.1:40213`.
  var address: String { get }
  /// The dialect and format, for people: `Golioth, CBOR`.
  var dialect: String { get }
  /// When the last packet of the device arrived on this link, on the clock of the loops. Sent packets do not count.
  var lastHeard: Duration { get }
  /// How many messages may be under way unacknowledged.
  var window: Int { get }
  /// How many calls may be sent and not have ended; the next one waits until one of them has ended.
  var unansweredWindow: Int { get }
  /// Whether a call can be sent now. If not, calls wait until the link calls `ready(_:)` of the home loop.
  var takesCalls: Bool { get }
  /// How the arrival of messages on this link becomes known.
  var acknowledgement: Acknowledgement { get }
  /// The home loop's record of the device. Set and read by that loop only, for as long as the loop uses the link.
  var record: DeviceRecord? { get set }

  /// Encodes the call for the wire. Throws `CallError.invalidCall` for a call that the device would drop or misread.
  func encode(_ call: Call, id: String) throws(CallError) -> [UInt8]
  /// Sends an encoded call, and later reports `acknowledged` or `failed` to the home loop, as far as `acknowledgement` allows.
  func transmit(_ payload: [UInt8], serial: UInt32)
  /// The message of this call has arrived, which is known from something else than its acknowledgement, such as a result: it is
  /// not retransmitted, and the next message may be sent.
  func hasArrived(_ serial: UInt32)
  /// Finds out whether the message of this call and those before it have arrived, and reports `acknowledged` to the home loop
  /// for each that has. Called only if `acknowledgement` is `.ping`. Nothing need be reported if it cannot be found out.
  func confirm(_ serial: UInt32)
  /// Asks the link to call `noteHeard(on:)` of the home loop when the next packet of the device arrives, once.
  func tellWhenHeard()
  /// Sends the device a CoAP ping. The link then calls `noteProbeEnded` of the home loop once, also if nothing could be sent.
  /// Until then, or until the device is heard, no call is sent and no other probe is requested.
  func probe()
  /// The home loop has given up the device, for this reason. The link notifies the device, now and when it is heard again, and
  /// ends.
  func end(_ reason: String)
  /// Another link of the same device has replaced this one.
  func replaced(by newer: any DeviceLink)
}

/// How a link learns that the messages that it sends have arrived.
package enum Acknowledgement: Sendable, Hashable {
  /// Each acknowledgement is seen: CoAP over UDP, plain or in DTLS.
  case each
  /// There are no acknowledgements, as over TCP, and no message waits for one. The answer to a ping that was sent after a
  /// message shows that the message has arrived; a device need not give one.
  case ping
  /// There are no acknowledgements, and only a result shows that a message has arrived. If the dialect misses none, the link
  /// calls `left(_:on:)` of the home loop for each message that it has sent.
  case none
}

extension DeviceLink {
  package var unansweredWindow: Int { .max }
  package var takesCalls: Bool { true }
  package var acknowledgement: Acknowledgement { .each }
  package func hasArrived(_ serial: UInt32) {}
  package func confirm(_ serial: UInt32) {}
}

/// Why a call's message was not delivered to the device, in words for people.
package enum LinkFailure: Error, Sendable, Hashable {
  /// It was certainly not sent.
  case notSent(String)
  /// It was sent, and not acknowledged.
  case lost(String)
  /// The device has answered it with a Reset.
  case rejected(String)
}

/// Finds the home loop of a device by its name: the same one for as long as the process runs.
package struct DeviceDirectory: Sendable {
  package let loops: [DeviceLoop]
  /// The functions that devices can call.
  package let requests: DeviceRequests

  package init(requests: DeviceRequests, loops: [DeviceLoop]) {
    self.requests = requests
    self.loops = loops
  }

  package var peerLog: PeerLog? { loops.first?.peerLog }

  package func home(of device: String) -> DeviceLoop { loops[number(of: device)] }

  func number(of device: String) -> Int {
    guard loops.count > 1 else { return 0 }
    // Swift treats names as equal that differ in their bytes but are canonically equivalent, and gives them the same hash.
    if device.utf8.contains(where: { $0 >= 0x80 }) { return Int(UInt(bitPattern: device.hashValue) % UInt(loops.count)) }
    return Int(Self.hash(device) % UInt64(loops.count))
  }

  /// FNV-1a. Swift's own hashes differ from one run to the next, which makes problems hard to reproduce.
  package static func hash(_ device: String) -> UInt64 {
    device.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  /// Counts a request that was answered with 4.29. May be called from any thread.
  package func countRateLimitedRequest() { loops.first?.metrics.rateLimitedRequests.increment() }

  /// Counts a dropped log message of a device. May be called from any thread.
  package func countDroppedLog() { loops.first?.metrics.droppedLogs.increment() }

  /// The loop that gave a call its id; another server's id may lead to any.
  func loop(of id: CallID) -> DeviceLoop? { loops.isEmpty ? nil : loops[Int(id.serial) % loops.count] }

  /// The loop that gave this call id, for a result whose sender is not known to be a device.
  package func loop(ofCall id: String) -> DeviceLoop? {
    PendingCalls<DeviceState, Never>.serial(in: id).map { loops[Int($0) % loops.count] }
  }
}

extension DeviceLoop {
  /// Runs `body` on this loop: immediately if the caller is on the loop, else queued.
  nonisolated package func run(_ body: @escaping @Sendable (isolated DeviceLoop) -> Void) {
    if driver.isCurrent {
      onLoop(body)
    } else {
      driver.execute { self.onLoop(body) }
    }
  }

  /// A faster `assumeIsolated` for code that runs for each call: the caller has just checked `driver.isCurrent`.
  ///
  /// The runtime would check it again, after the current task and its executor, which costs as much as the work itself.
  @inline(__always)
  nonisolated package func onLoop(_ body: (isolated DeviceLoop) -> Void) {
    assert(driver.isCurrent)
    // Like the standard library's implementation: isolation is a property of a function's type, not of its code. The functions
    // are wrapped in structures, since passing a bare function to a generic function would allocate twice.
    withoutActuallyEscaping(body) { unsafeBitCast(Isolated(run: $0), to: NotIsolated.self).run(self) }
  }

  private struct Isolated { let run: (isolated DeviceLoop) -> Void }
  private struct NotIsolated { let run: (DeviceLoop) -> Void }

  /// The message that carried a call has reached the device. May be called from any thread.
  nonisolated package func noteAcknowledged(_ serial: UInt32, on link: any DeviceLink) {
    if driver.isCurrent {
      onLoop { $0.acknowledged(serial, on: link) }
    } else {
      driver.execute { self.onLoop { $0.acknowledged(serial, on: link) } }
    }
  }

  /// A result has arrived on a link of the device that sent it. May be called from any thread.
  nonisolated package func noteResult(id: String, status: RPCStatus, detail: RPCValue?, on link: any DeviceLink) {
    if driver.isCurrent {
      onLoop { $0.received(id: id, status: status, detail: detail, on: link) }
    } else {
      driver.execute { self.onLoop { $0.received(id: id, status: status, detail: detail, on: link) } }
    }
  }
}
