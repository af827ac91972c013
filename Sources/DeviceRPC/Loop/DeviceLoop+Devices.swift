internal import DequeModule
internal import FoundationEssentials
internal import Logging

// The devices that a loop remembers, and what is reported about them.
extension DeviceLoop {
  func makeDevice(_ name: String, now: Duration) -> DeviceRecord? {
    if devices.count >= limits.devices, !forgetLongestAbsent() {
      // Not about a peer: unknown devices may have any name, and all such lines count against one budget.
      peerLog.notice(
        "no room for another device", about: "", level: .warning, now: now, ["device": name, "limit": "\(limits.devices)"])
      return nil
    }
    let record = DeviceRecord(DeviceState(name: name, now: now))
    devices[name] = record
    unseenCount += 1
    noteAbsent(record, since: now)
    return record
  }

  func noteAbsent(_ record: DeviceRecord, since now: Duration) {
    absent.append((record, now))
    // Each disconnection adds an entry, so most entries may be outdated.
    if absent.count > 2 * devices.count + 64 { absent = Deque(absent.filter { isAbsent($0.device, since: $0.since) }) }
  }

  private func isAbsent(_ record: DeviceRecord, since: Duration) -> Bool {
    record.device.absence?.since == since && devices[record.device.name] === record
  }

  func forgetIfOnlyCalled(_ record: DeviceRecord) {
    let name = record.device.name
    if record.device.firstSeen == nil, record.openCalls == 0, devices[name] === record { remove(record) }
  }

  private func remove(_ record: DeviceRecord) {
    devices[record.device.name] = nil
    if record.device.firstSeen == nil { unseenCount -= 1 }
  }

  /// A device has connected.
  func noteSeen(_ record: DeviceRecord, now: Duration) {
    if record.device.firstSeen == nil {
      record.device.firstSeen = now
      unseenCount -= 1
    }
    record.device.lastHeard = now
  }

  func absence(of name: String) -> CallError {
    devices[name]?.device.firstSeen == nil ? .unknownDevice(name) : .offline(name)
  }

  private func forgetLongestAbsent() -> Bool {
    for _ in 0..<absent.count {
      guard let (record, since) = absent.popFirst() else { break }
      guard isAbsent(record, since: since) else { continue }
      if record.openCalls > 0 {
        absent.append((record, since))
        continue
      }
      giveUp(record)
      remove(record)
      return true
    }
    return false
  }

  func info(_ record: DeviceRecord) -> DeviceInfo {
    lookAtWallClock()
    let device = record.device
    let heard = max(device.lastHeard, device.link?.lastHeard ?? .zero)
    return DeviceInfo(
      name: device.name, state: state(of: record),
      since: date(device.absence?.since ?? device.presence.since), evidence: evidence(device, heard: heard),
      address: device.link?.address ?? device.absence?.address,
      dialect: device.link?.dialect ?? device.absence?.dialect,
      firstSeen: date(device.firstSeen ?? heard), lastHeard: date(heard), openCalls: record.openCalls)
  }

  private func evidence(_ device: DeviceState, heard: Duration) -> String {
    if let absence = device.absence { return absence.reason }
    let silence = (driver.now - heard).readable
    if device.presence.isQuiet { return "not heard for \(silence), ping unanswered" }
    if device.isProbing { return "observation open, not heard for \(silence), ping under way" }
    return "observation open, heard \(silence) ago"
  }

  /// Sets `epoch` from the wall clock, so that dates are right at the time they are reported. Since the loop began, the wall
  /// clock may have been set, or the machine may have been suspended, which stops the loop's clock.
  func lookAtWallClock() {
    let now = driver.date.addingTimeInterval(-driver.now.seconds)
    // A smaller difference is the time between reading the two clocks; ignoring it keeps reported dates stable.
    if abs(now.timeIntervalSince(epoch)) > 1 { epoch = now }
  }

  func date(_ time: Duration) -> Date { epoch.addingTimeInterval(time.seconds) }

  func devices(_ query: DeviceQuery) -> [DeviceInfo] {
    let isWanted = { (record: DeviceRecord) in
      let name = record.device.name
      return record.device.firstSeen != nil && (query.prefix.isEmpty || name.hasPrefix(query.prefix))
        && query.after.map { name > $0 } ?? true
    }
    var infos: [DeviceInfo] = []
    var wanted = devices.values.filter(isWanted)
    if query.limit < wanted.count || query.after != nil { wanted.sort { $0.device.name < $1.device.name } }
    for record in wanted {
      guard infos.count < query.limit else { break }
      noteHeard(record)
      if query.states.contains(state(of: record)) { infos.append(info(record)) }
    }
    return infos
  }

  private func state(of record: DeviceRecord) -> DeviceInfo.State {
    record.device.link == nil ? .offline : record.device.presence.isQuiet ? .quiet : .observing
  }

  func heard(within age: Duration) -> [(String, Date)] {
    lookAtWallClock()
    let now = driver.now
    return devices.values.compactMap { record in
      let heard = max(record.device.lastHeard, record.device.link?.lastHeard ?? .zero)
      return record.device.firstSeen != nil && now - heard <= age ? (record.device.name, date(heard)) : nil
    }
  }

  func device(_ name: String) -> DeviceInfo? {
    guard let record = devices[name] else { return nil }
    noteHeard(record)
    return info(record)
  }

  var onlineDevices: Int { onlineCount }
}
