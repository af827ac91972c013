internal import Synchronization

/// Broadcasts elements to subscribers. Each has its own buffer; when it is full, the oldest element is dropped.
package final class Hub<Element: Sendable>: Sendable {
  private struct Subscriber {
    let continuation: AsyncStream<Element>.Continuation
    let onDrop: (@Sendable () -> Void)?
  }

  private struct State {
    var next = 0
    var isFinished = false
    var subscribers: [Int: Subscriber] = [:]
  }

  private let state = Mutex(State())
  private let hasSubscribers = Atomic(false)
  private let buffered: Int

  package init(buffered: Int) { self.buffered = buffered }

  /// Returns a stream that ends with its reader's task, or with `finish()`.
  ///
  /// - Parameter onDrop: called for each element that is dropped from this stream.
  package func subscribe(onDrop: (@Sendable () -> Void)? = nil) -> AsyncStream<Element> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: Element.self, bufferingPolicy: .bufferingNewest(buffered))
    let number: Int? = state.withLock { state in
      guard !state.isFinished else { return nil }
      state.next += 1
      state.subscribers[state.next] = Subscriber(continuation: continuation, onDrop: onDrop)
      hasSubscribers.store(true, ordering: .relaxed)
      return state.next
    }
    guard let number else {
      continuation.finish()
      return stream
    }
    continuation.onTermination = { [weak self] _ in self?.unsubscribe(number) }
    return stream
  }

  private func unsubscribe(_ number: Int) {
    state.withLock { state in
      state.subscribers[number] = nil
      hasSubscribers.store(!state.subscribers.isEmpty, ordering: .relaxed)
    }
  }

  // `element` is evaluated only if there is a subscriber, since this runs several times for each call.
  package func send(_ element: @autoclosure () -> Element) {
    guard hasSubscribers.load(ordering: .relaxed) else { return }
    let element = element()
    for subscriber in state.withLock({ Array($0.subscribers.values) }) {
      if case .dropped = subscriber.continuation.yield(element) { subscriber.onDrop?() }
    }
  }

  /// Ends all streams, including those of later subscribers.
  package func finish() {
    let subscribers = state.withLock { state in
      state.isFinished = true
      return Array(state.subscribers.values)
    }
    for subscriber in subscribers { subscriber.continuation.finish() }
  }
}
