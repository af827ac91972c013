import DeviceRPC
import Testing

@Suite struct PendingCallsEndTests {
  private var table = Table(firstSerial: 1)

  init() { table.open(1, now: .zero) }

  // MARK: Deadlines

  @Test mutating func `a call to a connected device has its time for a result`() {
    _ = table.call(timeout: .seconds(3), wait: .seconds(60), at: .seconds(1))
    #expect(table.nextDeadline() == .seconds(4))
  }

  @Test mutating func `a call to an absent device has its time to wait, and its time for a result from then on`() {
    let call = table.call(on: 2, timeout: .seconds(3), wait: .seconds(60), at: .seconds(1))
    #expect(table.nextDeadline() == .seconds(61))
    table.open(2, now: .seconds(50))
    #expect(table.nextDeadline() == .seconds(53))
    // A link that only replaces another one does not give more time.
    table.open(2, now: .seconds(52))
    #expect(table.nextDeadline() == .seconds(53))
    #expect(table.expire(now: .seconds(53)).map(\.entry.serial) == [call])
  }

  @Test mutating func `time spent with a device that comes and goes is bounded`() {
    let call = table.call(on: 2, timeout: .seconds(10), wait: .seconds(60))
    var now = Duration.zero
    while table[call] != nil && now < .seconds(1_000) {
      now += .seconds(5)
      table.open(2, now: now)
      now += .seconds(5)
      _ = table.close(2, now: now)
    }
    #expect(now == .seconds(60))
  }

  @Test mutating func `calls expire in the order of their deadlines, and say whether the device was there`() {
    let late = table.call(timeout: .seconds(5))
    let early = table.call(timeout: .seconds(2))
    let absent = table.call(on: 2, wait: .seconds(3))
    let open = table.call(timeout: .seconds(60))
    #expect(table.expire(now: .seconds(1)).isEmpty)
    let expired = table.expire(now: .seconds(5))
    #expect(expired.map(\.entry.serial) == [early, absent, late])
    #expect(expired.map(\.wasReachable) == [true, false, true])
    #expect(table.nextDeadline() == .seconds(60))
    #expect(table.end(open) != nil)
    #expect(table.nextDeadline() == nil)
  }

  @Test mutating func `a sent call counts as reachable though its device has gone since`() {
    _ = table.call()
    table.sendAll()
    _ = table.close(1, now: .seconds(1))
    #expect(table.expire(now: .seconds(10)).map(\.wasReachable) == [true])
  }

  @Test mutating func `a deadline of now is over`() {
    _ = table.call(timeout: .zero, at: .seconds(1))
    #expect(table.expire(now: .seconds(1)).count == 1)
  }

  // MARK: Ends

  @Test mutating func `a call ends once`() {
    let call = table.call()
    #expect(table.end(call)?.completion == Int(call))
    #expect(table.end(call)?.completion == nil)
    #expect(table.expire(now: .seconds(100)).isEmpty)
    #expect(table.isEmpty && table.count(for: 1) == 0)
  }

  @Test mutating func `a call that is given up while it waits does not leave`() {
    let calls = (0..<3).map { _ in table.call() }
    table.sendAll()
    #expect(table.end(calls[1])?.delivery == .notSent)
    table.settled(calls[0], on: 1, isDelivered: true)
    #expect(table.sendAll() == [calls[2]])
  }

  @Test mutating func `ending all returns the calls in the order of their numbers`() {
    table.open(2, now: .zero)
    let calls = (0..<6).map { table.call(on: 1 + $0 % 3, wait: .seconds(5)) }
    table.sendAll()
    #expect(table.endAll().map(\.serial) == calls)
    #expect(table.isEmpty)
    #expect(table.nextDeadline() == nil)
    #expect(table.endAll().isEmpty)
  }

  // MARK: Results

  @Test mutating func `a result ends the call of its device and id`() {
    let calls = (0..<2).map { _ in table.call("multiply") }
    table.sendAll(window: 2)
    #expect(table.result(id: "multiply/0002", from: 1).serial == calls[1])
    #expect(table.result(id: "multiply/0001", from: nil).serial == calls[0])
  }

  @Test mutating func `a result that comes late or twice is told from one that nobody asked for`() {
    _ = table.call()
    _ = table.call()
    table.sendAll(window: 2)
    _ = table.result(id: "m/0001", from: 1)
    _ = table.expire(now: .seconds(10))
    #expect(table.result(id: "m/0001", from: 1).isLate)
    #expect(table.result(id: "m/0002", from: nil).isLate)
    #expect(table.result(id: "m/0001", from: 2).isUnknown)
    #expect(table.result(id: "m/0003", from: 1).isUnknown)
    #expect(table.result(id: "nonsense", from: 1).isUnknown)
  }

  @Test(arguments: ["n/0001", "m/00001", "M/0001", "mm/0001", "/0001", "m/0001/0001"])
  mutating func `an id that only resembles one ends nothing`(id: String) {
    let call = table.call()
    table.sendAll()
    #expect(table.result(id: id, from: 1).isUnknown)
    #expect(table[call] != nil)
  }

  @Test mutating func `a device cannot answer for another one`() {
    let call = table.call()
    table.sendAll()
    #expect(table.result(id: "m/0001", from: 2).isUnknown)
    #expect(table[call] != nil)
  }

  @Test mutating func `a call that has not left cannot have a result`() {
    let call = table.call()
    #expect(table.result(id: "m/0001", from: 1).isUnknown)
    table.sendAll()
    #expect(table.result(id: "m/0001", from: 1).serial == call)
  }

  // MARK: Memory

  @Test mutating func `ended calls are remembered up to a limit`() {
    var table = Table(firstSerial: 1, recentLimit: 100)
    table.open(1, now: .zero)
    for _ in 0..<1_000 {
      let call = table.call()
      #expect(table.end(call) != nil)
    }
    #expect(table.stored("recent") == 100)
    #expect(table.result(id: Table.Calls.id(method: "m", serial: 900), from: 1).isUnknown)
    #expect(table.result(id: Table.Calls.id(method: "m", serial: 901), from: 1).isLate)
  }

  @Test mutating func `alarms of ended calls do not pile up behind one that is far away`() {
    _ = table.call(timeout: .seconds(1))
    for _ in 0..<20_000 {
      let call = table.call(timeout: .seconds(86_400))
      #expect(table.end(call) != nil)
    }
    #expect((table.stored("alarms") ?? .max) <= 2_000)
    #expect(table.nextDeadline() == .seconds(1))
  }

  @Test mutating func `a device that comes and goes does not pile up alarms`() {
    for _ in 0..<100 { _ = table.call(on: 2, timeout: .seconds(86_400), wait: .seconds(86_400)) }
    for second in 0..<1_000 {
      table.open(2, now: .seconds(second))
      _ = table.close(2, now: .seconds(second))
    }
    #expect((table.stored("alarms") ?? .max) <= 2_000)
    #expect(table.nextDeadline() == .seconds(86_400))
    #expect(table.expire(now: .seconds(86_400)).count == 100)
  }

  @Test mutating func `nothing is left of calls that have ended`() {
    for round in 0..<100 {
      let now = Duration.seconds(round)
      table.open(2, now: now)
      for _ in 0..<10 { _ = table.call(on: 2, timeout: .milliseconds(10), at: now) }
      table.sendAll(2, window: 4, at: now)
      _ = table.close(2, now: now)
      _ = table.expire(now: now + .milliseconds(10))
    }
    #expect(table.isEmpty)
    #expect(table.stored("entries") == 0)
    #expect(table.nextDeadline() == nil)
    #expect(table.stored("alarms") == 0)
  }
}
