package import FoundationEssentials
internal import Metrics

/// A loop as the core sees it: the thread on which the devices of one `DeviceLoop` live, its clock and its timer.
package protocol LoopDriver: SerialExecutor {
  /// The loop's clock; only differences mean something.
  var now: Duration { get }
  /// The wall clock, which may be set back and forth at any time.
  var date: Date { get }
  /// True on the loop's own thread.
  var isCurrent: Bool { get }
  /// Runs `action` on the loop, after what is queued; from any thread.
  func execute(_ action: @escaping @Sendable () -> Void)
  /// A timer that runs `action` on the loop. Called on the loop.
  func makeAlarm(_ action: @escaping @Sendable () -> Void) -> any LoopAlarm
}

extension LoopDriver {
  package var date: Date { Date() }
}

/// A loop's timer, used on its loop only.
package protocol LoopAlarm: AnyObject {
  /// Fires once at `deadline`; a later call replaces an earlier one, nil takes it back.
  func set(_ deadline: Duration?)
  func cancel()
}

/// One way for devices to be reached: loops, and the sockets on them.
package protocol DeviceTransport: Sendable {
  var drivers: [any LoopDriver] { get }
  /// The loops as executors for callers' tasks, one for each driver; empty when they cannot be.
  var callerExecutors: [any TaskExecutor] { get }
  /// Where devices connect, as a person would type it; known once `start` has returned.
  var addresses: [String] { get }
  /// Opens the sockets. What arrives is told to the home loop of the device it comes from.
  func start(_ directory: DeviceDirectory) async throws
  /// Ends all links and sockets, then the loops. May be called twice, and without `start`.
  func close() async
}

/// The sending side of one connected device, in one dialect and format.
package protocol DeviceLink: AnyObject, Sendable {
  /// Where the device is: `127.0.0.1:40213`.
  var address: String { get }
  /// What it speaks, for people: `Golioth, CBOR`.
  var dialect: String { get }
  /// When the device was last heard on this link, on the clock of the loops: by packets that it sent, and by nothing else.
  var lastHeard: Duration { get }
  /// How many messages may be under way unacknowledged.
  var window: Int { get }
  /// How many calls the device may have that it has not answered; the next one waits until one of them has ended.
  var unansweredWindow: Int { get }
  /// What can be known of the arrival of its messages.
  var acknowledgement: Acknowledgement { get }
  /// What the home loop keeps of the device: set and read by that loop only, for as long as the link is known to it.
  var record: DeviceRecord? { get set }

  /// The call as it goes over the wire. Throws `CallError.invalidCall` for what the device would drop or misread.
  func encode(_ call: Call, id: String) throws(CallError) -> [UInt8]
  /// Sends an encoded call, and tells the home loop later: `acknowledged` or `failed`, as far as `acknowledgement` goes.
  func transmit(_ payload: [UInt8], serial: UInt32)
  /// Something else than an acknowledgement says that the message of this call has arrived, as its result does: nothing of it
  /// is sent again, and the next one may leave.
  func hasArrived(_ serial: UInt32)
  /// Finds out whether the message of this call has arrived, and those before it, and tells the home loop `acknowledged`
  /// of each that has. Said only where `acknowledgement` is `.ping`; what it does not find out it need not tell.
  func confirm(_ serial: UInt32)
  /// Tells the home loop `noteHeard(on:)` when the device is heard next, once.
  func tellWhenHeard()
  /// Asks the device for a sign of life, with a CoAP ping. The home loop is told `noteProbeEnded` once, also when nothing
  /// could be sent; until then, or until the device is heard, no call leaves, and no other probe is asked for.
  func probe()
  /// The home loop has given the device up, for this reason: tells it so, now and when it is heard again, and ends.
  func end(_ reason: String)
  /// Another link of the same device has taken the place of this one.
  func replaced(by newer: any DeviceLink)
}

/// What a link learns of the arrival of the messages that it sends.
package enum Acknowledgement: Sendable, Hashable {
  /// Each acknowledgement is seen: CoAP over UDP, plain or in DTLS.
  case each
  /// There are none, as over TCP, and nothing is held up for them. The answer to a ping that was sent behind a message
  /// says that the message has arrived; a device need not give one.
  case ping
  /// There are none, and nothing but a result tells.
  case none
}

