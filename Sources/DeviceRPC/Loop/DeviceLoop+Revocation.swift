// Devices that are trusted no longer while calls to them are under way.
extension DeviceLoop {
  /// Ends the calls that have left for devices which nobody trusts any more, since their results would not count. Said when
  /// the sessions of such devices have been closed: a device that has a link can answer.
  ///
  /// `objection` says why, from a device's name and the credential with which it has proved that last, if it has. One walk
  /// over all calls does for all devices that a change of the credentials concerns.
  package func endCalls(objection: (_ device: String, _ credential: DeviceCredential?) -> String?) {
    let calls = pending.sentCalls { $0.device.link == nil && $0.device.absence?.link == nil }
    for entry in calls {
      let device = entry.lane.device
      guard let reason = objection(device.name, device.proof?.credential) else { continue }
      finish(entry.serial, .failure(.revoked(device: device.name, reason: reason, delivery: entry.delivery)))
    }
    updateAlarm()
  }
}
