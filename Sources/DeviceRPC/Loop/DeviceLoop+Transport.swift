internal import Logging
internal import Metrics

// What the transport reports about the devices.
extension DeviceLoop {
  /// A device has opened a link, which replaces any other link of it. Returns false if the server has no room for another
  /// device, or has ended all links at shutdown.
  ///
  /// Call `ready(_:)` when calls may be sent on the link. `credential` is what the device has proved its name with, if that was
  /// on this link and not before.
  package func observed(_ name: String, on link: any DeviceLink, by credential: DeviceCredential? = nil) -> Bool {
    let now = driver.now
    guard !hasParted, let record = devices[name] ?? makeDevice(name, now: now) else { return false }
    if let credential { record.device.proof = .init(credential) }
    // A kept link does not count as replaced: its device was unreachable, and may reconnect from any address.
    if let open = record.device.link, open !== link { noteReplaced(name, open, by: link, now: now) }
    let earlier = record.device.link ?? takeKept(of: record)
    link.record = record
    connected(record, link, now: now)
    if let earlier, earlier !== link { earlier.replaced(by: link) }
    return true
  }

  private func noteReplaced(_ name: String, _ earlier: any DeviceLink, by link: any DeviceLink, now: Duration) {
    let (was, address) = (earlier.address, link.address)
    guard was != address, let line = replacements.take(name, now: now) else { return }
    var metadata = ["device": name, "address": address, "earlier": was]
    switch line {
    case .replaced: peerLog.notice("replaced by a session from another address", about: name, now: now, metadata)
    case .takingTurns(let times):
      metadata["replaced"] = "\(times)"
      peerLog.notice("two devices seem to use one identity", about: name, level: .warning, now: now, metadata)
    }
  }

  /// Calls to the device are sent on this link from now on, as soon as it is ready.
  func connected(_ record: DeviceRecord, _ link: any DeviceLink, now: Duration) {
    takeKept(of: record)
    if record.device.link == nil { onlineCount += 1 }
    record.device.link = link
    record.device.isReady = false
    endProbing(record)
    noteSeen(record, now: now)
    record.device.absence = nil
    record.device.presence.begin(now)
    countQuiet(record)
    log.debug("device online", metadata: ["device": "\(record.device.name)", "address": "\(link.address)"])
    hub.send(.online(info(record)))
    pending.open(record, now: now)
    watch(record, now: now)
    updateAlarm()
  }

  /// A device has proved its name on a session. It can be called when it observes there.
  package func proved(_ credential: DeviceCredential, at address: String) {
    let now = driver.now
    guard !hasParted, let record = devices[credential.device] ?? makeDevice(credential.device, now: now) else { return }
    record.device.proof = .init(credential)
    noteSeen(record, now: now)
    // A kept link is replaced when the device observes.
    guard record.device.link == nil, record.device.absence?.link == nil else { return }
    note(record, absentAt: address, "it has proved its name, and does not observe", now: now)
  }

  /// The session on which a device has proved its name was closed.
  package func provedNoMore(_ name: String, at address: String) {
    guard let record = devices[name], record.device.link == nil, record.device.absence?.address == address,
      record.device.absence?.dialect == nil
    else { return }
    note(record, absentAt: address, "its session was closed", now: driver.now)
  }

  private func note(_ record: DeviceRecord, absentAt address: String, _ reason: String, now: Duration) {
    record.device.absence = .init(since: now, address: address, reason: reason)
    noteAbsent(record, since: now)
  }

  /// Calls that wait for the device may be sent on this link. Ignored if the device has another link by now.
  package func ready(_ link: any DeviceLink) {
    guard let record = link.record, record.device.link === link else { return }
    record.device.isReady = true
    pump(record, now: driver.now)
    sendKept(record)
  }

  /// A link has ended. Ignored if the device has another link by now.
  ///
  /// With `isRevoked`, it was ended because the device is no longer trusted. `endCalls` then ends the calls that were sent.
  package func unobserved(_ link: any DeviceLink, reason: String, isRevoked: Bool = false) {
    guard let record = link.record else { return }
    if record.device.absence?.link === link {
      // A kept link: the device is already offline.
      takeKept(of: record)
    } else {
      guard record.device.link === link else { return }
      disconnected(record, link, reason: reason, isRevoked: isRevoked)
    }
  }

  /// Sets the device offline, and ends the calls that cannot wait for it.
  func disconnected(_ record: DeviceRecord, _ link: any DeviceLink, reason: String, isRevoked: Bool = false) {
    let now = driver.now
    record.device.lastHeard = max(record.device.lastHeard, link.lastHeard)
    record.device.link = nil
    endProbing(record)
    record.device.absence = .init(since: now, address: link.address, dialect: link.dialect, reason: reason)
    noteAbsent(record, since: now)
    onlineCount -= 1
    countQuiet(record)
    let name = record.device.name
    for entry in pending.close(record, now: now) {
      complete(entry, .failure(isRevoked ? .revoked(device: name, reason: reason, delivery: .notSent) : .offline(name)))
    }
    log.debug("device offline", metadata: ["device": "\(name)", "reason": "\(reason)"])
    hub.send(.offline(info(record), reason: reason))
    updateAlarm()
  }

