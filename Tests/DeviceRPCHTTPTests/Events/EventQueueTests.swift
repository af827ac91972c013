import DeviceRPC
import Foundation
import TestSupport
import Testing

@testable import DeviceRPCHTTP

@Suite struct EventQueueTests {
  private func event(_ number: Int, _ bytes: Int? = nil) -> NumberedEvent {
    NumberedEvent(.event(bytes.map { .ended("d", $0) } ?? .test("d", number)), number: number, time: eventTime)
  }

  private func numbers(_ batch: EventQueue.Batch) -> [Int] { batch.events.map(\.number) }

  @Test func `what does not fit is dropped and counted, until the rest is taken`() {
    var queue = EventQueue(limit: 3, byteLimit: .max)
    for number in 1...5 { queue.add(event(number)) }
    let first = queue.take(latest: 5)
    #expect(numbers(first) == [1, 2, 3] && first.dropped == 2 && first.position == nil && first.isHeartbeat)
    #expect(!queue.hasNews)
    queue.add(event(6))
    #expect(queue.hasNews)
    let second = queue.take(latest: 7)
    #expect(numbers(second) == [6] && second.dropped == 0 && second.position == 7 && !second.isHeartbeat)
  }

  @Test func `what is behind a dropped event is dropped too, even if it would fit`() {
    var queue = EventQueue(limit: 100, byteLimit: 10_000)
    queue.add(event(1, 5_000))
    queue.add(event(2, 8_000))
    queue.add(event(3))
    let batch = queue.take(latest: 3)
    #expect(numbers(batch) == [1] && batch.dropped == 2)
    queue.add(event(4))
    #expect(numbers(queue.take(latest: 4)) == [4])
  }

  @Test func `one event fits, however large it is`() {
    var queue = EventQueue(limit: 0, byteLimit: 0)
    for number in 1...2 { queue.add(event(number, 100_000)) }
    let batch = queue.take(latest: 2)
    #expect(numbers(batch) == [1] && batch.dropped == 1)
  }

  @Test func `what a reader has missed does not count`() {
    var queue = EventQueue(limit: 2, byteLimit: .max, backlog: (1...5).map { event($0) }, miss: nil)
    for number in 6...8 { queue.add(event(number)) }
    let batch = queue.take(latest: 8)
    #expect(numbers(batch) == Array(1...7) && batch.dropped == 1)
  }

  @Test func `there is one heartbeat to take, however many there were`() {
    var queue = EventQueue(limit: 2, byteLimit: .max)
    _ = queue.take(latest: 0)
    for _ in 0..<3 { queue.beat() }
    #expect(queue.take(latest: 0).isHeartbeat)
    #expect(!queue.hasNews && !queue.take(latest: 0).isHeartbeat)
  }

  @Test func `at the end what waits is taken, unless the key is no longer valid`() {
    var queue = EventQueue(limit: 2, byteLimit: .max)
    var denied = queue
    for number in 1...3 { queue.add(event(number)) }
    denied.add(event(1))
    queue.end(.over)
    queue.add(event(4))
    queue.end(.denied)
    let batch = queue.take(latest: 4)
    #expect(numbers(batch) == [1, 2] && batch.dropped == 1 && batch.ending == .over)
    denied.end(.denied)
    let nothing = denied.take(latest: 4)
    #expect(nothing.events.isEmpty && nothing.position == nil && nothing.ending == .denied)
    #expect(ReadEvent.read(nothing.string) == [ReadEvent(comment: "the API key is no longer valid")])
  }

  @Test func `whoever reads gets every event, or the number of those that are missing`() {
    var random = SeededGenerator(state: 7)
    for _ in 0..<200 {
      let limit = Int.random(in: 0...6, using: &random)
      var queue = EventQueue(limit: limit, byteLimit: Int.random(in: 0...8_000, using: &random))
      var number = 0
      var expected = 1
      for _ in 0..<100 {
        if Int.random(in: 0..<4, using: &random) == 0 {
          let batch = queue.take(latest: number)
          #expect(batch.events.count <= max(1, limit))
          #expect(numbers(batch) == Array(expected..<(expected + batch.events.count)))
          expected += batch.events.count + batch.dropped
          #expect(expected == number + 1)
          #expect(batch.position == (batch.dropped == 0 ? number : nil))
        } else {
          number += 1
          queue.add(event(number, Int.random(in: 0...4_000, using: &random)))
        }
      }
    }
  }

  // MARK: The buffer

  @Test func `the oldest event makes room, by number and by bytes`() {
    var buffer = EventBuffer(limit: 3, byteLimit: 1_000_000)
    for _ in 1...5 { _ = buffer.add { event($0) } }
    #expect(buffer.latest == 5 && buffer.count == 3)
    #expect(buffer.events(after: 2)?.map(\.number) == [3, 4, 5])
    #expect(buffer.events(after: 4)?.map(\.number) == [5])
    #expect(buffer.events(after: 5)?.isEmpty == true)
    #expect(buffer.events(after: 1) == nil && buffer.events(after: 6) == nil)
    _ = buffer.add { event($0, 999_000) }
    #expect(buffer.events(after: 4) == nil && buffer.events(after: 5) == nil && buffer.events(after: 6)?.isEmpty == true)
    #expect(buffer.count == 0 && buffer.bytes == 0)
    _ = buffer.add { event($0, 900_000) }
    #expect(buffer.events(after: 6)?.map(\.number) == [7] && buffer.bytes > 900_000)
  }

  @Test func `nothing is known of the time before the buffer was cleared`() {
    var buffer = EventBuffer(limit: 3, byteLimit: .max)
    #expect(buffer.events(after: 0)?.isEmpty == true)
    for _ in 1...2 { _ = buffer.add { event($0) } }
    buffer.clear()
    #expect(buffer.events(after: 2) == nil && buffer.bytes == 0)
    _ = buffer.add { event($0) }
    #expect(buffer.latest == 4 && buffer.events(after: 2) == nil && buffer.events(after: 3)?.map(\.number) == [4])
  }
}

extension EventQueue.Batch {
  var string: String { text(origin: "k3v9", at: eventTime).map { String(buffer: $0) }.joined() }
}
