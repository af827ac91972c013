import DeviceRPC
import DeviceRPCCoAP
import Testing

@Suite struct RefusalLogTests {
  private static func line(repeated: Int = 0, notShown: Int = 0) -> RefusalLog.Line {
    RefusalLog.Line(repeated: repeated, notShown: notShown)
  }

  @Test func `a device that is refused every second is told at first and then once a minute, with their number`() {
    var log = RefusalLog()
    let lines = (0..<300).compactMap { second in
      log.take("sensor-1", "disabled", now: .seconds(second)).map { (second, $0) }
    }
    #expect(lines.map(\.0) == [0, 60, 120, 180, 240])
    #expect(lines.map(\.1) == [Self.line()] + [RefusalLog.Line](repeating: Self.line(repeated: 59), count: 4))
  }

  @Test func `another device and another reason are told at once`() {
    var log = RefusalLog()
    #expect(log.take("sensor-1", "disabled", now: .zero) == Self.line())
    #expect(log.take("sensor-2", "disabled", now: .zero) == Self.line())
    #expect(log.take("sensor-1", "wrong key", now: .zero) == Self.line())
    #expect(log.take("sensor-1", "disabled", now: .seconds(1)) == nil)
    #expect(log.take("sensor-1", "wrong key", now: .seconds(1)) == nil)
  }

  @Test func `what there was no room for is not taken for told`() {
    var log = RefusalLog()
    var told = 0
    while log.take("stranger-\(told)", "unknown", now: .zero) != nil { told += 1 }
    #expect(told == 10)
    #expect(log.take("sensor-1", "disabled", now: .zero) == nil)
    #expect(log.take("sensor-1", "disabled", now: .seconds(1)) == Self.line(notShown: 2))
  }

  @Test func `of a flood of identities no more is kept than there is room for, and a device is told all the same`() {
    var log = RefusalLog()
    for number in 0..<(10 * RefusalLog.remembered) {
      _ = log.take("stranger-\(number)", "unknown", now: .milliseconds(number * 200))
    }
    let now = Duration.milliseconds(10 * RefusalLog.remembered * 200)
    #expect(log.take("sensor-1", "disabled", now: now) == Self.line())
    #expect(log.take("stranger-0", "unknown", now: now) == Self.line())
  }
}
