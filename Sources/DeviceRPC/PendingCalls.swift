internal import DequeModule
internal import HeapModule

/// The calls of one loop: which wait to be sent, which wait for a result, and when they are given up.
///
/// A pure state machine. It holds no clock, lock or task; each method returns what has to be done. A call leaves the
/// table exactly once, with its completion. Times are those of the loop's clock.
///
/// Each device has a lane: calls leave it one after the other, the next when the last is acknowledged. A call that has
/// left is never sent again, since the device may have run it.
package struct PendingCalls<Device: Hashable, Completion> {
  /// A call's number, unique as long as the table lives; it is the second half of its id.
  package typealias Serial = UInt32

  /// A call in the table. It is a reference because copies of it cost more than all else that is done with a call.
  package final class Entry {
    package let serial: Serial
    package let id: String
    package let device: Device
    package let call: Call
    package let timeout: Duration
    package let completion: Completion
    package let started: Duration
    package fileprivate(set) var sent: Duration?
    package fileprivate(set) var delivery: Delivery = .notSent
    package fileprivate(set) var deadline: Duration
    /// The encoded call, for as long as the device's link is the one it was encoded for.
    package fileprivate(set) var payload: [UInt8]?
    fileprivate let lane: Lane

    fileprivate init(
      serial: Serial, device: Device, call: Call, timeout: Duration, completion: Completion, started: Duration,
      lane: Lane
    ) {
      self.serial = serial
      self.device = device
      self.call = call
      self.timeout = timeout
      self.completion = completion
      self.started = started
      self.lane = lane
      id = PendingCalls.id(method: call.method, serial: serial)
      deadline = started + (lane.isOpen ? timeout : call.wait)
    }
  }

  fileprivate final class Lane {
    var waiting: Deque<Serial> = []
    // Sent, not acknowledged; a call that was given up stays here until its message is settled.
    var unacknowledged: [Serial] = []
    var live = 0
    var isOpen = false

    func settle(_ serial: Serial) {
      if let index = unacknowledged.firstIndex(of: serial) { unacknowledged.remove(at: index) }
    }

    func leave(_ serial: Serial) {
      if waiting.first == serial {
        waiting.removeFirst()
      } else if let index = waiting.firstIndex(of: serial) {
        waiting.remove(at: index)
      }
    }
  }

  private struct Alarm: Comparable {
    let deadline: Duration
    let serial: Serial
    static func < (left: Alarm, right: Alarm) -> Bool { left.deadline < right.deadline }
  }

  private var entries: [Serial: Entry] = [:]
  private var lanes: [Device: Lane] = [:]
  private var alarms = Heap<Alarm>()
  private var nextSerial: Serial
  private let step: Serial
  // The last calls that ended, to tell a late or repeated result from one that nobody asked for.
  private var recent: [Serial: Device] = [:]
  private var recentOrder: Deque<Serial> = []
  private let recentLimit: Int

  /// - Parameters:
  ///   - firstSerial: the number of the first call.
  ///   - step: the distance between two numbers; loops that count by their number in steps of the number of loops never
  ///     give the same one.
  ///   - recentLimit: how many ended calls are remembered.
  package init(firstSerial: Serial, step: Serial = 1, recentLimit: Int = 4_096) {
    nextSerial = firstSerial
    self.step = max(1, step)
    self.recentLimit = recentLimit
  }

  package var count: Int { entries.count }
  package var isEmpty: Bool { entries.isEmpty }

  package func count(for device: Device) -> Int { lanes[device]?.live ?? 0 }

  package subscript(serial: Serial) -> Entry? { entries[serial] }

  // MARK: A call's beginning

  /// A number for a call that `add` will enter.
  package mutating func reserve() -> Serial {
    while entries[nextSerial] != nil { advance() }
    defer { advance() }
    return nextSerial
  }

  // Plain wrapping would leave the residue by which an id tells its loop.
  private mutating func advance() {
    let (next, overflow) = nextSerial.addingReportingOverflow(step)
    nextSerial = overflow ? nextSerial % step : next
  }

  /// Enters a call: behind the others of its device when the lane is open, else to wait for the device.
  package mutating func add(
    _ serial: Serial, _ call: Call, to device: Device, timeout: Duration, completion: Completion, now: Duration
  ) {
    let lane = lane(of: device)
    let entry = Entry(
      serial: serial, device: device, call: call, timeout: timeout, completion: completion, started: now,
      lane: lane)
    entries[serial] = entry
    lane.waiting.append(serial)
    lane.live += 1
    alarms.insert(Alarm(deadline: entry.deadline, serial: serial))
  }

  private mutating func lane(of device: Device) -> Lane {
    if let lane = lanes[device] { return lane }
    let lane = Lane()
    lanes[device] = lane
    return lane
  }

  /// The method, a slash, and the number in lower-case hexadecimal, four digits or more.
  package static func id(method: String, serial: Serial) -> String {
    let digits = String(serial, radix: 16)
    return method + "/" + String(repeating: "0", count: max(0, 4 - digits.utf8.count)) + digits
  }

  /// The number in an id of ours; nil for anything that cannot be one.
  package static func serial(in id: String) -> Serial? {
    guard let slash = id.utf8.lastIndex(of: UInt8(ascii: "/")) else { return nil }
    let digits = id.utf8[id.utf8.index(after: slash)...]
    guard (4...8).contains(digits.count) else { return nil }
    var serial: Serial = 0
    for digit in digits {
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): serial = serial << 4 | Serial(digit - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"): serial = serial << 4 | Serial(digit - UInt8(ascii: "a") + 10)
      default: return nil
      }
    }
    return serial
  }

  package mutating func keep(_ payload: [UInt8], for serial: Serial) { entries[serial]?.payload = payload }

  // MARK: The lane of a device

  /// The device can be reached: waiting calls get their time for a result from now.
  package mutating func open(_ device: Device, now: Duration) {
    let lane = lane(of: device)
    let wasOpen = lane.isOpen
    lane.isOpen = true
    // What has left over the old link is settled there or never; it must not hold up the new one.
    lane.unacknowledged = []
    for serial in lane.waiting {
      guard let entry = entries[serial] else { continue }
      entry.payload = nil
      if !wasOpen { setDeadline(now + entry.timeout, of: entry) }
    }
  }

  /// The device is away. Returns the calls that cannot wait for it.
  package mutating func close(_ device: Device, now: Duration) -> [Entry] {
    guard let lane = lanes[device], lane.isOpen else { return [] }
    lane.isOpen = false
    lane.unacknowledged = []
    var ended: [Entry] = []
    for serial in lane.waiting {
      guard let entry = entries[serial] else { continue }
      let reachableBy = entry.started + entry.call.wait
      if reachableBy > now {
        setDeadline(reachableBy, of: entry)
        entry.payload = nil
      } else if let entry = remove(serial) {
        ended.append(entry)
      }
    }
    forgetIfIdle(device, lane)
    return ended
  }

  /// The next call of the device, if one may leave now. Say `sent(_:)` or `end(_:)` of it.
  package mutating func nextToSend(_ device: Device, window: Int) -> Entry? {
    guard let lane = lanes[device], lane.isOpen, lane.unacknowledged.count < window,
      let serial = lane.waiting.first
    else { return nil }
    return entries[serial]
  }

  /// The oldest waiting call of a device that asks for it instead of observing.
  package mutating func oldestWaiting(_ device: Device) -> Entry? {
    lanes[device]?.waiting.first.flatMap { entries[$0] }
  }

  /// The call has left. With `isSettled` there will be no acknowledgement to wait for.
  package mutating func sent(_ serial: Serial, isSettled: Bool = false, now: Duration) {
    guard let entry = entries[serial], entry.sent == nil else { return }
    entry.sent = now
    entry.delivery = .sent
    entry.payload = nil
    entry.lane.leave(serial)
    if entry.lane.isOpen {
      if !isSettled { entry.lane.unacknowledged.append(serial) }
    } else {
      // A device that polls is reachable by its asking.
      setDeadline(now + entry.timeout, of: entry)
    }
  }

  /// The message that carried the call is acknowledged, or will never be. The call itself may have ended before.
  package mutating func settled(_ serial: Serial, on device: Device, isDelivered: Bool) {
    lanes[device]?.settle(serial)
    if isDelivered { entries[serial]?.delivery = .delivered }
  }

  // MARK: A call's end

  /// Takes a call out of the table; nil when it has ended already.
  package mutating func end(_ serial: Serial) -> Entry? { remove(serial) }

  package enum ResultMatch {
    case call(Entry)
    /// The call has ended before: the result is late or comes again.
    case ended
    case unknown
  }

  /// Ends the call that a result answers. `device` is nil when the sender is not known to be a device.
  package mutating func result(id: String, from device: Device?) -> ResultMatch {
    guard let serial = Self.serial(in: id) else { return .unknown }
    guard let entry = entries[serial] else {
      guard let asked = recent[serial], device == nil || device == asked else { return .unknown }
      return .ended
    }
    // A call that has not left cannot have a result.
    guard entry.id == id, device == nil || device == entry.device, entry.sent != nil else { return .unknown }
    entry.lane.settle(serial)
    return remove(serial).map(ResultMatch.call) ?? .unknown
  }

  /// When `expire` has something to do next; nil when nothing waits.
  package mutating func nextDeadline() -> Duration? {
    while let alarm = alarms.min {
      if entries[alarm.serial]?.deadline == alarm.deadline { return alarm.deadline }
      alarms.removeMin()
    }
    return nil
  }

  /// Takes the calls out whose time is over.
  package mutating func expire(now: Duration) -> [(entry: Entry, wasReachable: Bool)] {
    var expired: [(Entry, Bool)] = []
    while let deadline = nextDeadline(), deadline <= now, let alarm = alarms.popMin() {
      if let entry = remove(alarm.serial) { expired.append((entry, entry.lane.isOpen || entry.sent != nil)) }
    }
    return expired
  }

  /// Takes all calls out.
  package mutating func endAll() -> [Entry] {
    let all = entries.keys.sorted()
    return all.compactMap { remove($0) }
  }

  private mutating func remove(_ serial: Serial) -> Entry? {
    guard let entry = entries.removeValue(forKey: serial) else { return nil }
    if entry.sent == nil { entry.lane.leave(serial) }
    entry.lane.live -= 1
    forgetIfIdle(entry.device, entry.lane)
    recent[serial] = entry.device
    recentOrder.append(serial)
    if recentOrder.count > recentLimit, let oldest = recentOrder.popFirst() { recent[oldest] = nil }
    compactAlarms()
    return entry
  }

  // Alarms that mean nothing any more are dropped when they are due; a burst of long deadlines must not pile up.
  private mutating func compactAlarms() {
    guard alarms.count > 1_024, alarms.count > 4 * entries.count else { return }
    alarms = Heap(entries.values.map { Alarm(deadline: $0.deadline, serial: $0.serial) })
  }

  private mutating func setDeadline(_ deadline: Duration, of entry: Entry) {
    entry.deadline = deadline
    alarms.insert(Alarm(deadline: deadline, serial: entry.serial))
    compactAlarms()
  }

  // Lanes of connected devices stay, those of absent ones only while they hold calls.
  private mutating func forgetIfIdle(_ device: Device, _ lane: Lane) {
    if !lane.isOpen, lane.live == 0 { lanes[device] = nil }
  }
}
