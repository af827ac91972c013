/// What waits for one reader: bounded in number and in bytes.
///
/// What does not fit is dropped, and so is everything behind it until the reader has taken the rest: so there is one gap, and it is
/// where the events are missing.
struct EventQueue {
  /// Why a reader does not get the events behind the one that it names.
  enum Miss: String, Sendable {
    /// They are no longer remembered.
    case forgotten
    /// No event of this process has the id.
    case unknownID = "unknown-id"
  }

  /// Why a reader gets no more.
  enum Ending: Sendable {
    /// There are no more events: the server shuts down, or the reader has gone.
    case over
    /// Its API key is no longer valid.
    case denied
  }

  /// What a reader takes at once, in this order.
  struct Batch {
    var miss: Miss?
    var events: [NumberedEvent] = []
    /// The number of events that were dropped behind these.
    var dropped = 0
    var isHeartbeat = false
    /// The number of the last event that the reader has, or was not meant to have; nil if some are missing.
    var position: Int?
    var ending: Ending?
  }

  private let limit: Int
  private let byteLimit: Int
  // Of the events that have come since the reader took the last ones.
  private var count = 0
  private var bytes = 0
  private var batch = Batch()

  /// - Parameters:
  ///   - backlog: the events that the reader has missed while it was away. They do not count, since the buffer that they come from
  ///     is bounded.
  init(limit: Int, byteLimit: Int, backlog: [NumberedEvent] = [], miss: Miss? = nil) {
    self.limit = limit
    self.byteLimit = byteLimit
    batch.events = backlog
    batch.miss = miss
    // A reader gets something at once: it knows then that it is connected, and where to resume.
    batch.isHeartbeat = true
  }

  /// Whether there is something to take.
  var hasNews: Bool {
    batch.isHeartbeat || !batch.events.isEmpty || batch.dropped > 0 || batch.ending != nil
  }

  var hasEnded: Bool { batch.ending != nil }
  /// The number of events that were dropped since the reader took the last ones.
  var dropped: Int { batch.dropped }

  mutating func add(_ event: NumberedEvent) {
    guard batch.ending == nil else { return }
    // One event always fits, however large it is.
    guard batch.dropped == 0, count < max(1, limit), count == 0 || bytes + event.bytes <= byteLimit else {
      batch.dropped += 1
      return
    }
    batch.events.append(event)
    count += 1
    bytes += event.bytes
  }

  mutating func beat() { batch.isHeartbeat = true }

  mutating func end(_ ending: Ending) {
    guard batch.ending == nil else { return }
    // What waited was for a key that was valid.
    if ending == .denied { batch = Batch() }
    batch.ending = ending
  }

  /// - Parameter latest: the number of the last event of all.
  mutating func take(latest: Int) -> Batch {
    var taken = batch
    taken.position = taken.dropped == 0 && taken.ending != .denied ? latest : nil
    batch = Batch()
    batch.ending = taken.ending
    count = 0
    bytes = 0
    return taken
  }
}
