extension DeviceLoop {
  /// The message that carried a call is under way no longer, and nothing says that it has arrived: the next one may leave,
  /// and the call waits on for its result.
  package func settled(_ serial: UInt32, on link: any DeviceLink) {
    guard let record = link.record else { return }
    let now = driver.now
    pending.settled(serial, on: record, isDelivered: false, now: now)
    pump(record, now: now)
  }
}
