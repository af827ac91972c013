import DeviceRPC
import DeviceRPCTesting
import Foundation
import HTTPTypes
import Hummingbird
import Synchronization
import Testing

@testable import DeviceRPCHTTP

@Suite(.timeLimit(.minutes(1))) struct EventFeedTests {
  private let caller = EventCaller()
  private let clock = ManualClock()

  private func feed(
    _ change: (inout HTTPLimits) -> Void = { _ in }, keys: (any APIKeyProvider)? = nil,
    date: @escaping @Sendable () -> Date = { eventTime }
  ) -> EventFeed {
    var limits = HTTPLimits()
    change(&limits)
    return EventFeed(caller: caller, keys: keys, limits: limits, clock: clock, date: date)
  }

  private let anybody = Sender(key: nil)

  private func sender(_ permissions: APIPermissions) -> Sender {
    Sender(key: APIKey(id: "k", name: "k", digest: [], created: eventTime, permissions: permissions))
  }

  /// Sends events, and returns when the feed has them.
  private func send(_ feed: EventFeed, _ events: DeviceEvent...) async {
    let latest = feed.latest
    for event in events { caller.send(event) }
    await until { feed.latest == latest + events.count }
  }

  /// What a reader gets now, without heartbeats.
  private func take(_ reader: EventReader, _ feed: EventFeed) -> [ReadEvent] {
    let text = feed.take(reader.number).text(origin: feed.origin, at: eventTime).map { String(buffer: $0) }.joined()
    return ReadEvent.read(text).filter { $0.name != nil }
  }

  // MARK: Who gets what

  @Test func `a reader gets what happens to the devices that it follows and may read`() async throws {
    let feed = feed()
    let all = try #require(feed.read(nil, for: anybody, after: nil))
    let one = try #require(feed.read("b", for: anybody, after: nil))
    let some = try #require(
      feed.read(nil, for: sender(APIPermissions(devices: .only(names: ["b"], prefixes: ["c"]))), after: nil))
    let every = try #require(feed.read(nil, for: sender(APIPermissions(methods: .none)), after: nil))
    let none = try #require(feed.read(nil, for: sender(APIPermissions(allowsReading: false)), after: nil))
    await send(feed, .test("a", 1), .test("b", 2), .test("c1", 3), .test(nil, 4), .test("b", 5))
    func numbers(_ reader: EventReader) -> [Int?] { take(reader, feed).map(\.number) }
    #expect(numbers(all) == [1, 2, 3, 4, 5])
    #expect(numbers(one) == [2, 5])
    #expect(numbers(some) == [2, 3, 5])
    #expect(numbers(every) == [1, 2, 3, 4, 5])
    #expect(numbers(none).isEmpty)
  }

  @Test func `an event has the same id and the same bytes for all readers`() async throws {
    let feed = feed()
    let readers = try (0..<3).map { _ in try #require(feed.read(nil, for: anybody, after: nil)) }
    await send(feed, .ended("a"), .online(.test("a")))
    let texts = readers.map { take($0, feed) }
    #expect(texts[0].map(\.id) == ["\(feed.origin)-1", "\(feed.origin)-2"])
    #expect(texts.allSatisfy { $0 == texts[0] })
  }

  @Test func `there are only so many readers, and whoever leaves makes room`() async throws {
    let feed = feed { $0.eventReaders = 2 }
    let stays = feed.read(nil, for: anybody, after: nil)
    var leaves = feed.read("a", for: anybody, after: nil)
    #expect(stays != nil && leaves != nil && feed.readers == 2)
    #expect(feed.read(nil, for: anybody, after: nil) == nil)
    leaves = nil
    #expect(feed.readers == 1 && leaves == nil)
    #expect(feed.read(nil, for: anybody, after: nil) != nil)
    #expect(feed.readers == 1)
  }

  // MARK: Gaps

  @Test func `a reader that comes back gets what it has missed, if it is still there`() async throws {
    let feed = feed { $0.bufferedEvents = 4 }
    let first = try #require(feed.read("a", for: anybody, after: nil))
    await send(feed, .test("a", 1), .test("b", 2), .test("a", 3), .test("a", 4), .test("b", 5), .test("a", 6))
    let ids = take(first, feed).compactMap(\.id)
    #expect(ids.count == 4)
    let second = try #require(feed.read("a", for: anybody, after: ids[1]))
    #expect(take(second, feed).map(\.number) == [4, 6])
    let third = try #require(feed.read("a", for: anybody, after: ids[3]))
    #expect(take(third, feed).isEmpty)
    for (id, reason) in [
      (ids[0], "forgotten"), ("\(feed.origin)-7", "unknown-id"), ("\(feed.origin)-x", "unknown-id"), ("k3v9-3", "unknown-id"),
      ("", "unknown-id"), ("\(feed.origin)--1", "unknown-id"), ("\(feed.origin)-0", "forgotten"),
    ] {
      let late = try #require(feed.read("a", for: anybody, after: id))
      let read = take(late, feed)
      #expect(read.count == 1 && read[0].name == "gap" && read[0].data?["reason"] == .string(reason), "\(id)")
      #expect(read.first?.id == nil && read.first?.data?["dropped"] == .some(.null))
    }
  }

  @Test func `an id counts for who may read less, too`() async throws {
    let feed = feed()
    let all = try #require(feed.read(nil, for: anybody, after: nil))
    await send(feed, .test("a", 1), .test("b", 2), .test("b", 3))
    let id = take(all, feed).first?.id
    let one = try #require(feed.read(nil, for: sender(APIPermissions(devices: .only(names: ["a"]))), after: id))
    #expect(take(one, feed).isEmpty)
  }

  @Test func `a slow reader loses events and is told how many, and the others lose none`() async throws {
    let feed = feed { $0.eventsPerReader = 3 }
    let slow = try #require(feed.read(nil, for: anybody, after: nil))
    let quick = try #require(feed.read(nil, for: anybody, after: nil))
    var numbers: [Int?] = []
    for number in 1...10 {
      await send(feed, .test("a", number))
      numbers += take(quick, feed).map(\.number)
    }
    #expect(numbers == Array(1...10))
    let read = take(slow, feed)
    #expect(read.map(\.number) == [1, 2, 3, nil])
    #expect(read.last?.name == "gap" && read.last?.data?["dropped"] == 7 && read.last?.data?["reason"] == "slow-reader")
    // What it has lost is still there for it.
    let again = try #require(feed.read(nil, for: anybody, after: read[2].id))
    #expect(take(again, feed).map(\.number) == Array(4...10))
  }

  @Test func `what the server itself has lost is told to all`() async throws {
    let feed = feed()
    let one = try #require(feed.read("a", for: sender(APIPermissions(devices: .only(names: ["a"]))), after: nil))
    for _ in 0..<3 { caller.lose() }
    caller.send(.test("b", 1))
    await until { feed.latest == 2 }
    let read = take(one, feed)
    #expect(read.map(\.id) == ["\(feed.origin)-1"])
    #expect(read[0].name == "gap" && read[0].data?["dropped"] == 3 && read[0].data?["reason"] == "server-busy")
    let again = try #require(feed.read("a", for: anybody, after: "\(feed.origin)-0"))
    #expect(take(again, feed) == read)
  }

  // MARK: Time

  @Test func `readers get heartbeats, with ids from which to resume`() async throws {
    let feed = feed()
    let reader = try #require(feed.read("a", for: anybody, after: nil))
    func text() -> String { feed.take(reader.number).text(origin: feed.origin, at: eventTime).map { String(buffer: $0) }.joined() }
    #expect(text() == ": heartbeat\nid: \(feed.origin)-0\n\n")
    await clock.advance(by: .seconds(14))
    #expect(!feed.hasNews(reader.number))
    await send(feed, .test("b"), .test("b"))
    await clock.advance(by: .seconds(1))
    await until { feed.hasNews(reader.number) }
    #expect(text() == ": heartbeat\nid: \(feed.origin)-2\n\n")
    await clock.advance(by: .seconds(15))
    await until { feed.hasNews(reader.number) }
  }

  @Test func `the caller is followed from the first reader until some time after the last`() async throws {
    let feed = feed { $0.eventTime = .seconds(30) }
    func beat() async {
      await clock.advance(by: .seconds(15))
      await until { clock.sleepers == 1 || !feed.isFollowing }
    }
    #expect(caller.subscribers == 0 && !feed.isFollowing)
    var reader = feed.read(nil, for: anybody, after: nil)
    #expect(caller.subscribers == 1)
    for _ in 0..<5 { await beat() }
    await send(feed, .test("a", 1))
    let id = try #require(reader.map { take($0, feed) }?.first?.id)
    reader = nil
    await beat()
    // What happens in the meantime is there for who comes back.
    await send(feed, .test("a", 2))
    reader = feed.read(nil, for: anybody, after: id)
    #expect(reader.map { take($0, feed) }?.map(\.number) == [2])
    reader = nil
    for _ in 0..<2 {
      #expect(feed.isFollowing)
      await beat()
    }
    #expect(!feed.isFollowing)
    await until { caller.subscribers == 0 && clock.sleepers == 0 }
    reader = feed.read(nil, for: anybody, after: "\(feed.origin)-2")
    #expect(caller.subscribers == 1)
    #expect(reader.map { take($0, feed) }?.first?.data?["reason"] == "forgotten")
    await send(feed, .test("a", 3))
    #expect(reader.map { take($0, feed) }?.map(\.number) == [3])
  }

  @Test func `when the caller ends, so do its readers, and later ones follow it anew`() async throws {
    let feed = feed()
    let reader = try #require(feed.read(nil, for: anybody, after: nil))
    caller.send(.test("a", 1))
    caller.finish()
    await until { !feed.isFollowing }
    let batch = feed.take(reader.number)
    #expect(batch.ending == .over && batch.events.count == 1)
    let next = try #require(feed.read(nil, for: anybody, after: nil))
    #expect(feed.isFollowing && feed.take(next.number).ending == nil)
    await send(feed, .test("a", 2))
    #expect(take(next, feed).map(\.number) == [2])
  }

  @Test func `nothing is left of a feed that nobody uses any more`() async throws {
    let keys = InMemoryAPIKeys()
    weak var gone: EventFeed?
    do {
      let feed = feed(keys: keys)
      gone = feed
      let reader = try #require(feed.read(nil, for: anybody, after: nil))
      await send(feed, .test("a"))
      await until { clock.sleepers == 1 }
      _ = reader
    }
    await until { gone == nil && caller.subscribers == 0 && clock.sleepers == 0 }
  }

  // MARK: Writing

  /// A connection whose client reads nothing.
  private struct StuckWriter: ResponseBodyWriter {
    let isWriting: @Sendable () -> Void

    func write(_ buffer: ByteBuffer) async throws {
      isWriting()
      try await Task.sleep(for: .seconds(3_600))
    }

    consuming func finish(_ trailingHeaders: HTTPFields?) async throws {}
  }

  /// A connection whose client reads all.
  private final class CollectingWriter: ResponseBodyWriter, Sendable {
    private let state = Mutex((text: "", isFinished: false))
    var text: String { state.withLock { $0.text } }
    var isFinished: Bool { state.withLock { $0.isFinished } }

    func write(_ buffer: ByteBuffer) async throws { state.withLock { $0.text += String(buffer: buffer) } }
    func finish(_ trailingHeaders: HTTPFields?) async throws { state.withLock { $0.isFinished = true } }
  }

  @Test func `a client that does not read is given some time when its stream ends, and no more`() async throws {
    let feed = feed()
    let isWriting = Atomic(false)
    let writing = Task {
      let reader = try #require(feed.read(nil, for: anybody, after: nil))
      try await reader.write(to: StuckWriter { isWriting.store(true, ordering: .relaxed) }, nil)
    }
    await until { isWriting.load(ordering: .relaxed) }
    caller.finish()
    await until { !feed.isFollowing && clock.sleepers == 1 }
    await clock.advance(by: .seconds(4.9))
    #expect(feed.readers == 1)
    await clock.advance(by: .seconds(0.1))
    await #expect(throws: CancellationError.self) { try await writing.value }
    #expect(feed.readers == 0 && clock.sleepers == 0)
  }

  @Test func `a client that reads gets all that was sent, and the end`() async throws {
    let feed = feed { limits in
      limits.eventsPerReader = 1_000
      limits.eventBytesPerReader = .max
    }
    let writer = CollectingWriter()
    let writing = Task {
      let reader = try #require(feed.read(nil, for: anybody, after: nil))
      try await reader.write(to: writer, nil)
    }
    await until { feed.readers == 1 }
    for number in 0..<1_000 { caller.send(.test("a", number)) }
    caller.finish()
    try await writing.value
    #expect(writer.isFinished)
    #expect(ReadEvent.read(writer.text).compactMap(\.number) == Array(0..<1_000))
    await until { clock.sleepers == 0 }
    #expect(feed.readers == 0)
  }

  @Test func `a client whose connection is cut leaves nothing behind`() async throws {
    let feed = feed()
    let writing = Task {
      let reader = try #require(feed.read(nil, for: anybody, after: nil))
      try await reader.write(to: CollectingWriter(), nil)
    }
    await until { feed.readers == 1 }
    writing.cancel()
    _ = await writing.result
    #expect(feed.readers == 0)
  }

  // MARK: Keys

  @Test func `a key that is revoked or expires ends its streams, and no others`() async throws {
    let keys = InMemoryAPIKeys()
    let time = Mutex(eventTime)
    let feed = feed(keys: keys, date: { time.withLock { $0 } })
    func read(_ name: String, expires: Date? = nil) throws -> (EventReader, id: String) {
      let id = try #require(APIKeyText(keys.add(name, expires: expires))).id
      let key = try #require(keys.apiKey(id: id))
      return (try #require(feed.read(nil, for: Sender(key: key), after: nil)), id)
    }
    let (good, _) = try read("good")
    let (revoked, id) = try read("revoked")
    let (expires, _) = try read("expires", expires: eventTime.addingTimeInterval(10))
    await feed.checkKeys()
    for reader in [good, revoked, expires] { #expect(feed.take(reader.number).ending == nil) }
    await send(feed, .test("a", 1))
    keys.remove(id: id)
    await until { feed.hasEnded(revoked.number) }
    #expect(take(revoked, feed).isEmpty)
    #expect(take(good, feed).map(\.number) == [1] && !feed.hasEnded(expires.number))
    time.withLock { $0 += 10 }
    await clock.advance(by: .seconds(15))
    await until { feed.hasEnded(expires.number) }
    #expect(!feed.hasEnded(good.number))
  }

  @Test func `a key whose permissions change sees what it may see by now`() async throws {
    let keys = InMemoryAPIKeys()
    let feed = feed(keys: keys)
    let id = try #require(APIKeyText(keys.add("key"))).id
    let key = try #require(keys.apiKey(id: id))
    let all = try #require(feed.read(nil, for: Sender(key: key), after: nil))
    let one = try #require(feed.read("a", for: Sender(key: key), after: nil))
    let other = APIPermissions(devices: .only(names: ["b"]))
    keys.set(APIKey(id: id, name: key.name, digest: key.digest, created: key.created, permissions: other))
    await until { feed.hasEnded(one.number) }
    await send(feed, .test("a", 1), .test("b", 2))
    #expect(take(all, feed).map(\.number) == [2])
    // The same id with another secret is another key.
    keys.set(APIKey(id: id, name: key.name, digest: key.digest.reversed(), created: key.created))
    await until { feed.hasEnded(all.number) }
  }

  @Test func `who came without a key while there were none has to go when there is one`() async throws {
    let keys = InMemoryAPIKeys()
    let feed = feed(keys: keys)
    let reader = try #require(feed.read(nil, for: anybody, after: nil))
    await feed.checkKeys()
    #expect(!feed.hasEnded(reader.number))
    _ = keys.add("first")
    await until { feed.hasEnded(reader.number) }
  }
}
