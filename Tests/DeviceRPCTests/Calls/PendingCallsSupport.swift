import DeviceRPC

/// A table whose devices are integers with a lane each, and whose completions are the calls' own numbers.
struct Table {
  typealias Calls = PendingCalls<Int, Int>

  private(set) var calls: Calls
  private var lanes: [Int: Calls.Lane] = [:]

  init(firstSerial: UInt32, step: UInt32 = 1, recentLimit: Int = 4_096) {
    calls = Calls(firstSerial: firstSerial, step: step, recentLimit: recentLimit)
  }

  mutating func lane(_ device: Int) -> Calls.Lane {
    if let lane = lanes[device] { return lane }
    let lane = Calls.Lane(device)
    lanes[device] = lane
    return lane
  }

  mutating func call(
    _ method: String = "m", on device: Int = 1, timeout: Duration = .seconds(10), wait: Duration = .zero,
    at now: Duration = .zero, payload: [UInt8]? = nil
  ) -> UInt32 {
    let serial = calls.reserve()
    calls.add(
      serial, id: Calls.id(method: method, serial: serial), Call(method, wait: wait), to: lane(device),
      payload: payload, timeout: timeout, completion: Int(serial), now: now)
    return serial
  }

  /// Sends all that may leave now.
  @discardableResult
  mutating func sendAll(
    _ device: Int = 1, window: Int = 1, unanswered: Int = .max, by acknowledgement: Acknowledgement = .each,
    at now: Duration = .zero
  ) -> [UInt32] {
    var left: [UInt32] = []
    while let entry = nextToSend(device, window: window, unanswered: unanswered) {
      left.append(entry.serial)
      calls.sent(entry, acknowledgement, now: now)
    }
    return left
  }

  var count: Int { calls.count }
  var isEmpty: Bool { calls.isEmpty }
  subscript(serial: UInt32) -> Calls.Entry? { calls[serial] }
  mutating func count(for device: Int) -> Int { lane(device).openCalls }
  mutating func reserve() -> UInt32 { calls.reserve() }
  mutating func open(_ device: Int, now: Duration) { calls.open(lane(device), now: now) }
  mutating func close(_ device: Int, now: Duration) -> [Calls.Entry] { calls.close(lane(device), now: now) }
  mutating func nextToSend(_ device: Int, window: Int, unanswered: Int = .max) -> Calls.Entry? {
    calls.nextToSend(lane(device), window: window, unanswered: unanswered)
  }
  mutating func oldestWaiting(_ device: Int) -> Calls.Entry? { calls.oldestWaiting(lane(device)) }
  mutating func sent(_ serial: UInt32, _ acknowledgement: Acknowledgement = .each, now: Duration) {
    if let entry = calls[serial] { calls.sent(entry, acknowledgement, now: now) }
  }
  mutating func settled(_ serial: UInt32, on device: Int, isDelivered: Bool, now: Duration = .zero) {
    calls.settled(serial, on: lane(device), isDelivered: isDelivered, now: now)
  }
  mutating func end(_ serial: UInt32) -> Calls.Entry? { calls.end(serial) }
  mutating func endAll() -> [Calls.Entry] { calls.endAll() }
  mutating func expire(
    now: Duration, confirm: (Calls.Entry) -> Void = { _ in }
  ) -> [(entry: Calls.Entry, wasReachable: Bool)] {
    calls.expire(now: now, confirm: confirm)
  }
  mutating func unreadable(id: String, from device: Int?, now: Duration = .zero) -> UInt32? {
    calls.unreadable(id: id, reason: "garbled", from: device.map { lane($0) }, now: now)?.serial
  }
  mutating func nextDeadline() -> Duration? { calls.nextDeadline() }
  mutating func result(id: String, from device: Int?) -> Calls.ResultMatch {
    calls.result(id: id, from: device.map { lane($0) })
  }

  /// How much a private collection of the table holds: its memory is a promise, but nobody else's business.
  func stored(_ label: String) -> Int? {
    guard let value = Mirror(reflecting: calls).descendant(label) else { return nil }
    if let collection = value as? any Collection { return collection.count }
    return (Mirror(reflecting: value).descendant("_storage") as? any Collection)?.count
  }
}

extension PendingCalls.ResultMatch {
  var serial: UInt32? { if case .call(let entry) = self { entry.serial } else { nil } }
  var isLate: Bool { if case .ended = self { true } else { false } }
  var isUnknown: Bool { if case .unknown = self { true } else { false } }
}
