internal import DequeModule
internal import HeapModule

/// The calls of one loop: which wait to be sent, which wait for a result, and when they are given up.
///
/// A pure state machine. It holds no clock, lock or task; each method returns what has to be done. A call leaves the
/// table exactly once, with its completion. Times are those of the loop's clock.
///
/// Each device has a lane: calls leave it one after the other, the next when the last is acknowledged and the device has
/// not too many others to answer. A call that has left is never sent again, since the device may have run it. Lanes
/// belong to the caller, and lead to their calls without a search: at tens of thousands of devices each look into a
/// dictionary waits for memory.
package struct PendingCalls<Device, Completion> {
  /// A call's number, unique as long as the table lives; it is the second half of its id.
  package typealias Serial = UInt32

  /// A call in the table. It is a reference because copies of it cost more than all else that is done with a call.
  package final class Entry {
    package let serial: Serial
    package let id: String
    package let lane: Lane
    package let call: Call
    package let timeout: Duration
    package let completion: Completion
    package let started: Duration
    package fileprivate(set) var sent: Duration?
    package fileprivate(set) var delivery: Delivery = .notSent
    /// False when the message was sent in a way of which no acknowledgement can be seen.
    package fileprivate(set) var isAcknowledgeable = true
    package fileprivate(set) var deadline: Duration
    // When it is time to find out whether it has arrived.
    fileprivate var confirmAt: Duration?
    // The lane's number of links when it left.
    fileprivate var sentOver = 0
    fileprivate var acknowledged: Duration?
    fileprivate var answered: Duration?
    /// What was wrong with an answer that could not be read, or what of the message has not arrived.
    package fileprivate(set) var problem: String?
    /// The encoded call, for as long as the device's link is the one it was encoded for.
    package fileprivate(set) var payload: [UInt8]?

    fileprivate init(
      serial: Serial, id: String, call: Call, lane: Lane, timeout: Duration, completion: Completion, started: Duration
    ) {
      self.serial = serial
      self.id = id
      self.call = call
      self.lane = lane
      self.timeout = timeout
      self.completion = completion
      self.started = started
      deadline = started + (lane.isOpen ? timeout : call.wait)
    }

    package var isAcknowledged: Bool { acknowledged != nil }

    /// When `expire` has something to do for it.
    package var nextAlarm: Duration { confirmAt.map { min($0, deadline) } ?? deadline }

    /// What is known of its way; `result` is the time of its result, if it has one.
    package func evidence(_ delivery: Delivery, result: Duration? = nil) -> CallEvidence {
      CallEvidence(
        delivery, sentAfter: delivery == .notSent ? nil : sent.map { $0 - started },
        acknowledgedAfter: acknowledged.map { $0 - started },
        resultAfter: (result ?? answered).map { $0 - started })
    }
  }

  /// The way to one device, and what its owner keeps of it.
  package final class Lane {
    /// Calls that have not ended.
    package fileprivate(set) var openCalls = 0
    fileprivate var isOpen = false
    fileprivate var waiting: Deque<Entry> = []
    // Sent, not acknowledged; a call that was given up stays here until its message is settled.
    fileprivate var unacknowledged: [Serial] = []
    // How often it was opened or closed: what was sent before says nothing about the link of now.
    fileprivate var changes = 0
    // Last, so that what each call needs lies together.
    package var device: Device

    package init(_ device: Device) {
      self.device = device
      // For the one call at a time that most devices ever have, beside the lane.
      waiting.reserveCapacity(1)
      unacknowledged.reserveCapacity(1)
    }

    /// Whether there are calls that have left and not ended.
    package var hasSent: Bool { openCalls > waiting.count }

    /// Whether there are calls that have not left.
    package var hasWaiting: Bool { !waiting.isEmpty }

    fileprivate func settle(_ serial: Serial) {
      if let index = unacknowledged.firstIndex(of: serial) { unacknowledged.remove(at: index) }
    }

    fileprivate func leave(_ entry: Entry) {
      if waiting.first === entry {
        waiting.removeFirst()
      } else if let index = waiting.firstIndex(where: { $0 === entry }) {
        waiting.remove(at: index)
      }
    }
  }

  private struct Alarm: Comparable {
    let deadline: Duration
    let serial: Serial
    static func < (left: Alarm, right: Alarm) -> Bool { left.deadline < right.deadline }
  }

  private struct Ended {
    let serial: Serial
    let lane: ObjectIdentifier
  }

  private var entries: [Serial: Entry] = [:]
  private var alarms = Heap<Alarm>()
  private var nextSerial: Serial
  private let step: Serial
  // Calls that ended, each in the place of its number, to tell a late or repeated result from one that nobody asked for.
  private var recent: [Ended?]

  /// - Parameters:
  ///   - firstSerial: the number of the first call.
  ///   - step: the distance between two numbers; loops that count by their number in steps of the number of loops never
  ///     give the same one.
  ///   - recentLimit: how many ended calls are remembered, at most.
  package init(firstSerial: Serial, step: Serial = 1, recentLimit: Int = 4_096) {
    nextSerial = firstSerial
    self.step = max(1, step)
    recent = Array(repeating: nil, count: max(1, recentLimit))
  }

  package var count: Int { entries.count }
  package var isEmpty: Bool { entries.isEmpty }

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

  /// Enters a call: behind the others of its lane when that is open, else to wait for the device. `id` is that of the
  /// method and the number, and `payload` the call as it is encoded for the device's link, if it is.
  @discardableResult
  package mutating func add(
    _ serial: Serial, id: String, _ call: Call, to lane: Lane, payload: [UInt8]? = nil, timeout: Duration,
    completion: Completion, now: Duration
  ) -> Entry {
    let entry = Entry(
      serial: serial, id: id, call: call, lane: lane, timeout: timeout, completion: completion, started: now)
    entry.payload = payload
    entries[serial] = entry
    lane.waiting.append(entry)
    lane.openCalls += 1
    alarms.insert(Alarm(deadline: entry.deadline, serial: serial))
    return entry
  }

  // MARK: The lane of a device

  /// The device can be reached: waiting calls get their time for a result from now.
  package mutating func open(_ lane: Lane, now: Duration) {
    let wasOpen = lane.isOpen
    lane.isOpen = true
    lane.changes += 1
    // What has left over the old link is settled there or never; it must not hold up the new one.
    lane.unacknowledged.removeAll(keepingCapacity: true)
    for entry in lane.waiting {
      entry.payload = nil
      if !wasOpen { setDeadline(now + entry.timeout, of: entry) }
    }
  }

  /// The device is away. Returns the calls that cannot wait for it.
  package mutating func close(_ lane: Lane, now: Duration) -> [Entry] {
    guard lane.isOpen else { return [] }
    lane.isOpen = false
    lane.changes += 1
    lane.unacknowledged = []
    var ended: [Entry] = []
    for entry in lane.waiting {
      let reachableBy = entry.started + entry.call.wait
      if reachableBy > now {
        setDeadline(reachableBy, of: entry)
        entry.payload = nil
      } else {
        ended.append(entry)
      }
    }
    for entry in ended { _ = end(entry.serial) }
    return ended
  }

  /// The next call of the lane, if one may leave now. Say `sent(_:)` or `end(_:)` of it.
  ///
  /// - Parameters:
  ///   - window: how many messages may be under way unacknowledged.
  ///   - unanswered: how many calls may have left and not ended.
  package func nextToSend(_ lane: Lane, window: Int, unanswered: Int = .max) -> Entry? {
    guard lane.isOpen, lane.unacknowledged.count < window, lane.openCalls - lane.waiting.count < unanswered
    else { return nil }
    return lane.waiting.first
  }

  /// The oldest waiting call of a device that asks for it instead of observing.
  package func oldestWaiting(_ lane: Lane) -> Entry? { lane.waiting.first }

  /// The call has left, in a way that is acknowledged or not.
  package mutating func sent(_ entry: Entry, _ acknowledgement: Acknowledgement = .each, now: Duration) {
    guard entry.sent == nil else { return }
    entry.sent = now
    entry.delivery = .sentNoAck
    entry.isAcknowledgeable = acknowledgement == .each
    entry.sentOver = entry.lane.changes
    entry.payload = nil
    entry.lane.leave(entry)
    if entry.lane.isOpen {
      if acknowledgement == .each { entry.lane.unacknowledged.append(entry.serial) }
    } else {
      // A device that polls is reachable by its asking.
      setDeadline(now + entry.timeout, of: entry)
    }
    if acknowledgement == .ping {
      // Late, since most calls are answered before, and early enough for the answer of a slow network.
      let confirmAt = entry.deadline - min(entry.timeout / 4, .seconds(5))
      entry.confirmAt = confirmAt
      alarms.insert(Alarm(deadline: confirmAt, serial: entry.serial))
    }
  }

  /// The message that carried the call is acknowledged, or will never be. Returns the call if it has not ended before.
  @discardableResult
  package mutating func settled(_ serial: Serial, on lane: Lane, isDelivered: Bool, now: Duration) -> Entry? {
    lane.settle(serial)
    guard let entry = entries[serial] else { return nil }
    if isDelivered, entry.acknowledged == nil {
      entry.acknowledged = now
      if entry.delivery == .sentNoAck { entry.delivery = .delivered }
    }
    return entry
  }

  /// A part of the message that carried the call has arrived.
  package func begun(_ serial: Serial, _ missing: String) {
    if let entry = entries[serial], entry.delivery == .sentNoAck { entry.problem = missing }
  }

  /// An answer to a call has arrived that cannot be read: the call stays, since a better one may come. Nil when no call
  /// that has left and not ended has this id.
  package mutating func unreadable(id: String, reason: String, from lane: Lane?, now: Duration) -> Entry? {
    guard let entry = sentEntry(id: id, from: lane) else { return nil }
    entry.lane.settle(entry.serial)
    entry.delivery = .unreadable
    entry.answered = now
    entry.problem = reason
    return entry
  }

  /// The calls that have left and not ended, in the order of their numbers, of those lanes for which `isMeant` says so: one
  /// walk over all calls for any number of lanes.
  package func sentCalls(where isMeant: (Lane) -> Bool) -> [Entry] {
    entries.values.filter { $0.sent != nil && isMeant($0.lane) }.sorted { $0.serial < $1.serial }
  }

  // MARK: A call's end

  /// Takes a call out of the table; nil when it has ended already.
  package mutating func end(_ serial: Serial) -> Entry? {
    guard let entry = entries.removeValue(forKey: serial) else { return nil }
    let lane = entry.lane
    if entry.sent == nil { lane.leave(entry) }
    lane.openCalls -= 1
    recent[place(of: serial)] = Ended(serial: serial, lane: ObjectIdentifier(lane))
    compactAlarms()
    return entry
  }

  private func place(of serial: Serial) -> Int { Int(serial / step) % recent.count }

  package enum ResultMatch {
    case call(Entry)
    /// The call has ended before: the result is late or comes again.
    case ended
    case unknown
  }

  // `lane` is nil when the sender is not known to be a device.
  private func sentEntry(id: String, from lane: Lane?) -> Entry? {
    guard let serial = Self.serial(in: id), let entry = entries[serial], entry.id == id,
      lane == nil || lane === entry.lane
    else { return nil }
    // A call that has not left cannot have a result.
    return entry.sent == nil ? nil : entry
  }

  /// Whether a call of this lane that has left and not ended has this id.
  package func isAwaited(_ id: String, from lane: Lane) -> Bool { sentEntry(id: id, from: lane) != nil }

  /// The lane of the open call of this id.
  package func lane(ofCall id: String) -> Lane? {
    Self.serial(in: id).flatMap { entries[$0] }.flatMap { $0.id == id ? $0.lane : nil }
  }

  /// Whether an id is that of a call to another device, open or ended not long ago.
  package func isForeign(_ id: String, to lane: Lane?) -> Bool {
    guard let serial = Self.serial(in: id) else { return false }
    if let entry = entries[serial] { return entry.id == id && entry.lane !== lane }
    guard let ended = recent[place(of: serial)], ended.serial == serial else { return false }
    return ended.lane != lane.map(ObjectIdentifier.init)
  }

  /// Ends the call that a result answers. `lane` is nil when the sender is not known to be a device.
  package mutating func result(id: String, from lane: Lane?) -> ResultMatch {
    guard let serial = Self.serial(in: id) else { return .unknown }
    guard let entry = entries[serial] else {
      guard let ended = recent[place(of: serial)], ended.serial == serial,
        lane == nil || lane.map(ObjectIdentifier.init) == ended.lane
      else { return .unknown }
      return .ended
    }
    // A call that has not left cannot have a result.
    guard entry.id == id, lane == nil || lane === entry.lane, entry.sent != nil else { return .unknown }
    entry.lane.settle(serial)
    return end(serial).map(ResultMatch.call) ?? .unknown
  }

  /// When `expire` has something to do next; nil when nothing waits.
  package mutating func nextDeadline() -> Duration? {
    while let alarm = alarms.min {
      if let entry = entries[alarm.serial], entry.deadline == alarm.deadline || entry.confirmAt == alarm.deadline {
        return alarm.deadline
      }
      alarms.removeMin()
    }
    return nil
  }

  /// Takes the calls out whose time is over. `confirm` gets those that near their end without being known to have
  /// arrived, where that can be found out.
  package mutating func expire(
    now: Duration, confirm: (Entry) -> Void = { _ in }
  ) -> [(entry: Entry, wasReachable: Bool)] {
    var expired: [(Entry, Bool)] = []
    while let deadline = nextDeadline(), deadline <= now, let alarm = alarms.popMin() {
      guard let entry = entries[alarm.serial] else { continue }
      if entry.deadline <= now {
        _ = end(alarm.serial)
        expired.append((entry, entry.lane.isOpen || entry.sent != nil))
      } else {
        entry.confirmAt = nil
        if entry.sentOver == entry.lane.changes, entry.delivery == .sentNoAck { confirm(entry) }
      }
    }
    return expired
  }

  /// Takes all calls out.
  package mutating func endAll() -> [Entry] {
    let all = entries.keys.sorted()
    return all.compactMap { end($0) }
  }

  // Alarms that mean nothing any more are dropped when they are due; a burst of long deadlines must not pile up.
  private mutating func compactAlarms() {
    guard alarms.count > 1_024, alarms.count > 4 * entries.count else { return }
    var all = entries.values.map { Alarm(deadline: $0.deadline, serial: $0.serial) }
    for entry in entries.values {
      if let time = entry.confirmAt { all.append(Alarm(deadline: time, serial: entry.serial)) }
    }
    alarms = Heap(all)
  }

  private mutating func setDeadline(_ deadline: Duration, of entry: Entry) {
    entry.deadline = deadline
    alarms.insert(Alarm(deadline: deadline, serial: entry.serial))
    compactAlarms()
  }
}
