import DeviceRPC
import TestSupport
import Testing

/// What peers can have printed.
@Suite struct LogBudgetTests {
  @Test func `a kind has ten lines a second, and the next one tells how many were left out`() {
    var budget = LogBudget()
    let shown = (0..<1_000).count { budget.take("a", about: "\($0)", now: .milliseconds($0 / 2)) != nil }
    #expect(shown == LogBudget.linesPerSecond)
    #expect(budget.take("b", about: "0", now: .milliseconds(500)) == 0, "another kind is not held up")
    #expect(budget.takeDropped(now: .milliseconds(999)).isEmpty)
    #expect(budget.take("a", about: "new", now: .seconds(1)) == 990)
    #expect(budget.take("a", about: "newer", now: .seconds(1)) == 0)
    #expect(budget.takeDropped(now: .seconds(5)).isEmpty)
  }

  @Test func `a peer has five lines of a kind in ten seconds, and hides no other`() {
    var budget = LogBudget()
    #expect((0..<20).count { budget.take("a", about: "noisy", now: .seconds($0 / 4)) != nil } == LogBudget.linesPerPeer)
    #expect(budget.take("a", about: "other", now: .seconds(5)) == 15)
    #expect(budget.take("b", about: "noisy", now: .seconds(5)) == 0)
    #expect(budget.take("a", about: "noisy", now: .seconds(9)) == nil)
    #expect(budget.takeDropped(now: .seconds(10)).map(\.count) == [1])
    #expect(budget.takeDropped(now: .seconds(10)).isEmpty)
    #expect(budget.take("a", about: "noisy", now: .seconds(10)) == 0)
  }

  @Test func `a million peers change nothing`() {
    var budget = LogBudget()
    let shown = (0..<100_000).count { budget.take("a", about: "\($0)", now: .milliseconds($0)) != nil }
    #expect(shown == 100 * LogBudget.linesPerSecond)
    #expect(budget.take("a", about: "known", now: .seconds(200)) != nil)
  }

  @Test(arguments: [
    ("abc", 3, "abc"), ("abcd", 3, "abc…"), ("aé", 2, "a…"), ("aé", 3, "aé"), ("😀😀", 5, "😀…"), ("", 0, ""), ("é", 1, "…"),
  ])
  func `text is cut between characters`(text: String, count: Int, expected: String) {
    #expect(text.cut(to: count) == expected)
  }

  @Test func `a megabyte is cut to a line`() {
    #expect(String(repeating: "\n", count: 1 << 20).onOneLine.utf8.count < 3_000)
    #expect("\u{2028}a\u{7f}".onOneLine == #"\u{2028}a\u{7F}"#)
  }

  @Test func `a log of all loops has one budget, and cut values`() {
    let recorded = RecordedLog()
    let log = PeerLog(recorded.logger)
    for number in 0..<100 {
      log.notice("x", about: "\(number)", now: .zero, ["id": String(repeating: "i", count: 100_000)])
      log.notice("y", about: "", level: .debug, now: .zero, [:])
    }
    log.notice("x", about: "last", now: .seconds(1), [:])
    let all = recorded.lines.map(\.metadata)
    #expect(all.count == 11)
    #expect(all.allSatisfy { $0["id"].map { $0.utf8.count < 300 } ?? true })
    #expect(all.last?["not-shown"] == "90")
  }
}
