internal import DeviceRPC
internal import Synchronization

/// A device that asks for its calls over HTTP. Each request, which waits for a while, is answered with one call.
///
/// The device is connected for as long as it keeps asking: between two requests its calls wait, and when it does not ask any more
/// the loop finds it silent, as it finds a device that does not answer pings.
final class PolledLink: DeviceLink {
  /// What a device gets that has asked.
  enum Answer: Sendable, Equatable {
    case call([UInt8])
    /// There was none in time, or another request has taken the place of this one.
    case none
    /// The server has ended the connection, for this reason.
    case ended(String)
  }

  private struct State {
    var address: String
    var lastHeard: Duration
    // Who has asked, and waits.
    var waiting: (number: UInt64, continuation: CheckedContinuation<Answer, Never>)?
    var lastNumber: UInt64 = 0
    // The last one whose time was over, perhaps before it waited.
    var lastLeft: UInt64 = 0
    var isAwaited = false
    var isOver = false
  }

  let device: String
  let home: DeviceLoop
  let credential: DeviceCredential?
  /// Where it was when it connected, without the port.
  let host: String
  private let limit: Int
  private let onEnd: @Sendable (PolledLink) -> Void
  private let state: Mutex<State>
  // Unchecked, because it is used by the home loop only.
  nonisolated(unsafe) var record: DeviceRecord?

  /// - Parameters:
  ///   - limit: the longest call, in bytes.
  ///   - onEnd: called once, when it has ended.
  init(
    device: String, home: DeviceLoop, credential: DeviceCredential?, address: String, host: String, limit: Int,
    onEnd: @escaping @Sendable (PolledLink) -> Void
  ) {
    self.device = device
    self.home = home
    self.credential = credential
    self.host = host
    self.limit = limit
    self.onEnd = onEnd
    state = Mutex(State(address: address, lastHeard: home.driver.now))
  }

  // MARK: The device

  /// Waits for a call. Ends at once for an earlier request that still waits.
  func next(from address: String, waiting time: Duration, _ clock: any Clock<Duration>) async -> Answer {
    heard(from: address)
    let number = state.withLock { state in
      state.lastNumber += 1
      return state.lastNumber
    }
    return await withTaskGroup(of: Void.self) { group in
      group.addTask {
        if (try? await clock.sleep(for: time)) != nil { self.leave(number) }
      }
      defer { group.cancelAll() }
      return await withTaskCancellationHandler {
        await withCheckedContinuation { continuation in
          guard let earlier = enter(number, continuation) else { return continuation.resume(returning: .none) }
          earlier?.resume(returning: .none)
          if Task.isCancelled { return leave(number) }
          home.run { $0.ready(self) }
        }
      } onCancel: {
        self.leave(number)
      }
    }
  }

  // Returns who has waited before; nil if the link is over, or a later request has come first.
  private func enter(
    _ number: UInt64, _ continuation: CheckedContinuation<Answer, Never>
  ) -> CheckedContinuation<Answer, Never>?? {
    state.withLock { state in
      guard !state.isOver, number == state.lastNumber, number > state.lastLeft else { return .none }
      let earlier = state.waiting?.continuation
      state.waiting = (number, continuation)
      return .some(earlier)
    }
  }

  /// The device waits no longer: its time is over, or it has gone.
  func leave(_ number: UInt64) {
    let left = state.withLock { state in
      state.lastLeft = max(state.lastLeft, number)
      guard state.waiting?.number == number else { return nil as CheckedContinuation<Answer, Never>? }
      defer { state.waiting = nil }
      return state.waiting?.continuation
    }
    left?.resume(returning: .none)
  }

  /// A request of the device has arrived.
  func heard(from address: String) {
    let isAwaited = state.withLock { state in
      state.address = address
      state.lastHeard = home.driver.now
      defer { state.isAwaited = false }
      return state.isAwaited
    }
    if isAwaited { home.noteHeard(on: self) }
  }

  var isOver: Bool { state.withLock(\.isOver) }

  private func end(with answer: Answer) {
    let (waiting, isFirst) = state.withLock { state in
      defer {
        state.isOver = true
        state.waiting = nil
      }
      return (state.waiting?.continuation, !state.isOver)
    }
    waiting?.resume(returning: answer)
    if isFirst { onEnd(self) }
  }

  /// The device is no longer trusted, for this reason.
  func revoke(_ reason: String) {
    home.run { $0.unobserved(self, reason: reason, isRevoked: true) }
    end(with: .ended(reason))
  }

  // MARK: DeviceLink

  var address: String { state.withLock(\.address) }
  var dialect: String { "ThingsBoard, HTTP" }
  var lastHeard: Duration { state.withLock(\.lastHeard) }
  var window: Int { 1 }
  var acknowledgement: Acknowledgement { .none }
  var takesCalls: Bool { state.withLock { $0.waiting != nil } }

  func encode(_ call: Call, id: String) throws(CallError) -> [UInt8] {
    try ThingsBoardMessage.encode(call, id: id, limit: limit)
  }

  func transmit(_ payload: [UInt8], serial: UInt32) {
    let waiting = state.withLock { state in
      defer { state.waiting = nil }
      return state.waiting?.continuation
    }
    // Deferred, since the home loop is just sending calls.
    guard let waiting else {
      return home.driver.execute {
        self.home.assumeIsolated { $0.failed(serial, on: self, .notSent("the device has just stopped asking for calls")) }
      }
    }
    waiting.resume(returning: .call(payload))
    home.driver.execute { self.home.assumeIsolated { $0.left(serial, on: self) } }
  }

  func tellWhenHeard() { state.withLock { $0.isAwaited = true } }

  /// A device that waits for a call is there, as far as its connection tells.
  func probe() {
    let isThere = takesCalls
    home.driver.execute { self.home.noteProbeEnded(isAnswered: isThere, on: self) }
  }

  func end(_ reason: String) { end(with: .ended(reason)) }

  func replaced(by newer: any DeviceLink) { end(with: .none) }
}
