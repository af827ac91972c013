internal import DequeModule
internal import Logging

// Devices that cannot be reached. Their links are kept until they can be reached again.
//
// An unreachable device keeps its observation: firmware that was unreachable continues to use its session, and observes again
// only when it connects again. So its calls end and nothing more is sent to it, and with its first packet it is connected
// again. RFC 7641 §4.5 would remove it from the list of observers, but the device would not learn of that.
extension DeviceLoop {
  /// The device cannot be reached. Its calls end as if its link had ended, and the link is kept. Ignored if the device has
  /// another link by now.
  package func unreachable(_ link: any DeviceLink, reason: String) {
    guard let record = link.record, record.device.link === link else { return }
    let heard = max(record.device.lastHeard, link.lastHeard)
    disconnected(record, link, reason: reason)
    keep(link, of: record)
    // A packet may have arrived in between, before `keep` asked to be notified.
    if link.lastHeard > heard { self.heard(on: link) }
  }

  /// A packet of the device has arrived after `DeviceLink.tellWhenHeard`. May be called from any thread.
  nonisolated package func noteHeard(on link: any DeviceLink) { run { $0.heard(on: link) } }

  private func heard(on link: any DeviceLink) {
    guard let record = link.record else { return }
    let now = driver.now
    if record.device.link === link {
      // Any packet answers the question of the probe.
      endProbing(record)
      noteHeard(record)
      pump(record, now: now)
    } else if !hasParted, record.device.absence?.link === link {
      connected(record, link, now: now)
      record.device.isReady = true
      pump(record, now: now)
      sendKept(record)
    }
  }

  // MARK: Kept links

  private func keep(_ link: any DeviceLink, of record: DeviceRecord) {
    guard let absence = record.device.absence else { return }
    absence.link = link
    keptLinks += 1
    unreachable.append((record, absence.since))
    link.tellWhenHeard()
    while keptLinks > max(0, limits.unreachableObservations), let first = popKept() { giveUp(first) }
    // Each time a device becomes unreachable adds a place, so most places may be outdated.
    if unreachable.count > 2 * keptLinks + 64 { unreachable = Deque(unreachable.filter(isKept)) }
    if let due = nextUnreachable { lookAtDevices(by: due) }
  }

  private func isKept(_ place: (record: DeviceRecord, since: Duration)) -> Bool {
    place.record.device.absence.map { $0.link != nil && $0.since == place.since } ?? false
  }

  // Removes and returns the device that has been unreachable longest.
  private func popKept() -> DeviceRecord? {
    while let first = unreachable.popFirst() { if isKept(first) { return first.record } }
    return nil
  }

  /// Removes and returns the kept link of a device, if there is one.
  @discardableResult
  func takeKept(of record: DeviceRecord) -> (any DeviceLink)? {
    guard let link = record.device.absence?.link else { return nil }
    record.device.absence?.link = nil
    keptLinks -= 1
    return link
  }

  /// Ends the observation of a device that has been unreachable for too long, or for which there is no room.
  func giveUp(_ record: DeviceRecord) {
    guard let link = takeKept(of: record) else { return }
    link.end(record.device.absence?.reason ?? "it was out of reach for too long")
  }

  /// When the next kept link reaches its time limit.
  var nextUnreachable: Duration? { unreachable.first.map { $0.since + limits.unreachableTime } }

  /// Ends the links that have reached their time limit.
  func endUnreachable(_ now: Duration) {
    while let first = unreachable.first, !isKept(first) || first.since + limits.unreachableTime <= now {
      unreachable.removeFirst()
      if isKept(first) { giveUp(first.record) }
    }
  }
}
