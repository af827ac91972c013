import DeviceRPCTesting
import TestSupport
import Testing

@testable import DeviceRPC

@Suite struct ReplacementsTests {
  private var replacements = Replacements()

  private mutating func take(_ second: Int, _ device: String = "sensor-1") -> Replacements.Line? {
    replacements.take(device, now: .seconds(second))
  }

  @Test mutating func `the fourth replacement within two minutes is one too many, and no earlier one`() {
    #expect([0, 60, 119].map { take($0) } == [.replaced, .replaced, .replaced])
    #expect(take(120) == .takingTurns(4))
  }

  @Test mutating func `a device that is replaced every 41 seconds is not suspicious`() {
    for second in stride(from: 0, to: 10_000, by: 41) { #expect(take(second) == .replaced) }
  }

  @Test mutating func `while it goes on it is told again every ten minutes, with its number`() {
    var told: [Int: Replacements.Line] = [:]
    for second in stride(from: 0, through: 1_900, by: 11) { told[second] = take(second) }
    #expect(told.filter { $0.value == .replaced }.keys.sorted() == [0, 11, 22])
    // 600 s are no whole number of turns.
    #expect(told[33] == .takingTurns(4) && told[638] == .takingTurns(55) && told[1_243] == .takingTurns(55))
    #expect(told.keys.max() == 1_848 && told.count == 7)
  }

  @Test mutating func `it is over when there is none for two minutes`() {
    for second in 0..<100 { _ = take(second) }
    #expect(take(219) == nil)
    #expect([340, 341, 342, 343].map { take($0) } == [.replaced, .replaced, .replaced, .takingTurns(4)])
  }

  @Test mutating func `a fleet whose devices reconnect once is not suspicious, and not remembered`() {
    for number in 0..<100_000 { #expect(take(number / 1_000, "d\(number)") == .replaced) }
    let tables = Mirror(reflecting: replacements).children.compactMap { ($0.value as? any Collection)?.count }
    #expect(tables.count == 2 && tables.allSatisfy { $0 <= Replacements.remembered })
    // Nor does it hide, once it is over, who takes turns.
    #expect((200..<204).map { take($0) }.last == .takingTurns(4))
  }
}

@Suite(.timeLimit(.minutes(1))) struct ServerReplacementTests {
  @Test func `two devices with one identity take turns, and the log says so`() async throws {
    let log = RecordedLog()
    try await withServer(log: log.logger) { server, transport in
      for turn in 0..<100 {
        _ = await transport.scripted(address: turn % 2 == 0 ? "a" : "b")
        await transport.advance(by: .seconds(11))
      }
    }
    #expect(log.lines.map(\.level) == [.notice, .notice, .notice, .warning, .warning])
    #expect(
      log.lines.first
        == .init(
          level: .notice, message: "replaced by a session from another address",
          metadata: ["device": "sensor-1", "address": "b", "earlier": "a"]))
    #expect(
      log.lines[3]
        == .init(
          level: .warning, message: "two devices seem to use one identity",
          metadata: ["device": "sensor-1", "address": "a", "earlier": "b", "replaced": "4"]))
  }

  @Test func `a fleet that reconnects from other addresses causes ten lines a second, and no warning`() async throws {
    let log = RecordedLog()
    try await withServer(log: log.logger) { server, transport in
      for number in 0..<500 { _ = await transport.scripted("d\(number)", address: "a\(number)") }
      for number in 0..<500 { _ = await transport.scripted("d\(number)", address: "b\(number)") }
      #expect(await server.onlineDevices() == 500)
    }
    #expect(log.lines.count == LogBudget.linesPerSecond && log.lines.allSatisfy { $0.level == .notice })
  }

  @Test func `a device that observes anew from its address, after it has left or from out of reach is no news`() async throws {
    let log = RecordedLog()
    try await withServer(log: log.logger) { server, transport in
      for _ in 0..<10 { _ = await transport.scripted(address: "a", answersProbes: false) }
      for turn in 0..<10 {
        await transport.disconnect("sensor-1")
        _ = await transport.scripted(address: "\(turn)", answersProbes: false)
      }
      await transport.advance(by: .seconds(121))
      #expect(await server.onlineDevices() == 0)
      _ = await transport.scripted(address: "c")
      #expect(await server.onlineDevices() == 1)
      #expect(await transport.stored("replacements", "current") == 0)
    }
    #expect(log.lines.isEmpty)
  }
}
