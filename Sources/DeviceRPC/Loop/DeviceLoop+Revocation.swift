// Calls to devices whose credential was revoked while the calls are under way.
extension DeviceLoop {
  /// Ends the calls that were sent to devices that are no longer trusted, since their results would not be accepted. Call it
  /// after the sessions of these devices were closed; a device that has a link is not affected.
  ///
  /// `objection` returns why a device is not trusted, or nil. Its arguments are the device's name and the credential with which
  /// it last proved its name, if any. One walk over all calls serves all devices that a change of credentials affects.
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