  /// The message that carried a call has reached the device.
  package func acknowledged(_ serial: UInt32, on link: any DeviceLink) {
    guard let record = link.record else { return }
    let now = driver.now
    // The time comes from the link, not from the clock: that a message has arrived may be concluded from an earlier packet.
    if record.device.presence.isQuiet { noteHeard(record) }
    if let entry = pending.settled(serial, on: record, isDelivered: true, now: now) {
      if let persistent = entry.completion.persistent {
        attemptAcknowledged(persistent)
      } else {
        hub.send(.callAcknowledged(info(entry)))
      }
      if entry.call.isOneWay { finish(serial, .success(result(of: entry, .ok, nil, at: nil))) }
    }
    pump(record, now: now)
  }

  /// The message that carried a call has left the server on a link without acknowledgements, and none is missed: a one-way call has
  /// ended.
  package func left(_ serial: UInt32, on link: any DeviceLink) {
    guard let record = link.record, let entry = pending[serial], entry.lane === record else { return }
    guard entry.call.isOneWay else {
      if let persistent = entry.completion.persistent { attemptLeft(persistent) }
      return
    }
    finish(serial, .success(result(of: entry, .ok, nil, .sentNoAck, at: nil)))
    pump(record, now: driver.now)
  }

  /// The message that carried a call will not be acknowledged any more. Also call `unobserved` if the link has ended.
  package func failed(_ serial: UInt32, on link: any DeviceLink, _ failure: LinkFailure) {
    guard let record = link.record else { return }
    let now = driver.now
    let name = record.device.name
    if case .rejected = failure { heard(record, now: now) }
    // A call that has been answered, even unreadably, has arrived; a copy of the message that is lost later does not change that.
    if pending.settled(serial, on: record, isDelivered: false, now: now)?.delivery == .sentNoAck {
      let error: CallError =
        switch failure {
        case .notSent(let reason): .notSent(device: name, reason: reason)
        case .lost(let reason): .undelivered(device: name, reason: reason)
        case .rejected(let reason): .rejected(device: name, reason: reason)
        }
      finish(serial, .failure(error))
    }
    pump(record, now: now)
  }

  /// Part of the message that carried a call has arrived. `missing` describes the rest, for the error if it never arrives.
  package func begun(_ serial: UInt32, on link: any DeviceLink, _ missing: String) {
    if link.record != nil { pending.begun(serial, missing) }
  }

  /// The message that carried a call is no longer under way, and it is not known whether it has arrived. The next one may be
  /// sent, and the call still waits for its result.
  package func settled(_ serial: UInt32, on link: any DeviceLink) {
    guard let record = link.record else { return }
    let now = driver.now
    pending.settled(serial, on: record, isDelivered: false, now: now)
    pump(record, now: now)
  }

  /// A device sent a result that cannot be read, and gets an error response. If `id` identifies its call, the call stays open,
  /// since the next answer may be readable.
  ///
  /// Without an id nothing is concluded: it may be an answer to a call that ended long ago.
  package func unreadable(id: String?, reason: String, from name: String?) {
    let record = name.flatMap { devices[$0] }
    // A named sender without a record cannot have been called.
    unreadable(id: name != nil && record == nil ? nil : id, reason, from: record, name: name)
  }

  /// The same, for a result on a link of the device that sent it.
  package func unreadable(id: String?, reason: String, on link: any DeviceLink) {
    unreadable(id: id, reason, from: link.record, name: link.record?.device.name)
  }

  private func unreadable(id: String?, _ reason: String, from record: DeviceRecord?, name: String?) {
    let now = driver.now
    if let record { heard(record, now: now) }
    metrics.unreadableResults.increment()
    peerLog.notice("unreadable result", about: name ?? "", now: now, ["id": id ?? "not known", "device": name ?? "not known", "reason": reason])
    hub.send(.unreadableResult(id: id, device: name, reason: reason))
    guard let id, let entry = pending.unreadable(id: id, reason: reason, from: record, now: now) else { return }
    noteArrived(entry)
    // A one-way call only needs to be delivered.
    if entry.call.isOneWay { finish(entry.serial, .success(result(of: entry, .ok, nil, at: now))) }
    pump(entry.lane, now: now)
  }

  /// A result has arrived, from `name` if the sender is known to be a device. In any case the sender gets a success response,
  /// so that it does not send the result again.
  package func received(id: String, status: RPCStatus, detail: RPCValue?, from name: String?) {
    if let home = kept?.home(ofCall: id) {
      return home.run { $0.received(id: id, status: status, detail: detail, from: name) }
    }
    let record = name.flatMap { devices[$0] }
    // A named sender without a record cannot have been called.
    if name != nil && record == nil {
      // But for one that was called before this server was started.
      if !takeLate(id, status, detail, from: name) { noteStray(id, name, isLate: false) }
      return
    }
    received(id: id, status: status, detail: detail, from: record)
  }

