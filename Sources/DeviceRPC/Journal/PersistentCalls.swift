internal import DequeModule
package import FoundationEssentials
internal import HeapModule

/// Which persistent call to a device is sent next, when another is under way.
public enum CallPacing: String, Sendable, Hashable, CaseIterable {
  /// As many as the device's link takes, 16 at most.
  case burst
  /// One when the last one is acknowledged.
  case nextOnAcknowledgement
  /// One when the attempt of the last one is over, with a result or without.
  case nextOnResult
}

/// The open persistent calls to the devices of one loop.
///
/// A pure state machine, without clock and journal: each method returns what the journal has to be told. A call of which the
/// journal was told that it is over is no longer here.
package struct PersistentCalls {
  /// A call, and whether an attempt of it is under way.
  // Unchecked, because it is used on its loop only.
  package final class Entry: @unchecked Sendable {
    package fileprivate(set) var call: PersistentCall
    /// From the decision to send it until the attempt is over.
    package fileprivate(set) var isUnderWay = false
    // The last attempt was acknowledged.
    fileprivate var isAcknowledged = false
    // It is in the queue of its device.
    fileprivate var isWaiting = false

    fileprivate init(_ call: PersistentCall) { self.call = call }
  }

  // A class, since a copy of the waiting calls would be made for each change.
  private final class Queue {
    // In the order in which they were made.
    var waiting: Deque<Entry> = []
    var underWay = 0
    var unacknowledged = 0

    var isEmpty: Bool { waiting.isEmpty && underWay == 0 }

    // A call that is sent again has its place before those that were made later.
    func wait(_ entry: Entry) {
      entry.isWaiting = true
      let index = waiting.lastIndex { $0.call.id < entry.call.id }.map { $0 + 1 } ?? 0
      waiting.insert(entry, at: index)
    }

    func next() -> Entry? {
      let entry = waiting.popFirst()
      entry?.isWaiting = false
      return entry
    }

    func leave(_ entry: Entry) {
      guard entry.isWaiting else { return }
      entry.isWaiting = false
      if let index = waiting.firstIndex(where: { $0 === entry }) { waiting.remove(at: index) }
    }
  }

  private struct Expiry: Comparable {
    let date: Date
    let serial: UInt32
    static func < (left: Expiry, right: Expiry) -> Bool { left.date < right.date }
  }

  private static let burst = 16

  private let pacing: CallPacing
  private var entries: [UInt32: Entry] = [:]
  private var queues: [String: Queue] = [:]
  private var expiries = Heap<Expiry>()

  /// The memory of the parameters of all calls.
  package private(set) var bytes = 0

  package init(pacing: CallPacing) { self.pacing = pacing }

  package var count: Int { entries.count }

  /// Those that wait to be sent.
  package func waitingCount(_ device: String) -> Int { queues[device]?.waiting.count ?? 0 }

  package subscript(id: CallID) -> Entry? { entries[id.serial].flatMap { $0.call.id == id ? $0 : nil } }

  package subscript(serial: UInt32) -> Entry? { entries[serial] }

  /// The call with an id on the wire.
  package func call(wireID: String) -> Entry? {
    typealias Pending = PendingCalls<DeviceState, Never>
    return Pending.serial(in: wireID).flatMap { entries[$0] }.flatMap { Pending.isID(wireID, of: $0.call.wireID) ? $0 : nil }
  }

  /// All calls to a device, or to all devices, in no order.
  package func all(of device: String?) -> [PersistentCall] {
    entries.values.lazy.map(\.call).filter { call in device.map { $0 == call.device } ?? true }
  }

  /// Enters a call that the journal has.
  @discardableResult
  package mutating func add(_ call: PersistentCall) -> Entry {
    let entry = Entry(call)
    entries[call.id.serial] = entry
    bytes += call.givenBytes
    expiries.insert(Expiry(date: call.expires, serial: call.id.serial))
    if call.maySend { wait(entry) }
    return entry
  }

  private mutating func wait(_ entry: Entry) {
    let device = entry.call.device
    if let queue = queues[device] { return queue.wait(entry) }
    let queue = Queue()
    queue.wait(entry)
    queues[device] = queue
  }

  // MARK: Attempts

  /// The next call to send to a device that can be reached, with what the journal has to be told before it is sent; nil when none
  /// may be sent now. `over` then has to be called for the attempt.
  package mutating func next(for device: String, now: Date) -> (entry: Entry, change: CallJournalChange)? {
    guard let queue = queues[device], mayFollow(queue) else { return nil }
    while let entry = queue.next() {
      // One whose time is over is about to be taken for expired.
      guard entry.call.expires > now, let change = note(.sending, entry, now) else { continue }
      entry.isUnderWay = true
      entry.isAcknowledged = false
      queue.underWay += 1
      queue.unacknowledged += 1
      return (entry, change)
    }
    if queue.isEmpty { queues[device] = nil }
    return nil
  }

  private func mayFollow(_ queue: Queue) -> Bool {
    switch pacing {
    case .burst: queue.underWay < Self.burst
    case .nextOnAcknowledgement: queue.unacknowledged == 0 && queue.underWay < Self.burst
    case .nextOnResult: queue.underWay == 0
    }
  }

  /// The attempt was acknowledged.
  package mutating func acknowledged(_ entry: Entry, now: Date) -> CallJournalChange? {
    if entry.isUnderWay, !entry.isAcknowledged {
      entry.isAcknowledged = true
      queues[entry.call.device]?.unacknowledged -= 1
    }
    return note(.acknowledged, entry, now)
  }

  /// The attempt has left on a link without acknowledgements.
  package mutating func left(_ entry: Entry, now: Date) -> CallJournalChange? {
    if entry.isUnderWay, !entry.isAcknowledged {
      entry.isAcknowledged = true
      queues[entry.call.device]?.unacknowledged -= 1
    }
    return note(.left, entry, now)
  }

  /// The attempt is over, and this has come of it. The call waits for its next one if it may have one.
  package mutating func over(_ entry: Entry, _ event: PersistentCall.Event, now: Date) -> CallJournalChange? {
    leave(entry)
    let change = note(event, entry, now)
    if entry.call.maySend, entries[entry.call.id.serial] === entry { wait(entry) }
    return change
  }

  private mutating func leave(_ entry: Entry) {
    guard entry.isUnderWay else { return }
    entry.isUnderWay = false
    let device = entry.call.device
    queues[device]?.underWay -= 1
    if !entry.isAcknowledged { queues[device]?.unacknowledged -= 1 }
    if queues[device]?.isEmpty == true { queues[device] = nil }
  }

  // MARK: Ends

  /// Something has happened to a call outside of an attempt: a late result, its deletion.
  package mutating func happened(_ event: PersistentCall.Event, to entry: Entry, now: Date) -> CallJournalChange? {
    note(event, entry, now)
  }

  /// Somebody else has changed the call in the journal: it is theirs.
  package mutating func forget(_ entry: Entry) { remove(entry) }

  /// When `expire` has something to do; nil when never.
  package mutating func nextExpiry() -> Date? {
    while let first = expiries.min {
      if entries[first.serial]?.call.expires == first.date { return first.date }
      expiries.removeMin()
    }
    return nil
  }

  /// The next call whose time is over, which then is not here any more.
  package mutating func expire(now: Date) -> (entry: Entry, change: CallJournalChange)? {
    while let next = nextExpiry(), next <= now, let first = expiries.popMin() {
      guard let entry = entries[first.serial], let change = note(.expired, entry, now) else { continue }
      return (entry, change)
    }
    return nil
  }

  private mutating func note(_ event: PersistentCall.Event, _ entry: Entry, _ now: Date) -> CallJournalChange? {
    guard let progress = entry.call.progress(after: event, at: now) else { return nil }
    let change = CallJournalChange.update(entry.call.id, revision: entry.call.revision, progress)
    entry.call = entry.call.updated(progress)
    if entry.call.isOver { remove(entry) }
    return change
  }

  private mutating func remove(_ entry: Entry) {
    leave(entry)
    let (serial, device) = (entry.call.id.serial, entry.call.device)
    guard entries[serial] === entry else { return }
    entries[serial] = nil
    bytes -= entry.call.givenBytes
    queues[device]?.leave(entry)
    if queues[device]?.isEmpty == true { queues[device] = nil }
    // Late expiries of calls that were done long ago must not pile up.
    if expiries.count > 1_024, expiries.count > 4 * entries.count {
      expiries = Heap(entries.values.map { Expiry(date: $0.call.expires, serial: $0.call.id.serial) })
    }
  }
}