extension DeviceLink {
  package var unansweredWindow: Int { .max }
  package var acknowledgement: Acknowledgement { .each }
  package func hasArrived(_ serial: UInt32) {}
  package func confirm(_ serial: UInt32) {}
}

/// Why a message has not taken its call to the device, in words for people.
package enum LinkFailure: Error, Sendable, Hashable {
  /// It has certainly not left.
  case notSent(String)
  /// It has left, and was not acknowledged.
  case lost(String)
  /// The device has answered it with a Reset.
  case rejected(String)
}

/// The home loop of each device: the same for as long as the process lives, by the device's name.
package struct DeviceDirectory: Sendable {
  package let loops: [DeviceLoop]

  package init(loops: [DeviceLoop]) { self.loops = loops }

  package var peerLog: PeerLog? { loops.first?.peerLog }

  package func home(of device: String) -> DeviceLoop { loops[number(of: device)] }

  func number(of device: String) -> Int {
    guard loops.count > 1 else { return 0 }
    // Swift takes names for equal that differ in their bytes, and has the same hash for them.
    if device.utf8.contains(where: { $0 >= 0x80 }) { return Int(UInt(bitPattern: device.hashValue) % UInt(loops.count)) }
    return Int(Self.hash(device) % UInt64(loops.count))
  }

  /// FNV-1a: Swift's own hashes differ from one run to the next, which makes problems hard to find again.
  package static func hash(_ device: String) -> UInt64 {
    device.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  /// A request was answered with 4.29, from any thread.
  package func countRateLimitedRequest() { loops.first?.metrics.rateLimitedRequests.increment() }

  /// A line that a device has logged was dropped, from any thread.
  package func countDroppedLog() { loops.first?.metrics.droppedLogs.increment() }

  /// The loop that gave the call of this id, when the sender of its result is not known to be a device.
  package func loop(ofCall id: String) -> DeviceLoop? {
    PendingCalls<DeviceState, Never>.serial(in: id).map { loops[Int($0) % loops.count] }
  }
}

extension DeviceLoop {
  /// Runs `body` on this loop: now if the caller is on it, else as soon as it is its turn.
  nonisolated package func run(_ body: @escaping @Sendable (isolated DeviceLoop) -> Void) {
    if driver.isCurrent {
      onLoop(body)
    } else {
      driver.execute { self.onLoop(body) }
    }
  }

  /// `assumeIsolated` for the path of a call: the caller has just asked `driver.isCurrent`.
  ///
  /// The runtime would ask it again, after the current task and its executor, at the price of the work itself.
  @inline(__always)
  nonisolated package func onLoop(_ body: (isolated DeviceLoop) -> Void) {
    assert(driver.isCurrent)
    // Like the standard library's: being isolated is a property of a function's type, not of its code. Inside of
    // structures, since a bare function would be wrapped, at the price of two allocations, to be handed to a generic one.
    withoutActuallyEscaping(body) { unsafeBitCast(Isolated(run: $0), to: NotIsolated.self).run(self) }
  }

  private struct Isolated { let run: (isolated DeviceLoop) -> Void }
  private struct NotIsolated { let run: (DeviceLoop) -> Void }

  /// The message that carried a call has reached the device; from any thread.
  nonisolated package func noteAcknowledged(_ serial: UInt32, on link: any DeviceLink) {
    if driver.isCurrent {
      onLoop { $0.acknowledged(serial, on: link) }
    } else {
      driver.execute { self.onLoop { $0.acknowledged(serial, on: link) } }
    }
  }

  /// A result has arrived on a link of the device that sent it; from any thread.
  nonisolated package func noteResult(id: String, status: RPCStatus, detail: RPCValue?, on link: any DeviceLink) {
    if driver.isCurrent {
      onLoop { $0.received(id: id, status: status, detail: detail, on: link) }
    } else {
      driver.execute { self.onLoop { $0.received(id: id, status: status, detail: detail, on: link) } }
    }
  }
}
