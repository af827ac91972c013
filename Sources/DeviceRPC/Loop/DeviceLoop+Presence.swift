internal import HeapModule
internal import Logging

/// The connected devices of a loop, ordered by the time at which each is to be checked.
struct PresenceQueue {
  private struct Place: Comparable {
    // In nanoseconds, half the size of a `Duration`: with tens of thousands of devices this matters.
    let due: Int64
    let record: DeviceRecord
    static func < (left: Place, right: Place) -> Bool { left.due < right.due }
    static func == (left: Place, right: Place) -> Bool { left.due == right.due }
  }

  private var places = Heap<Place>()

  var count: Int { places.count }
  var nextDue: Duration? { places.min.map { .nanoseconds($0.due) } }

  mutating func add(_ record: DeviceRecord, due: Duration) {
    record.device.presence.isWatched = true
    places.insert(Place(due: due.nanoseconds, record: record))
  }

  /// Removes and returns the first device whose time has come.
  mutating func popDue(_ now: Duration) -> DeviceRecord? {
    guard let first = places.min, first.due <= now.nanoseconds else { return nil }
    places.removeMin()
    first.record.device.presence.isWatched = false
    return first.record
  }
}

// The presence of devices. Only packets from a device count, never what is sent to it.
extension DeviceLoop {
  /// Checks are done in batches, at this interval and with these limits, so that they do not delay calls.
  private static let slice = Duration.milliseconds(50)
  private static let probesPerSlice = 100
  private static let looksPerSlice = 5_000

  func watch(_ record: DeviceRecord, now: Duration) {
    guard let interval = limits.probeInterval, !record.device.presence.isWatched else { return }
    watched.add(record, due: now + interval)
    lookAtDevices(by: now + interval)
  }

  /// Ensures that devices are checked at `due` or earlier.
  func lookAtDevices(by due: Duration) { if presenceDue.map({ due < $0 }) ?? true { schedulePresence(due) } }

  private func schedulePresence(_ due: Duration?) {
    if presenceAlarm == nil {
      // A strong reference until `close()`, like that of `alarm`.
      presenceAlarm = driver.makeAlarm { self.assumeIsolated { $0.lookAtDevices() } }
    }
    presenceDue = due
    presenceAlarm?.set(due)
  }

  private func lookAtDevices() {
    let now = driver.now
    var probes = 0
    var looks = 0
    endUnreachable(now)
    while probes < Self.probesPerSlice, looks < Self.looksPerSlice, probing < max(1, limits.probesUnderWay),
      let record = watched.popDue(now)
    {
      looks += 1
      if look(at: record, now: now) { probes += 1 }
    }
    let next = [watched.nextDue, nextUnreachable].compactMap(\.self).min()
    schedulePresence(next.map { max($0, now + Self.slice) })
  }

  // Returns true if a ping was sent.
  private func look(at record: DeviceRecord, now: Duration) -> Bool {
    guard let link = record.device.link, let interval = limits.probeInterval else { return false }
    let heard = noteHeard(record)
    let wasQuiet = record.device.presence.isQuiet
    let action = record.device.presence.look(
      heard: heard, now: now, interval: interval, limit: limits.unansweredProbes)
    switch action {
    case .wait(let until):
      watched.add(record, due: until)
      return false
    case .probe(let until):
      watched.add(record, due: until)
      if !wasQuiet, record.device.presence.isQuiet { tellQuiet(record) }
      // Only one probe per device at a time.
      guard !record.device.isProbing else { return false }
      record.device.isProbing = true
      probing += 1
      link.tellWhenHeard()
      link.probe()
      return true
    case .giveUp:
      giveUp(record, link, now: now)
      return false
    }
  }

  /// Returns when the device was last heard. If it was quiet and has been heard since, it is no longer quiet.
  @discardableResult
  func noteHeard(_ record: DeviceRecord) -> Duration {
    let heard = max(record.device.lastHeard, record.device.link?.lastHeard ?? .zero)
    if record.device.presence.wasHeard(heard) {
      countQuiet(record)
      log.debug("device heard again", metadata: ["device": "\(record.device.name)"])
      hub.send(.heardAgain(info(record)))
    }
    return heard
  }

  private func tellQuiet(_ record: DeviceRecord) {
    countQuiet(record)
    log.debug("device quiet", metadata: ["device": "\(record.device.name)"])
    hub.send(.quiet(info(record)))
  }

  private func giveUp(_ record: DeviceRecord, _ link: any DeviceLink, now: Duration) {
    let heard = max(record.device.lastHeard, link.lastHeard)
    unreachable(link, reason: "not heard for \((now - heard).readable), ping unanswered")
  }

  /// Brings `quietCount` up to date with what has become of a device.
  func countQuiet(_ record: DeviceRecord) {
    let isQuiet = record.device.link != nil && record.device.presence.isQuiet
    guard isQuiet != record.device.isCountedQuiet else { return }
    record.device.isCountedQuiet = isQuiet
    quietCount += isQuiet ? 1 : -1
  }

  func endProbing(_ record: DeviceRecord) {
    guard record.device.isProbing else { return }
    record.device.isProbing = false
    probing -= 1
  }

  /// A probe has ended: the device has answered, or the transport has given up on it. May be called from any thread.
  nonisolated package func noteProbeEnded(isAnswered: Bool, on link: any DeviceLink) {
    run { $0.probeEnded(isAnswered: isAnswered, on: link) }
  }

  package func probeEnded(isAnswered: Bool, on link: any DeviceLink) {
    guard let record = link.record, record.device.link === link else { return }
    let now = driver.now
    endProbing(record)
    if isAnswered { record.device.lastHeard = now }
    noteHeard(record)
    if !isAnswered, record.device.presence.probeFailed(now) {
      tellQuiet(record)
      if record.device.presence.hasGivenUp(limits.unansweredProbes) { return giveUp(record, link, now: now) }
    }
    pump(record, now: now)
  }
}
