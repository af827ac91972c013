internal import DequeModule

/// The calls of one loop that have ended: bounded in number, for each device and in all, and in bytes. The oldest makes room.
///
/// Used on its loop only. The calls of one device are a list that begins at its record: nothing is allocated for a device
/// without calls, and the path of a call needs no search for its device.
struct CallHistory {
  typealias Outcome = DeviceLoop.Outcome

  /// A call that has ended.
  final class Ended {
    let entry: DeviceLoop.Pending.Entry
    let outcome: Outcome
    let ended: Duration
    let bytes: Int
    // The next one of the same device.
    fileprivate(set) var newer: Ended?

    init(_ entry: DeviceLoop.Pending.Entry, _ outcome: Outcome, ended: Duration, bytes: Int) {
      self.entry = entry
      self.outcome = outcome
      self.ended = ended
      self.bytes = bytes
    }
  }

  /// The calls of one device, from the oldest to the newest.
  struct List {
    fileprivate(set) var oldest: Ended?
    fileprivate var newest: Ended?
    fileprivate(set) var count = 0
  }

  private let limit: Int
  private let limitPerDevice: Int
  private let byteLimit: Int
  private var calls: [UInt32: Ended] = [:]
  // The numbers of the calls in the order of their ends, and of some that were removed since.
  private var order: Deque<UInt32> = []
  private(set) var bytes = 0

  init(limit: Int, limitPerDevice: Int, byteLimit: Int) {
    self.limit = limitPerDevice > 0 ? max(0, limit) : 0
    self.limitPerDevice = limitPerDevice
    self.byteLimit = byteLimit
  }

  var count: Int { calls.count }

  subscript(serial: UInt32) -> Ended? { calls[serial] }

  mutating func add(_ entry: DeviceLoop.Pending.Entry, _ outcome: Outcome, now: Duration) {
    guard limit > 0 else { return }
    let call = Ended(entry, outcome, ended: now, bytes: Self.bytes(of: entry, outcome))
    let record = entry.lane
    if record.device.ended.count >= limitPerDevice { removeOldest(of: record) }
    record.device.ended.newest?.newer = call
    record.device.ended.newest = call
    if record.device.ended.oldest == nil { record.device.ended.oldest = call }
    record.device.ended.count += 1
    calls[entry.serial] = call
    order.append(entry.serial)
    bytes += call.bytes
    while calls.count > limit || bytes > byteLimit, let serial = order.popFirst() {
      // Of all calls it is the oldest, so also of its device.
      if let oldest = calls[serial] { removeOldest(of: oldest.entry.lane) }
    }
    if order.count > 2 * calls.count + 64 { order.removeAll { calls[$0] == nil } }
  }

  private mutating func removeOldest(of record: DeviceRecord) {
    guard let oldest = record.device.ended.oldest else { return }
    record.device.ended.oldest = oldest.newer
    if oldest.newer == nil { record.device.ended.newest = nil }
    record.device.ended.count -= 1
    oldest.newer = nil
    calls[oldest.entry.serial] = nil
    bytes -= oldest.bytes
  }

  /// The calls of one device, newest first.
  func calls(of record: DeviceRecord) -> [Ended] {
    var all: [Ended] = []
    var next = record.device.ended.oldest
    while let call = next {
      all.append(call)
      next = call.newer
    }
    return all.reversed()
  }

  /// All calls, in no order.
  var all: some Collection<Ended> { calls.values }

  /// A device is forgotten, and so are its calls.
  mutating func forget(_ record: DeviceRecord) {
    while record.device.ended.oldest != nil { removeOldest(of: record) }
  }

  /// Forgets all calls. Releasing a long list at once would take a deep stack.
  mutating func removeAll() {
    for call in calls.values { forget(call.entry.lane) }
    order = []
  }

  private static func bytes(of entry: DeviceLoop.Pending.Entry, _ outcome: Outcome) -> Int {
    // About what the two objects and the table take.
    var bytes = 512 + entry.call.params.approximateBytes
    if case .success(let result) = outcome, let detail = result.detail { bytes += detail.approximateBytes }
    return bytes
  }
}
