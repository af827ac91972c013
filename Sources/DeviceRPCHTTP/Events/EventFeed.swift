internal import DeviceRPC
internal import FoundationEssentials
internal import Synchronization

/// The events of one caller for all who read them over HTTP.
///
/// It follows the caller from the first reader on, and for `HTTPLimits.eventTime` after the last one: a server whose events nobody
/// reads spends nothing on them, and a client that comes back finds what it has missed.
final class EventFeed: Sendable {
  private struct Reader {
    /// The only device that it follows; nil for all.
    let device: String?
    var sender: Sender
    var queue: EventQueue
    let signal: AsyncStream<Void>.Continuation
    let ending: AsyncStream<Void>.Continuation

    mutating func change(_ body: (inout EventQueue) -> Void) {
      let hadNews = queue.hasNews
      body(&queue)
      if !hadNews, queue.hasNews { signal.yield() }
    }

    mutating func end(_ reason: EventQueue.Ending) {
      change { $0.end(reason) }
      ending.finish()
    }
  }

  private struct State {
    var buffer: EventBuffer
    var readers: [Int: Reader] = [:]
    // Those that follow one device, by its name, and those that follow all.
    var followers: [String: Set<Int>] = [:]
    var followersOfAll: Set<Int> = []
    var lastReader = 0
    // What follows the caller; nil while nothing does. Its number tells it from the ones before.
    var task: Task<Void, Never>?
    var generation = 0
    // For how long there has been no reader, as far as heartbeats tell.
    var idle = Duration.zero
  }

  /// What all ids of this process begin with.
  let origin: String
  private let caller: any DeviceCaller
  private let keys: (any APIKeyProvider)?
  private let limits: HTTPLimits
  private let heartbeat: Duration
  private let clock: any Clock<Duration>
  private let date: @Sendable () -> Date
  private let state: Mutex<State>
  private let lost = Atomic(0)

  init(
    caller: any DeviceCaller, keys: (any APIKeyProvider)?, limits: HTTPLimits, clock: any Clock<Duration>,
    date: @escaping @Sendable () -> Date
  ) {
    self.caller = caller
    self.keys = keys
    self.limits = limits
    self.clock = clock
    self.date = date
    heartbeat = max(limits.heartbeat, .seconds(1))
    origin = String(UInt64.random(in: 1 << 60 ... .max), radix: 36)
    state = Mutex(State(buffer: EventBuffer(limit: limits.bufferedEvents, byteLimit: limits.bufferedEventBytes)))
  }

  deinit { state.withLock { $0.task?.cancel() } }

  // MARK: Readers

