internal import DequeModule
internal import HeapModule

/// The table of the calls of one loop: calls that wait to be sent, calls that wait for a result, and their deadlines.
///
/// A pure state machine. It holds no clock, lock or task; each method returns what has to be done. A call leaves the table
/// exactly once, with its completion. Times are those of the loop's clock.
///
/// Each device has a lane, from which its calls are sent in order. The next one is sent when the previous one is acknowledged,
/// and when the device has not too many calls to answer. A call that has been sent is never sent again, since the device may
/// have run it. The caller keeps the lanes, and these refer to their calls directly: with tens of thousands of devices each
/// dictionary lookup is a cache miss.
package struct PendingCalls<Device, Completion> {
  /// A call's number, unique as long as the table lives; it is the second half of its id.
  package typealias Serial = UInt32

  /// A call in the table. A class, because copying it would cost more than everything else that is done with a call.
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
    /// False when the message was sent over a transport on which no acknowledgement can be seen.
    package fileprivate(set) var isAcknowledgeable = true
    package fileprivate(set) var deadline: Duration
    // When to find out whether the call has arrived; see `DeviceLink.confirm(_:)`.
    fileprivate var confirmAt: Duration?
    // The value of the lane's `changes` when the call was sent.
    fileprivate var sentOver = 0
    fileprivate var acknowledged: Duration?
    fileprivate var answered: Duration?
    /// Why an answer could not be read, or which part of the message has not arrived.
    package fileprivate(set) var problem: String?
    /// The encoded call; nil once it is sent, or when the device has another link than the one it was encoded for.
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

    /// When `expire` has to handle this call next.
    package var nextAlarm: Duration { confirmAt.map { min($0, deadline) } ?? deadline }

    /// The evidence for this call; `result` is the time of its result, if it has one.
    package func evidence(_ delivery: Delivery, result: Duration? = nil) -> CallEvidence {
      CallEvidence(
        delivery, sentAfter: delivery == .notSent ? nil : sent.map { $0 - started },
        acknowledgedAfter: acknowledged.map { $0 - started },
        resultAfter: (result ?? answered).map { $0 - started })
    }
  }

  /// The queue of calls to one device, and the owner's data about the device.
  package final class Lane {
    /// Calls that have not ended.
    package fileprivate(set) var openCalls = 0
    fileprivate var isOpen = false
    fileprivate var waiting: Deque<Entry> = []
    // Sent, not acknowledged. A call that has ended stays here until its message is settled.
    fileprivate var unacknowledged: [Serial] = []
    // How often the lane was opened or closed: a call sent before the last change says nothing about the current link.
    fileprivate var changes = 0
    // The last field, so that the fields that each call uses are adjacent in memory.
    package var device: Device

    package init(_ device: Device) {
      self.device = device
      // Room for one call: most devices never have more at a time.
      waiting.reserveCapacity(1)
      unacknowledged.reserveCapacity(1)
    }

    /// Whether there are calls that were sent and have not ended.
    package var hasSent: Bool { openCalls > waiting.count }

    /// Whether there are calls that were not sent yet.
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
  // Calls that ended recently, each at the index of its number, to tell a late or repeated result from one of an unknown call.
  private var recent: [Ended?]

  /// - Parameters:
  ///   - firstSerial: the number of the first call.
  ///   - step: the distance between two numbers. With the number of loops as the step, each loop has its own numbers.
  ///   - recentLimit: the number of ended calls that are remembered.
  package init(firstSerial: Serial, step: Serial = 1, recentLimit: Int = 4_096) {
    self.step = min(max(1, step), Self.largestSerial)
    nextSerial = firstSerial <= Self.largestSerial ? firstSerial : firstSerial % self.step
    recent = Array(repeating: nil, count: max(1, recentLimit))
  }

  package var count: Int { entries.count }
  /// Those that were not sent yet.
  package private(set) var waitingCount = 0
  package var isEmpty: Bool { entries.isEmpty }

  package subscript(serial: Serial) -> Entry? { entries[serial] }

  /// All calls, in no order.
  package var all: some Collection<Entry> { entries.values }

  /// The calls of one lane, in no order: a walk over all of them.
  package func calls(of lane: Lane) -> [Entry] { lane.openCalls == 0 ? [] : entries.values.filter { $0.lane === lane } }

  // MARK: Beginning of a call

  /// Returns a number for a call that `add` will enter.
  package mutating func reserve() -> Serial {
    while entries[nextSerial] != nil { advance() }
    defer { advance() }
    return nextSerial
  }

  // Plain wrapping would change the residue, which identifies the loop in an id.
  private mutating func advance() {
    let next = nextSerial + step
    nextSerial = next > Self.largestSerial ? nextSerial % step : next
  }

  /// Enters a call at the end of its lane. If the lane is closed, the call waits for the device. `id` is the id for the method
  /// and the number. `payload` is the call as encoded for the device's link, if it has been encoded.
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
    waitingCount += 1
    alarms.insert(Alarm(deadline: entry.deadline, serial: serial))
    return entry
  }

  // MARK: Lanes

  /// The device can be reached. If the lane was closed, the timeouts of waiting calls begin now.
  package mutating func open(_ lane: Lane, now: Duration) {
    let wasOpen = lane.isOpen
    lane.isOpen = true
    lane.changes += 1
    // Messages on the old link must not hold up the new one.
    lane.unacknowledged.removeAll(keepingCapacity: true)
    for entry in lane.waiting {
      entry.payload = nil
      if !wasOpen { setDeadline(now + entry.timeout, of: entry) }
    }
  }

  /// The device cannot be reached. Ends and returns the calls that cannot wait for it.
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

  /// Returns the next call of the lane that may be sent now, if any. The caller must then call `sent(_:)` or `end(_:)` for it.
  ///
  /// - Parameters:
  ///   - window: how many messages may be under way unacknowledged.
  ///   - unanswered: how many calls may have been sent and not ended.
  package func nextToSend(_ lane: Lane, window: Int, unanswered: Int = .max) -> Entry? {
    guard lane.isOpen, lane.unacknowledged.count < window, lane.openCalls - lane.waiting.count < unanswered
    else { return nil }
    return lane.waiting.first
  }

  /// The oldest waiting call, for a device that polls instead of observing.
  package func oldestWaiting(_ lane: Lane) -> Entry? { lane.waiting.first }

  /// The call was sent, over a transport with this kind of acknowledgement.
  package mutating func sent(_ entry: Entry, _ acknowledgement: Acknowledgement = .each, now: Duration) {
    guard entry.sent == nil else { return }
    waitingCount -= 1
    entry.sent = now
    entry.delivery = .sentNoAck
    entry.isAcknowledgeable = acknowledgement == .each
    entry.sentOver = entry.lane.changes
    entry.payload = nil
    entry.lane.leave(entry)
    if entry.lane.isOpen {
      if acknowledgement == .each { entry.lane.unacknowledged.append(entry.serial) }
    } else {
      // A device that polls is reachable when it polls.
      setDeadline(now + entry.timeout, of: entry)
    }
    if acknowledgement == .ping {
      // Late, since most calls are answered before, but early enough for the answer of a slow network.
      let confirmAt = entry.deadline - min(entry.timeout / 4, .seconds(5))
      entry.confirmAt = confirmAt
      alarms.insert(Alarm(deadline: confirmAt, serial: entry.serial))
    }
  }

  /// The call's message was acknowledged, or will never be. Returns the call if it has not ended before.
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

  /// Part of the call's message has arrived; `missing` describes the rest.
  package func begun(_ serial: Serial, _ missing: String) {
    if let entry = entries[serial], entry.delivery == .sentNoAck { entry.problem = missing }
  }

  /// An answer that cannot be read has arrived. The call stays open, since a readable one may come. Returns nil when no call
  /// that was sent and has not ended has this id.
  package mutating func unreadable(id: String, reason: String, from lane: Lane?, now: Duration) -> Entry? {
    guard let entry = sentEntry(id: id, from: lane) else { return nil }
    entry.lane.settle(entry.serial)
    entry.delivery = .unreadable
    entry.answered = now
    entry.problem = reason
    return entry
  }

  /// The calls that were sent and have not ended, in the order of their numbers, of the lanes for which `isMeant` returns true.
  /// Walks over all calls once, for any number of lanes.
  package func sentCalls(where isMeant: (Lane) -> Bool) -> [Entry] {
    entries.values.filter { $0.sent != nil && isMeant($0.lane) }.sorted { $0.serial < $1.serial }
  }

  // MARK: End of a call

  /// Removes a call from the table, and returns it; nil when it has ended already.
  package mutating func end(_ serial: Serial) -> Entry? {
    guard let entry = entries.removeValue(forKey: serial) else { return nil }
    let lane = entry.lane
    if entry.sent == nil {
      lane.leave(entry)
      waitingCount -= 1
    }
    lane.openCalls -= 1
    recent[place(of: serial)] = Ended(serial: serial, lane: ObjectIdentifier(lane))
    compactAlarms()
    return entry
  }

  private func place(of serial: Serial) -> Int { Int(serial / step) % recent.count }

  package enum ResultMatch {
    case call(Entry)
    /// The call has ended before: the result is late or repeated.
    case ended
    case unknown
  }

  // `lane` is nil when the sender is not known to be a device.
  private func sentEntry(id: String, from lane: Lane?) -> Entry? {
    guard let serial = Self.serial(in: id), let entry = entries[serial], Self.isID(id, of: entry.id),
      lane == nil || lane === entry.lane
    else { return nil }
    // A call that was not sent cannot have a result.
    return entry.sent == nil ? nil : entry
  }

  /// Whether a call of this lane with this id was sent and has not ended.
  package func isAwaited(_ id: String, from lane: Lane) -> Bool { sentEntry(id: id, from: lane) != nil }

  /// The lane of the open call with this id.
  package func lane(ofCall id: String) -> Lane? {
    Self.serial(in: id).flatMap { entries[$0] }.flatMap { Self.isID(id, of: $0.id) ? $0.lane : nil }
  }

  /// Whether the id belongs to a call to another device that is open or ended recently.
  package func isForeign(_ id: String, to lane: Lane?) -> Bool {
    guard let serial = Self.serial(in: id) else { return false }
    if let entry = entries[serial] { return Self.isID(id, of: entry.id) && entry.lane !== lane }
    guard let ended = recent[place(of: serial)], ended.serial == serial else { return false }
    return ended.lane != lane.map(ObjectIdentifier.init)
  }

  /// Ends the call that this result answers. `lane` is nil when the sender is not known to be a device.
  package mutating func result(id: String, from lane: Lane?) -> ResultMatch {
    guard let serial = Self.serial(in: id) else { return .unknown }
    guard let entry = entries[serial] else {
      guard let ended = recent[place(of: serial)], ended.serial == serial,
        lane == nil || lane.map(ObjectIdentifier.init) == ended.lane
      else { return .unknown }
      return .ended
    }
    // A call that was not sent cannot have a result.
    guard Self.isID(id, of: entry.id), lane == nil || lane === entry.lane, entry.sent != nil else { return .unknown }
    entry.lane.settle(serial)
    return end(serial).map(ResultMatch.call) ?? .unknown
  }

  /// When `expire` has to be called next; nil when no call is in the table.
  package mutating func nextDeadline() -> Duration? {
    while let alarm = alarms.min {
      if let entry = entries[alarm.serial], entry.deadline == alarm.deadline || entry.confirmAt == alarm.deadline {
        return alarm.deadline
      }
      alarms.removeMin()
    }
    return nil
  }

  /// Removes and returns the calls whose deadline has passed. `confirm` is called for calls that are near their deadline and not
  /// known to have arrived, on transports where that can be found out.
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

  /// Removes and returns all calls.
  package mutating func endAll() -> [Entry] {
    let all = entries.keys.sorted()
    return all.compactMap { end($0) }
  }

  // Outdated alarms are normally dropped when they are due; many with late deadlines must not accumulate.
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
