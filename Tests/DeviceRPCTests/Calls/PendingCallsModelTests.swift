import DeviceRPC
import TestSupport
import Testing

/// The same table, slow and plain: arrays that are searched from one end to the other.
private struct NaiveTable {
  struct Entry {
    let serial: UInt32
    let device: Int
    let timeout: Duration
    let reachableBy: Duration
    var deadline: Duration
    var delivery: Delivery = .notSent
  }

  var live: [Entry] = []
  var open: Set<Int> = []
  var unsettled: [Int: [UInt32]] = [:]
  var ended: [UInt32: Int] = [:]
  var sentOrder: [Int: [UInt32]] = [:]

  func waiting(_ device: Int) -> [Entry] { live.filter { $0.device == device && $0.delivery == .notSent } }
  func index(_ serial: UInt32) -> Int? { live.firstIndex { $0.serial == serial } }

  mutating func add(_ serial: UInt32, _ device: Int, timeout: Duration, wait: Duration, now: Duration) {
    live.append(
      Entry(
        serial: serial, device: device, timeout: timeout, reachableBy: now + wait,
        deadline: now + (open.contains(device) ? timeout : wait)))
  }

  mutating func opened(_ device: Int, now: Duration) {
    unsettled[device] = []
    guard open.insert(device).inserted else { return }
    for entry in waiting(device) { update(entry.serial) { $0.deadline = now + $0.timeout } }
  }

  mutating func closed(_ device: Int, now: Duration) -> [UInt32] {
    guard open.remove(device) != nil else { return [] }
    unsettled[device] = []
    let over = waiting(device).filter { $0.reachableBy <= now }.map(\.serial)
    for serial in over { end(serial) }
    for entry in waiting(device) { update(entry.serial) { $0.deadline = $0.reachableBy } }
    return over
  }

  func next(_ device: Int, window: Int, unanswered: Int) -> UInt32? {
    guard open.contains(device), unsettled[device, default: []].count < window,
      live.count(where: { $0.device == device && $0.delivery != .notSent }) < unanswered
    else { return nil }
    return waiting(device).first?.serial
  }

  mutating func sent(_ serial: UInt32, asked: Bool, now: Duration) {
    guard let index = index(serial) else { return }
    let device = live[index].device
    live[index].delivery = .sentNoAck
    sentOrder[device, default: []].append(serial)
    if !open.contains(device) { live[index].deadline = now + live[index].timeout }
    if open.contains(device) && !asked { unsettled[device, default: []].append(serial) }
  }

  mutating func settled(_ serial: UInt32, _ device: Int, isDelivered: Bool) {
    unsettled[device]?.removeAll { $0 == serial }
    if isDelivered { update(serial) { $0.delivery = .delivered } }
  }

  mutating func result(_ serial: UInt32, from device: Int?) -> UInt32? {
    guard let index = index(serial), live[index].delivery != .notSent else { return nil }
    let home = live[index].device
    if let device, device != home { return nil }
    unsettled[home]?.removeAll { $0 == serial }
    end(serial)
    return serial
  }

  mutating func expired(now: Duration) -> [UInt32] {
    let over = live.filter { $0.deadline <= now }.map(\.serial)
    for serial in over { end(serial) }
    return over
  }

  mutating func end(_ serial: UInt32) {
    guard let index = index(serial) else { return }
    ended[serial, default: 0] += 1
    live.remove(at: index)
  }

  private mutating func update(_ serial: UInt32, _ change: (inout Entry) -> Void) {
    if let index = index(serial) { change(&live[index]) }
  }
}