  /// Adds a reader. Nil when there are as many as there may be.
  ///
  /// - Parameters:
  ///   - device: the only device whose events it gets; nil for all that its key may read.
  ///   - id: the id of the last event that it has; nil if it begins now.
  func read(_ device: String?, for sender: Sender, after id: String?) -> EventReader? {
    state.withLock { state in
      guard state.readers.count < limits.eventReaders else { return nil }
      if state.task == nil { follow(&state) }
      state.idle = .zero
      let (signals, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
      let (endings, ending) = AsyncStream.makeStream(of: Void.self)
      var backlog: [NumberedEvent] = []
      var miss: EventQueue.Miss?
      if let id {
        let number = EventText.number(in: id, origin).flatMap { (0...state.buffer.latest).contains($0) ? $0 : nil }
        if let number, let events = state.buffer.events(after: number) {
          backlog = events.filter { $0.isVisible(to: sender, following: device) }
        } else {
          miss = number == nil ? .unknownID : .forgotten
        }
      }
      let queue = EventQueue(
        limit: limits.eventsPerReader, byteLimit: limits.eventBytesPerReader, backlog: backlog, miss: miss)
      state.lastReader += 1
      let number = state.lastReader
      state.readers[number] = Reader(device: device, sender: sender, queue: queue, signal: signal, ending: ending)
      if let device {
        state.followers[device, default: []].insert(number)
      } else {
        state.followersOfAll.insert(number)
      }
      signal.yield()
      return EventReader(feed: self, number: number, signals: signals, endings: endings)
    }
  }

  /// What waits for a reader.
  func take(_ number: Int) -> EventQueue.Batch {
    state.withLock { state in
      let latest = state.buffer.latest
      return state.readers[number]?.queue.take(latest: latest) ?? EventQueue.Batch(ending: .over)
    }
  }

  /// The reader gets what waits for it, and no more.
  func end(_ number: Int) { state.withLock { $0.readers[number]?.end(.over) } }

  /// The reader is gone.
  func remove(_ number: Int) {
    let reader: Reader? = state.withLock { state in
      guard let reader = state.readers.removeValue(forKey: number) else { return nil }
      if let device = reader.device {
        state.followers[device]?.remove(number)
        if state.followers[device]?.isEmpty == true { state.followers[device] = nil }
      } else {
        state.followersOfAll.remove(number)
      }
      return reader
    }
    reader?.signal.finish()
    reader?.ending.finish()
  }

  var now: Date { date() }

  /// Sleeps for as long as a reader has to take what waits for it when its stream ends.
  func sleepForGrace() async { try? await clock.sleep(for: .seconds(5)) }

  // MARK: Following the caller

  // The subscriptions are made before the first reader is answered, so that it misses nothing.
  private func follow(_ state: inout State) {
    state.generation += 1
    let generation = state.generation
    lost.store(0, ordering: .relaxed)
    let events = caller.events(onLoss: { [weak self] in self?.lost.add(1, ordering: .relaxed) })
    let changes = keys?.apiKeyChanges()
    state.task = Task { [weak self, clock, heartbeat] in
      await withDiscardingTaskGroup { group in
        group.addTask { [weak self] in
          while (try? await clock.sleep(for: heartbeat)) != nil { await self?.beat(generation) }
        }
        if let changes {
          group.addTask { [weak self] in for await _ in changes { await self?.checkKeys() } }
        }
        for await event in events { self?.publish(event, generation) }
        self?.callerEnded(generation)
        group.cancelAll()
      }
    }
  }

  /// Forgets everything. Whoever comes back for what it has missed is told that it cannot be had.
  private func unfollow(_ state: inout State) {
    state.task?.cancel()
    state.task = nil
    state.generation += 1
    state.buffer.clear()
  }

  private func publish(_ event: DeviceEvent, _ generation: Int) {
    let time = date()
    let lost = lost.exchange(0, ordering: .relaxed)
    state.withLock { state in
      guard state.generation == generation else { return }
      if lost > 0 {
        let gap = state.buffer.add { NumberedEvent(.lost(lost), number: $0, time: time) }
        for number in Array(state.readers.keys) { state.readers[number]?.change { $0.add(gap) } }
      }
      let event = state.buffer.add { NumberedEvent(.event(event), number: $0, time: time) }
      func add(to numbers: Set<Int>) {
        for number in numbers where event.isVisible(to: state.readers[number]?.sender) {
          state.readers[number]?.change { $0.add(event) }
        }
      }
      add(to: state.followersOfAll)
      if let device = event.device, let followers = state.followers[device] { add(to: followers) }
    }
  }

  private func callerEnded(_ generation: Int) {
    state.withLock { state in
      guard state.generation == generation else { return }
      for number in Array(state.readers.keys) { state.readers[number]?.end(.over) }
      unfollow(&state)
    }
  }

  private func beat(_ generation: Int) async {
    state.withLock { state in
      guard state.generation == generation else { return }
      guard state.readers.isEmpty else {
        for number in Array(state.readers.keys) { state.readers[number]?.change { $0.beat() } }
        return
      }
      state.idle += heartbeat
      if state.idle >= limits.eventTime { unfollow(&state) }
    }
    await checkKeys()
  }

  // MARK: Keys

  /// Ends the readers whose keys are no longer valid, and lets the others see what their keys may see by now.
  func checkKeys() async {
    guard let keys else { return }
    let ids = state.withLock { Set($0.readers.values.map(\.sender.key?.id)) }
    guard !ids.isEmpty else { return }
    var current: [String: APIKey] = [:]
    for case let id? in ids { current[id] = await keys.apiKey(id: id) }
    // Who has come without a key may stay only while there are none.
    let hasKeys = ids.contains(nil) ? await keys.hasKeys : false
    let now = date()
    state.withLock { state in
      for (number, reader) in state.readers {
        guard let old = reader.sender.key else {
          if hasKeys { state.readers[number]?.end(.denied) }
          continue
        }
        // One that came since is looked at by itself.
        guard ids.contains(old.id) else { continue }
        let key = current[old.id].flatMap { $0.matches(digest: old.digest) && !$0.isExpired(at: now) ? $0 : nil }
        guard let key, Sender(key: key).mayFollow(reader.device) else {
          state.readers[number]?.end(.denied)
          continue
        }
        state.readers[number]?.sender = Sender(key: key)
      }
    }
  }

  // MARK: What there is at the moment

  var readers: Int { state.withLock { $0.readers.count } }
  var isFollowing: Bool { state.withLock { $0.task != nil } }
  /// The number of readers that lose events.
  var dropping: Int { state.withLock { $0.readers.values.count { $0.queue.dropped > 0 } } }
  /// The number of the last event.
  var latest: Int { state.withLock { $0.buffer.latest } }
  func hasNews(_ reader: Int) -> Bool { state.withLock { $0.readers[reader]?.queue.hasNews ?? false } }
  func hasEnded(_ reader: Int) -> Bool { state.withLock { $0.readers[reader]?.queue.hasEnded ?? true } }
}

extension Sender {
  /// Whether it may follow the events of a device, or with nil of all that it may read.
  func mayFollow(_ device: String?) -> Bool { device.map(mayRead) ?? key?.permissions.allowsReading ?? true }
}

extension NumberedEvent {
  fileprivate func isVisible(to sender: Sender?) -> Bool {
    guard let sender else { return false }
    if isForAll { return true }
    if let device { return sender.mayRead(device) }
    // It may be about any device, so it is for those who may read all.
    return sender.key.map { $0.permissions.allowsReading && $0.permissions.devices == .all } ?? true
  }

  fileprivate func isVisible(to sender: Sender, following followed: String?) -> Bool {
    (followed == nil || isForAll || followed == device) && isVisible(to: sender)
  }
}
