internal import DequeModule
internal import Synchronization

/// Cancels what takes longer than it may. One timer for all: one for each would cost as much as the rest of a short request.
final class Deadline: Sendable {
  private struct State {
    var last: UInt64 = 0
    // Those under way, by their numbers.
    var tasks: [UInt64: Task<[UInt8], any Error>] = [:]
    // In the order of their deadlines, which is that of their beginnings. Some may have ended.
    var order: Deque<(number: UInt64, deadline: ContinuousClock.Instant)> = []
    var isWatched = false
    var isOver = false
  }

  private let time: Duration
  private let state = Mutex(State())

  init(_ time: Duration) { self.time = time }

  /// Whether nothing is waited for any longer.
  var isOver: Bool { state.withLock(\.isOver) }

  /// Cancels what is under way, and what comes: the server is shutting down, and does not wait for the rest of a request.
  func end() {
    let tasks = state.withLock { state in
      state.isOver = true
      return state.tasks.values
    }
    for task in tasks { task.cancel() }
  }

  /// What `body` returns; nil when it had to be cancelled.
  func run(_ body: @escaping @Sendable () async throws -> [UInt8]) async throws -> [UInt8]? {
    // It runs at once: a body that has arrived already is read without waiting for anything.
    let task = Task.immediate(operation: body)
    let number = add(task)
    let result = await withTaskCancellationHandler { await task.result } onCancel: { task.cancel() }
    guard remove(number) else { return nil }
    // One that had arrived before the end is taken.
    if isOver, case .failure = result { return nil }
    return try result.get()
  }

  private func add(_ task: Task<[UInt8], any Error>) -> UInt64 {
    let (number, isWatched, isOver) = state.withLock { state in
      state.last += 1
      state.tasks[state.last] = task
      state.order.append((state.last, .now + time))
      defer { state.isWatched = true }
      return (state.last, state.isWatched, state.isOver)
    }
    if isOver { task.cancel() }
    if !isWatched { Task { await watch() } }
    return number
  }

  /// False when it was cancelled before.
  private func remove(_ number: UInt64) -> Bool {
    state.withLock { state in
      let wasThere = state.tasks.removeValue(forKey: number) != nil
      while let first = state.order.first, state.tasks[first.number] == nil { state.order.removeFirst() }
      return wasThere
    }
  }

  private func watch() async {
    while true {
      // Those that begin while nothing is under way have the whole time.
      let next = state.withLock { $0.order.first?.deadline ?? .now + time }
      try? await Task.sleep(until: next, clock: .continuous)
      let (late, isOver) = state.withLock { state in
        var late: [Task<[UInt8], any Error>] = []
        while let first = state.order.first, first.deadline <= .now {
          state.order.removeFirst()
          if let task = state.tasks.removeValue(forKey: first.number) { late.append(task) }
        }
        if state.order.isEmpty { state.isWatched = false }
        return (late, state.order.isEmpty)
      }
      for task in late { task.cancel() }
      if isOver { return }
    }
  }
}