@Suite struct PendingCallsModelTests {
  @Test(arguments: [1, 2, 3] as [UInt64])
  func `the table does what a naive one does, over tens of thousands of random steps`(seed: UInt64) {
    var random = SeededGenerator(state: seed)
    var table = Table(firstSerial: 1, recentLimit: 200)
    var model = NaiveTable()
    var now = Duration.zero
    var completions: [UInt32: Int] = [:]
    var added: [UInt32] = []
    var owner: [UInt32: Int] = [:]

    func complete(_ entries: [Table.Calls.Entry]) {
      for entry in entries {
        completions[entry.serial, default: 0] += 1
        #expect(entry.completion == Int(entry.serial))
      }
    }
    // Mostly a call that may still be open, at times one from long ago.
    func someCall() -> UInt32 {
      guard !added.isEmpty else { return 0 }
      let isOld = random.next() % 10 == 0
      return added.suffix(isOld ? added.count : 40).randomElement(using: &random) ?? 0
    }

    for step in 0..<30_000 {
      let device = Int(random.next() % 8)
      switch random.next() % 20 {
      case 0...4:
        let timeout = Duration.milliseconds(Int(random.next() % 3_000))
        let wait = random.next() % 2 == 0 ? Duration.zero : .milliseconds(Int(random.next() % 3_000))
        let serial = table.call(on: device, timeout: timeout, wait: wait, at: now)
        model.add(serial, device, timeout: timeout, wait: wait, now: now)
        added.append(serial)
        owner[serial] = device
      case 5...9:
        let window = 1 + Int(random.next() % 3)
        let unanswered = random.next() % 4 == 0 ? Int.max : 1 + Int(random.next() % 8)
        let next = table.nextToSend(device, window: window, unanswered: unanswered)?.serial
        #expect(next == model.next(device, window: window, unanswered: unanswered), "step \(step)")
        if let next {
          table.sent(next, now: now)
          model.sent(next, asked: false, now: now)
        }
      case 10...12:
        let serial = someCall()
        let isDelivered = random.next() % 4 != 0
        guard model.index(serial).map({ model.live[$0].delivery != .notSent }) ?? true, let device = owner[serial]
        else { break }
        table.settled(serial, on: device, isDelivered: isDelivered)
        model.settled(serial, device, isDelivered: isDelivered)
      case 13...14:
        let serial = someCall()
        let sender: Int? = random.next() % 3 == 0 ? nil : random.next() % 4 == 0 ? device : owner[serial]
        let match = table.result(id: Table.Calls.id(method: "m", serial: serial), from: sender)
        #expect(match.serial == model.result(serial, from: sender), "step \(step)")
        if case .call(let entry) = match { complete([entry]) }
      case 15:
        let serial = someCall()
        let entry = table.end(serial)
        #expect((entry != nil) == (model.index(serial) != nil), "step \(step)")
        if let entry { complete([entry]) }
        model.end(serial)
      case 16:
        table.open(device, now: now)
        model.opened(device, now: now)
      case 17 where random.next() % 3 == 0:
        let entries = table.close(device, now: now)
        #expect(entries.map(\.serial) == model.closed(device, now: now), "step \(step)")
        complete(entries)
      case 18:
        guard let entry = table.oldestWaiting(device) else { break }
        #expect(entry.serial == model.waiting(device).first?.serial, "step \(step)")
        table.sent(entry.serial, .none, now: now)
        model.sent(entry.serial, asked: true, now: now)
      default:
        now += .milliseconds(Int(random.next() % 100))
        let expired = table.expire(now: now)
        #expect(expired.map(\.entry.serial).sorted() == model.expired(now: now).sorted(), "step \(step)")
        #expect(expired.map(\.entry.deadline) == expired.map(\.entry.deadline).sorted(), "step \(step)")
        complete(expired.map(\.entry))
      }
      #expect(table.count == model.live.count, "step \(step)")
      #expect(table.count(for: device) == model.live.count { $0.device == device }, "step \(step)")
      #expect(table.nextDeadline() == model.live.map(\.deadline).min(), "step \(step)")
      if table.count != model.live.count { return }
    }

    complete(table.endAll())
    for entry in model.live { model.end(entry.serial) }
    #expect(Set(completions.keys) == Set(added))
    #expect(completions.values.allSatisfy { $0 == 1 })
    #expect(model.ended == completions)
    for sent in model.sentOrder.values {
      // Never twice, and in the order in which the calls were made.
      #expect(sent == Set(sent).sorted())
    }
    #expect((table.stored("recent") ?? .max) <= 200)
  }
}
