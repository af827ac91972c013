internal import DequeModule
internal import Logging

// Devices that cannot be reached, and whose links are kept for the moment at which they can be again.
//
// A judgement about reachability ends no observation: firmware that was out of reach goes on with its session, and observes
// anew only when it connects anew. So nothing more is sent to it, its calls end, and with its first word it is connected
// again. RFC 7641 §4.5 would take it off the list of observers, of which nobody tells it.
extension DeviceLoop {
  /// The device cannot be reached: calls end as when its link had, and the link is kept. It means nothing if the device has
  /// another link by now.
  package func unreachable(_ link: any DeviceLink, reason: String) {
    guard let record = link.record, record.device.link === link else { return }
    let heard = max(record.device.lastHeard, link.lastHeard)
    disconnected(record, link, reason: reason)
    keep(link, of: record)
    // In between it may have said something that nobody was to be told of.
    if link.lastHeard > heard { self.heard(on: link) }
  }

  /// The device has said something, after `DeviceLink.tellWhenHeard`. From any thread.
  nonisolated package func noteHeard(on link: any DeviceLink) { run { $0.heard(on: link) } }

  private func heard(on link: any DeviceLink) {
    guard let record = link.record else { return }
    let now = driver.now
    if record.device.link === link {
      // Whoever speaks is there, which is what it was asked.
      endProbing(record)
      noteHeard(record)
      pump(record, now: now)
    } else if !hasParted, record.device.absence?.link === link {
      connected(record, link, now: now)
      record.device.isReady = true
      pump(record, now: now)
    }
  }

  // MARK: What is kept

  private func keep(_ link: any DeviceLink, of record: DeviceRecord) {
    guard let absence = record.device.absence else { return }
    absence.link = link
    keptLinks += 1
    unreachable.append((record, absence.since))
    link.tellWhenHeard()
    while keptLinks > max(0, limits.unreachableObservations), let first = popKept() { giveUp(first) }
    // One that comes and goes leaves a place each time.
    if unreachable.count > 2 * keptLinks + 64 { unreachable = Deque(unreachable.filter(isKept)) }
    if let due = nextUnreachable { lookAtDevices(by: due) }
  }

  private func isKept(_ place: (record: DeviceRecord, since: Duration)) -> Bool {
    place.record.device.absence.map { $0.link != nil && $0.since == place.since } ?? false
  }

  // The one that is out of reach for longest.
  private func popKept() -> DeviceRecord? {
    while let first = unreachable.popFirst() { if isKept(first) { return first.record } }
    return nil
  }

  /// Lets go of the kept link of a device, if there is one, and returns it.
  @discardableResult
  func takeKept(of record: DeviceRecord) -> (any DeviceLink)? {
    guard let link = record.device.absence?.link else { return nil }
    record.device.absence?.link = nil
    keptLinks -= 1
    return link
  }

  /// Ends the observation of a device that is out of reach for too long, or for which there is no room.
  func giveUp(_ record: DeviceRecord) {
    guard let link = takeKept(of: record) else { return }
    link.end(record.device.absence?.reason ?? "it was out of reach for too long")
  }

  /// When the next link has been kept for long enough.
  var nextUnreachable: Duration? { unreachable.first.map { $0.since + limits.unreachableTime } }

  /// Ends what has been kept for too long.
  func endUnreachable(_ now: Duration) {
    while let first = unreachable.first, !isKept(first) || first.since + limits.unreachableTime <= now {
      unreachable.removeFirst()
      if isKept(first) { giveUp(first.record) }
    }
  }
}
