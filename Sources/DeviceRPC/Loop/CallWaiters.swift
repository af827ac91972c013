// Loop: the actor that owns devices and their calls, and the protocols that a transport implements.
// Transports implement `DeviceTransport` and `DeviceLink` and report to the loop; the room Server passes calls to it.

internal import HeapModule

/// Those who wait for the ends of calls, each for a time of its own.
///
/// A pure structure: it holds no clock and resumes nobody.
struct CallWaiters<Completion> {
  private struct Waiter {
    let number: UInt64
    let completion: Completion
  }

  private struct Alarm: Comparable {
    let deadline: Duration
    let serial: UInt32
    let number: UInt64
    static func < (left: Alarm, right: Alarm) -> Bool { left.deadline < right.deadline }
  }

  private var waiters: [UInt32: [Waiter]] = [:]
  private var alarms = Heap<Alarm>()
  private var lastNumber: UInt64 = 0
  private(set) var count = 0

  var isEmpty: Bool { waiters.isEmpty }

  /// Adds somebody who waits for the end of a call until `deadline`; nil for without a limit. Returns a number for `remove`.
  mutating func add(_ completion: Completion, for serial: UInt32, until deadline: Duration?) -> UInt64 {
    lastNumber += 1
    waiters[serial, default: []].append(Waiter(number: lastNumber, completion: completion))
    count += 1
    if let deadline { alarms.insert(Alarm(deadline: deadline, serial: serial, number: lastNumber)) }
    return lastNumber
  }

  /// The call has ended: everybody who waits for it.
  mutating func end(_ serial: UInt32) -> [Completion] {
    guard let ended = waiters.removeValue(forKey: serial) else { return [] }
    count -= ended.count
    compactAlarms()
    return ended.map(\.completion)
  }

  /// Everybody.
  mutating func endAll() -> [(serial: UInt32, completion: Completion)] {
    let all = waiters.flatMap { serial, waiters in waiters.map { (serial, $0.completion) } }
    waiters = [:]
    alarms = Heap()
    count = 0
    return all
  }

  /// Somebody waits no longer; nil when it was over before.
  mutating func remove(_ number: UInt64, for serial: UInt32) -> Completion? {
    guard let index = waiters[serial]?.firstIndex(where: { $0.number == number }),
      let waiter = waiters[serial]?.remove(at: index)
    else { return nil }
    if waiters[serial]?.isEmpty == true { waiters[serial] = nil }
    count -= 1
    compactAlarms()
    return waiter.completion
  }

  /// When `expire` has something to do next.
  mutating func nextDeadline() -> Duration? {
    while let alarm = alarms.min {
      if waiters[alarm.serial]?.contains(where: { $0.number == alarm.number }) == true { return alarm.deadline }
      alarms.removeMin()
    }
    return nil
  }

  /// Those whose time is over.
  mutating func expire(now: Duration) -> [(serial: UInt32, completion: Completion)] {
    var expired: [(UInt32, Completion)] = []
    while let deadline = nextDeadline(), deadline <= now, let alarm = alarms.popMin() {
      if let completion = remove(alarm.number, for: alarm.serial) { expired.append((alarm.serial, completion)) }
    }
    return expired
  }

  // Long deadlines of those who have gone must not pile up.
  private mutating func compactAlarms() {
    guard alarms.count > 1_024, alarms.count > 4 * count else { return }
    alarms = Heap(
      alarms.unordered.filter { alarm in waiters[alarm.serial]?.contains { $0.number == alarm.number } == true })
  }
}