  /// A result has arrived from a device that has proved to be `name`. Call it on the loop that gave the id. Returns false, and
  /// ignores the result, if the call is to another device.
  package func received(id: String, status: RPCStatus, detail: RPCValue?, proved name: String) -> Bool {
    if let home = kept?.home(ofCall: id) {
      // If it is not its device's, it is ignored there, too.
      home.run { _ = $0.received(id: id, status: status, detail: detail, proved: name) }
      return true
    }
    let record = devices[name]
    guard isKept(id, of: name) || !pending.isForeign(id, to: record) && !isKept(id, ofOtherThan: name) else {
      forbid(id, from: name)
      return false
    }
    received(id: id, status: status, detail: detail, from: name)
    return true
  }

  /// A result has arrived, from `name` if that is known, above the sender's rate limit. Returns false, and does nothing, if no
  /// open call waits for it.
  package func receivedIfAwaited(id: String, status: RPCStatus, detail: RPCValue?, from name: String?) -> Bool {
    if let home = kept?.home(ofCall: id) {
      home.run { _ = $0.receivedIfAwaited(id: id, status: status, detail: detail, from: name) }
      return true
    }
    guard let device = name ?? device(ofCall: id),
      isKept(id, of: device) || devices[device].map({ pending.isAwaited(id, from: $0) }) ?? false
    else { return false }
    received(id: id, status: status, detail: detail, from: name)
    return true
  }

  /// A result was sent by a peer that may not answer that call. `name` is nil if the peer is not known.
  package func forbid(_ id: String, from name: String?) {
    metrics.forbiddenResults.increment()
    peerLog.notice(
      "result of another device's call", about: name ?? "", now: driver.now, ["id": id, "device": name ?? "not known"])
    hub.send(.forbiddenResult(id: id, device: name))
  }

  /// The device of an open call.
  package func device(ofCall id: String) -> String? {
    pending.lane(ofCall: id)?.device.name ?? kept?.calls.call(wireID: id)?.call.device
  }

  /// A result has arrived on a link of the device that sent it.
  package func received(id: String, status: RPCStatus, detail: RPCValue?, on link: any DeviceLink) {
    received(id: id, status: status, detail: detail, from: link.record)
  }

  private func received(id: String, status: RPCStatus, detail: RPCValue?, from record: DeviceRecord?) {
    let now = driver.now
    // Nothing is concluded about an unknown sender, whatever id it gives.
    if let record { heard(record, now: now) }
    switch pending.result(id: id, from: record) {
    case .call(let entry):
      // A one-way call only needs to be delivered, which either the acknowledgement or the result shows.
      let isOneWay = entry.call.isOneWay
      noteArrived(entry)
      complete(entry, .success(result(of: entry, isOneWay ? .ok : status, isOneWay ? nil : detail, at: now)))
      pump(entry.lane, now: now)
    case .ended: if !takeLate(id, status, detail, from: record?.device.name) { noteStray(id, record?.device.name, isLate: true) }
    case .unknown: if !takeLate(id, status, detail, from: record?.device.name) { noteStray(id, record?.device.name, isLate: false) }
    }
  }

  // An answer proves that the call has arrived; its acknowledgement may be lost and never come.
  private func noteArrived(_ entry: Pending.Entry) {
    if !entry.isAcknowledged { entry.lane.device.link?.hasArrived(entry.serial) }
  }

  private func heard(_ record: DeviceRecord, now: Duration) {
    record.device.lastHeard = now
    if record.device.presence.isQuiet { noteHeard(record) }
  }

  private func noteStray(_ id: String, _ name: String?, isLate: Bool) {
    metrics.strayResults.increment()
    peerLog.notice(
      isLate ? "late or repeated result" : "result of an unknown call", about: name ?? "", level: .debug, now: driver.now,
      ["id": id, "device": name ?? "not known"])
    hub.send(.strayResult(id: id, device: name, isLate: isLate))
  }

  /// Returns the oldest call that waits for a device that polls, encoded. Calls that `encode` refuses end with its error.
  package func poll(_ name: String, encode: (Call, String) throws(CallError) -> [UInt8]) -> [UInt8]? {
    let now = driver.now
    guard let record = devices[name] else { return nil }
    noteSeen(record, now: now)
    while let entry = pending.oldestWaiting(record) {
      do throws(CallError) {
        let payload = try encode(entry.call, entry.id)
        noteSent(entry, .none, now: now)
        updateAlarm()
        return payload
      } catch {
        finish(entry.serial, .failure(error))
      }
    }
    return nil
  }

  // `time` is nil for a one-way call that was acknowledged, or need not be, and has no result.
  private func result(
    of entry: Pending.Entry, _ status: RPCStatus, _ detail: RPCValue?, _ delivery: Delivery? = nil, at time: Duration?
  ) -> CallResult {
    CallResult(
      id: entry.id, device: entry.lane.device.name, method: entry.call.method, status: status, detail: detail,
      evidence: entry.evidence(delivery ?? (status == .ok ? .delivered : .refused), result: time))
  }
}
