// Devices that are trusted no longer while calls to them are under way.
extension DeviceLoop {
  /// A session on which a device has proved itself counts no longer. Means nothing where the device has a link, or one is kept: either it
  /// is of that session, and its end is told too, or it is of another one that counts.
  package func revoked(_ name: String, reason: String) {
    guard let record = devices[name], record.device.link == nil, record.device.absence?.link == nil else { return }
    endSentCalls(of: record, reason: reason)
  }

  /// Ends the calls that have left for a device: their results would not count. Soon, not now: who they are only a walk over
  /// all calls tells, and one does for all devices that a change of the credentials concerns.
  func endSentCalls(of record: DeviceRecord, reason: String) {
    guard record.hasSent else { return }
    if revocations.isEmpty { driver.execute { self.assumeIsolated { $0.endRevokedCalls() } } }
    revocations[ObjectIdentifier(record)] = (record, reason)
  }

  private func endRevokedCalls() {
    let revocations = revocations
    self.revocations = [:]
    // A device that is back by now can answer.
    let calls = pending.sentCalls { revocations[ObjectIdentifier($0)] != nil && $0.device.link == nil }
    for entry in calls {
      guard let reason = revocations[ObjectIdentifier(entry.lane)]?.reason else { continue }
      finish(
        entry.serial, .failure(.revoked(device: entry.lane.device.name, reason: reason, delivery: entry.delivery)))
    }
    updateAlarm()
  }
}
