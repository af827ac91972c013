// Events: what happens to devices and calls, as Server-Sent Events: one feed for all readers, and a queue for each.
// It uses Access and Messages; of Routes only what a route is made of.

internal import DequeModule

/// The last events, for readers that come back: bounded in number and in bytes. The oldest makes room.
struct EventBuffer {
  private let limit: Int
  private let byteLimit: Int
  // With numbers that follow each other.
  private var events: Deque<NumberedEvent> = []
  private(set) var bytes = 0
  /// The number of the last event; 0 before the first.
  private(set) var latest = 0

  init(limit: Int, byteLimit: Int) {
    self.limit = limit
    self.byteLimit = byteLimit
  }

  var count: Int { events.count }

  /// Adds the event that `make` returns for its number.
  mutating func add(_ make: (_ number: Int) -> NumberedEvent) -> NumberedEvent {
    latest += 1
    let event = make(latest)
    events.append(event)
    bytes += event.bytes
    while events.count > limit || bytes > byteLimit, let oldest = events.popFirst() { bytes -= oldest.bytes }
    return event
  }

  /// The events behind the one of this number. Nil when one of them is no longer there, or when no event had the number yet.
  func events(after number: Int) -> [NumberedEvent]? {
    let first = events.first?.number ?? latest + 1
    guard number + 1 >= first, number <= latest else { return nil }
    return Array(events[(number + 1 - first)...])
  }

  /// Forgets all events. Those that happen from now on until the next one is added are missed, so a number is left out.
  mutating func clear() {
    events = []
    bytes = 0
    latest += 1
  }
}
