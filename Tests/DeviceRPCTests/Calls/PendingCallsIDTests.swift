import DeviceRPC
import Testing

@Suite struct PendingCallsIDTests {
  @Test(arguments: [
    (0, "m/0000"), (0x7, "m/0007"), (0x74e4, "m/74e4"), (0xffff, "m/ffff"), (0x10000, "m/10000"),
    (UInt32.max, "m/ffffffff"),
  ])
  func `an id is the method and four digits, more when those run short`(serial: UInt32, id: String) {
    #expect(Table.Calls.id(method: "m", serial: serial) == id)
    #expect(Table.Calls.serial(in: id) == serial)
  }

  @Test func `a method may have slashes of its own`() {
    #expect(Table.Calls.id(method: "led/set", serial: 0x74e4) == "led/set/74e4")
    #expect(Table.Calls.serial(in: "led/set/74e4") == 0x74e4)
    #expect(Table.Calls.serial(in: "/0001") == 1)
  }

  @Test(arguments: [
    "", "/", "m", "m/", "74e4", "m/74e", "m/74E4", "m/74g4", "m/123456789", "m/0x12", "m/-123", "m/+123", "m/ 123",
    "m/74e4/", "m/74e4 ", "m/74e4\n", "m/74e4\0", "m/７４ｅ４", "m/74e\u{301}4", "m/١٢٣٤",
    String(repeating: "/", count: 10_000), "m/" + String(repeating: "0", count: 1_000_000),
  ])
  func `what cannot be an id of ours has no number`(id: String) {
    #expect(Table.Calls.serial(in: id) == nil)
  }

  @Test(arguments: [("0", 0), ("7", 7), ("007", 7), ("29924", 0x74e4), ("2147483647", 0x7fff_ffff)] as [(String, UInt32)])
  func `a number alone is an id, too`(id: String, serial: UInt32) {
    #expect(Table.Calls.serial(in: id) == serial)
  }

  @Test(arguments: ["2147483648", "4294967296", "99999999999999999999", "-1", "+1", " 1", "1 ", "1.0", "0x10", "１"])
  func `what is no number up to the largest is none`(id: String) {
    #expect(Table.Calls.serial(in: id) == nil)
  }

  @Test func `a call is found by its number alone, and not by the number of another method`() {
    var table = Table.Calls(firstSerial: 0x74e4)
    let lane = Table.Calls.Lane(1)
    table.open(lane, now: .zero)
    let entry = table.add(0x74e4, id: "m/74e4", Call("m"), to: lane, timeout: .seconds(1), completion: 0, now: .zero)
    #expect(!table.isAwaited("29924", from: lane))
    table.sent(entry, now: .zero)
    #expect(table.isAwaited("29924", from: lane) && table.isAwaited("m/74e4", from: lane) && !table.isAwaited("n/74e4", from: lane))
    #expect(table.lane(ofCall: "29924") === lane)
    #expect(table.isForeign("29924", to: Table.Calls.Lane(2)))
    guard case .call(let ended) = table.result(id: "29924", from: lane) else { return #expect(Bool(false), "not found") }
    #expect(ended === entry)
    guard case .ended = table.result(id: "29924", from: lane) else { return #expect(Bool(false), "not remembered") }
  }

  @Test func `numbers begin where they are told to, and differ`() {
    var table = Table(firstSerial: 0x74e4)
    let serials = (0..<1_000).map { _ in table.call() }
    #expect(serials.first == 0x74e4)
    #expect(Set(serials).count == 1_000)
  }

  @Test func `a number that is in use is not given again`() {
    var table = Table.Calls(firstSerial: 7)
    let lane = Table.Calls.Lane(1)
    for serial in 7...8 as ClosedRange<UInt32> {
      table.add(serial, id: "m", Call("m"), to: lane, timeout: .seconds(1), completion: 0, now: .zero)
    }
    #expect(table.reserve() == 9)
  }

  @Test func `loops that count in steps never give the same number, not even after the last`() {
    for loops in UInt32(1)...7 {
      for loop in 0..<loops {
        // A few numbers before the end of the range, congruent to the loop's.
        let top = UInt32(Int32.max) / loops * loops - 3 * loops
        var table = Table(firstSerial: top + loop, step: loops)
        let serials = (0..<10).map { _ in table.reserve() }
        #expect(serials.allSatisfy { $0 % loops == loop && $0 <= Int32.max }, "\(loops) loops, loop \(loop)")
        #expect(serials.last! < 10 * loops)
      }
    }
  }

  @Test func `a step of zero counts by one`() {
    var table = Table(firstSerial: 5, step: 0)
    #expect([table.reserve(), table.reserve()] == [5, 6])
  }
}
