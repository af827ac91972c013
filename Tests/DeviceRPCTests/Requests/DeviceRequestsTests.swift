import DeviceRPC
import Synchronization
import Testing

@testable import DeviceRPC

/// The functions that devices call: their bounds, deadlines and ends. Time passes when the test says so.
@Suite(.timeLimit(.minutes(1))) struct DeviceRequestsTests {
  private func requests(_ clock: TestClock = TestClock(), _ change: (inout Limits) -> Void = { _ in }) -> DeviceRequests {
    var limits = Limits()
    limits.deviceRequests = 3
    limits.deviceRequestsPerDevice = 2
    change(&limits)
    return DeviceRequests(limits: limits, clock: clock, log: silentLog)
  }

  @Test func `each function answers the calls of its name`() async {
    let requests = requests()
    requests.set("a") { ["a": $0.params] }
    requests.set("b") { .string($0.device) }
    #expect(await requests.answer(DeviceRequest(device: "d", method: "a", params: 1)) == .success(["a": 1]))
    #expect(await requests.answer(DeviceRequest(device: "d", method: "b")) == .success("d"))
    requests.set("b", nil)
    #expect(await requests.answer(DeviceRequest(device: "d", method: "b")) == .failure(.unknownMethod("b")))
  }

  @Test func `no more run at once than may, of one device and of all`() async {
    let requests = requests()
    let gate = Gate()
    requests.set("wait") { _ in
      await gate.wait()
      return 1
    }
    let ask = { @Sendable (device: String) in await requests.answer(DeviceRequest(device: device, method: "wait")) }
    var running: [Task<DeviceRequests.Outcome, Never>] = []
    for (number, device) in ["a", "a", "b"].enumerated() {
      running.append(Task { await ask(device) })
      await gate.waiters(number + 1)
      if number == 1 { #expect(await ask("a") == .failure(.tooMany(limit: 2))) }
    }
    #expect(await ask("c") == .failure(.tooMany(limit: 3)))
    gate.open()
    for task in running { #expect(await task.value == .success(1)) }
    #expect(await ask("a") == .success(1))
  }

  @Test func `at its deadline the device is told, and the function cancelled; until it ends it counts`() async {
    let clock = TestClock()
    let requests = requests(clock) { $0.deviceRequestsPerDevice = 1 }
    let gate = Gate()
    let wasCancelled = Mutex(false)
    requests.set("slow") { _ in
      await gate.wait()
      wasCancelled.withLock { $0 = Task.isCancelled }
      return 1
    }
    let answer = Task { await requests.answer(DeviceRequest(device: "d", method: "slow")) }
    await gate.waiters(1)
    await clock.sleepers(1)
    clock.advance(by: .seconds(10))
    #expect(await answer.value == .failure(.deadlineExceeded(.seconds(10))))
    #expect(await requests.answer(DeviceRequest(device: "d", method: "slow")) == .failure(.tooMany(limit: 1)))
    gate.open()
    while case .failure = await requests.answer(DeviceRequest(device: "d", method: "slow")) { await Task.yield() }
    #expect(wasCancelled.withLock { $0 } == false, "the last one was not cancelled")
  }

  @Test func `at the end functions are cancelled, and no more begin`() async {
    let requests = requests()
    let begun = AsyncStream<Void>.makeStream()
    requests.set("sleep") { _ in
      begun.continuation.yield()
      try await ContinuousClock().sleep(for: .seconds(3_600))
      return 1
    }
    let answer = Task { await requests.answer(DeviceRequest(device: "d", method: "sleep")) }
    for await _ in begun.stream { break }
    requests.close()
    #expect(await answer.value == .failure(.shuttingDown))
    #expect(await requests.answer(DeviceRequest(device: "d", method: "sleep")) == .failure(.shuttingDown))
  }
}

/// Lets tasks through when it is opened.
private final class Gate: Sendable {
  private let state = Mutex((isOpen: false, waiting: [CheckedContinuation<Void, Never>]()))

  func wait() async {
    await withCheckedContinuation { continuation in
      let isOpen = state.withLock { state in
        if !state.isOpen { state.waiting.append(continuation) }
        return state.isOpen
      }
      if isOpen { continuation.resume() }
    }
  }

  func waiters(_ count: Int) async { while state.withLock({ $0.waiting.count }) < count { await Task.yield() } }

  func open() {
    let waiting = state.withLock { state in
      state.isOpen = true
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }
}

/// A clock whose time passes when the test says so.
private final class TestClock: Clock, Sendable {
  struct Instant: InstantProtocol {
    var time: Duration
    func advanced(by duration: Duration) -> Instant { Instant(time: time + duration) }
    func duration(to other: Instant) -> Duration { other.time - time }
    static func < (left: Instant, right: Instant) -> Bool { left.time < right.time }
  }

  private struct State {
    var now = Instant(time: .zero)
    var sleepers: [Int: (deadline: Instant, continuation: CheckedContinuation<Void, any Error>)] = [:]
    var last = 0
  }

  private let state = Mutex(State())
  var now: Instant { state.withLock(\.now) }
  var minimumResolution: Duration { .zero }

  func sleep(until deadline: Instant, tolerance: Duration?) async throws {
    let number = state.withLock { state in
      state.last += 1
      return state.last
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        state.withLock { $0.sleepers[number] = (deadline, continuation) }
        if Task.isCancelled { wake { $0 == number }(CancellationError()) }
      }
    } onCancel: {
      wake { $0 == number }(CancellationError())
    }
  }

  private func wake(_ isMeant: (Int) -> Bool) -> ((any Error)?) -> Void {
    let woken = state.withLock { state in
      let woken = state.sleepers.filter { isMeant($0.key) }
      for number in woken.keys { state.sleepers[number] = nil }
      return woken.values.map(\.continuation)
    }
    return { error in for continuation in woken { if let error { continuation.resume(throwing: error) } else { continuation.resume() } } }
  }

  func sleepers(_ count: Int) async { while state.withLock({ $0.sleepers.count }) < count { await Task.yield() } }

  func advance(by duration: Duration) {
    let due = state.withLock { state in
      state.now = state.now.advanced(by: duration)
      return Set(state.sleepers.filter { $0.value.deadline <= state.now }.keys)
    }
    wake { due.contains($0) }(nil)
  }
}
