internal import CLibcoap
internal import Glibc
internal import Synchronization

/// One thread that waits for sockets and timers and runs the actors bound to it.
///
/// It is the serial executor of the actors whose state belongs to this thread. A caller whose task prefers its
/// `EventLoop.Tasks` (`withTaskExecutorPreference`) needs no switch between threads, which is the larger part of a call's
/// cost. libcoap is not thread-safe: its contexts are used only in `EventSource.ready` and in jobs of this executor.
///
/// The thread runs from `init` until `stop()`. Jobs that arrive later run on the thread that enqueues them, one at a time.
// Unchecked because the members outside `state` are touched by the loop's own thread only.
package final class EventLoop: SerialExecutor, @unchecked Sendable {
  /// Something that owns descriptors; called on the loop's thread.
  protocol EventSource: AnyObject {
    func ready(_ tag: UInt32)
  }

  private enum Work {
    case job(UnownedJob)
    case taskJob(UnownedJob, Tasks)
    case closure(@Sendable () -> Void)
  }

  private struct State {
    var work: [Work] = []
    var isAsleep = false
    var isStopping = false
    var hasStopped = false
    // The loop itself while a thread runs work that arrived after the end. Executors are not retained, and the last work may
    // release the last reference.
    var keeper: EventLoop?
    // The thread has ended.
    var hasEnded = false
    var running: pthread_t?
    var waiters: [CheckedContinuation<Void, Never>] = []
  }

  private let state = Mutex(State())
  private let epoll: Int32
  private let wakeUp: Int32
  private let name: String
  private let thread = Atomic<pthread_t>(0)

  // From here on: the loop's thread only.
  private var sources: [(source: any EventSource, tag: UInt32)?] = [nil]
  private var freeSources: [Int] = []
  private var localWork: [Work] = []
  private var endOfPass: [() -> Void] = []
  // The actions that are running now.
  private var ending: [() -> Void] = []
  private var timers: [LoopTimer] = []

  /// Starts the thread.
  ///
  /// - Throws: `CoAPSystemError` when the system has no descriptor or thread left.
  package init(name: String) throws(CoAPSystemError) {
    self.name = name
    epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard epoll >= 0 else { throw CoAPSystemError("epoll_create1") }
    wakeUp = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard wakeUp >= 0 else { throw CoAPSystemError("eventfd") }
    var event = epoll_event()
    event.events = EPOLLIN.rawValue
    event.data.u64 = 0
    epoll_ctl(epoll, EPOLL_CTL_ADD, wakeUp, &event)
    // The thread keeps the loop alive until it ends.
    let started = try startThread(name) { [self] in
      thread.store(pthread_self(), ordering: .relaxed)
      run()
    }
    state.withLock { $0.running = started }
  }

  // The descriptors are not closed earlier, because anyone who has a reference to the loop may wake it.
  deinit {
    close(wakeUp)
    close(epoll)
  }

  /// True on the loop's own thread.
  package var isCurrent: Bool { pthread_self() == thread.load(ordering: .relaxed) }

  /// Nanoseconds of the monotonic clock.
  package static var monotonic: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Nanoseconds of the monotonic clock at the beginning of this event loop pass, on the loop's thread. Reading the clock for
  /// each datagram and job of a pass would be too expensive.
  package private(set) var passTime = monotonic

  /// What the sockets of this loop have done, on the loop's thread.
  package var counts = LoopCounts()

  /// Called at the end of each pass with its length in nanoseconds: from when the loop woke up until it looks for events again.
  /// On the loop's thread; nil, which saves a look at the clock, when nobody wants to know.
  package var onPass: ((UInt64) -> Void)?

  /// Ends the thread after the jobs already queued, and returns when it has ended. May be called twice.
  ///
  /// Close everything that runs on the loop first: its sources are not notified.
  package func stop() async {
    await withCheckedContinuation { continuation in
      let (isOver, isFirst) = state.withLock { state in
        if state.hasEnded { return (true, false) }
        state.waiters.append(continuation)
        defer { state.isStopping = true }
        return (false, !state.isStopping)
      }
      if isOver { continuation.resume() }
      if isFirst { endWithThread() }
    }
  }

  /// Waits until the loop's thread has ended, because libraries clean up then: OpenSSL uses state that the end of the process
  /// removes. A separate thread waits, because the caller's may be the loop's.
  private func endWithThread() {
    let thread = state.withLock { $0.running }
    let join: @Sendable () -> Void = { [self] in
      if let thread, pthread_join(thread, nil) != 0 { pthread_detach(thread) }
      let waiters = state.withLock { state in
        state.hasEnded = true
        defer { state.waiters = [] }
        return state.waiters
      }
      for waiter in waiters { waiter.resume() }
    }
    wake()
    do throws(CoAPSystemError) {
      pthread_detach(try startThread("loop-end", join))
    } catch {
      // The system has no thread left.
      join()
    }
  }

  // MARK: Executor

  package func enqueue(_ job: consuming ExecutorJob) { add(.job(UnownedJob(job))) }

  /// The loop as the executor of tasks that are not isolated to an actor. It is not the serial executor, because a task that
  /// resumes on that one would be enqueued again to leave it.
  // The loop has no reference to it. Otherwise this reference would have to be weak, which doubles the cost of each use.
  package final class Tasks: TaskExecutor {
    private let loop: EventLoop

    package init(_ loop: EventLoop) { self.loop = loop }

    package func enqueue(_ job: consuming ExecutorJob) { loop.add(.taskJob(UnownedJob(job), self)) }
  }

  /// Runs `action` on the loop's thread, after what is queued already; it may be called from any thread.
  package func execute(_ action: @escaping @Sendable () -> Void) { add(.closure(action)) }

  private func add(_ work: Work) {
    if isCurrent {
      localWork.append(work)
      return
    }
    let (wasAsleep, isLate) = state.withLock { state in
      state.work.append(work)
      if state.hasStopped {
        defer { state.keeper = self }
        return (false, state.keeper == nil)
      }
      defer { state.isAsleep = false }
      return (state.isAsleep, false)
    }
    if wasAsleep { wake() }
    // An actor that outlives its loop must still be able to finish its tasks. Its I/O has been closed by then.
    if isLate { drain() }
  }

  /// Runs the work that arrived after the end, as if on the loop. One thread at a time does this, also for the others.
  private func drain() {
    thread.store(pthread_self(), ordering: .relaxed)
    var keeper: EventLoop?
    while keeper == nil {
      let work = state.withLock { state in
        defer { state.work = [] }
        if state.work.isEmpty {
          swap(&keeper, &state.keeper)
          thread.store(0, ordering: .relaxed)
        }
        return state.work
      }
      if keeper == nil { runToTheEnd(work) }
    }
    // The loop may be released here, so nothing of it may be used any more.
    _ = consume keeper
  }

  package func asUnownedSerialExecutor() -> UnownedSerialExecutor {
    UnownedSerialExecutor(ordinary: self)
  }

  package func checkIsolated() {
    precondition(isCurrent, "not on the event loop's thread")
  }

  package func isIsolatingCurrentContext() -> Bool? { isCurrent }

  private func run(_ work: Work) {
    switch work {
    case .job(let job): job.runSynchronously(on: asUnownedSerialExecutor())
    case .taskJob(let job, let tasks): job.runSynchronously(on: tasks.asUnownedTaskExecutor())
    case .closure(let action): action()
    }
  }

  private func run(_ batch: inout [Work]) {
    for work in batch { run(work) }
    clear(&batch)
  }

  // Keeps the capacity that a pass usually needs.
  private func clear<Element>(_ queue: inout [Element]) {
    if queue.capacity > 4_096 { queue = [] } else { queue.removeAll(keepingCapacity: true) }
  }

  private func runToTheEnd(_ work: [Work]) {
    localWork += work
    while !localWork.isEmpty || !endOfPass.isEmpty {
      let batch = localWork
      localWork = []
      for work in batch { run(work) }
      finishPass()
    }
    // They are not called any more, and may hold references to the loop.
    timers = []
    sources = []
    onPass = nil
  }

  private func wake() {
    var one: UInt64 = 1
    write(wakeUp, &one, 8)
  }

  // MARK: Sources, timers and the end of a pass (loop's thread only)

  /// Calls `source.ready(tag)` whenever `descriptor` is readable. Returns the number to pass to `remove`.
  func add(_ source: any EventSource, descriptor: Int32, tag: UInt32) throws(CoAPSystemError) -> Int {
    let index = freeSources.popLast() ?? sources.count
    var event = epoll_event()
    event.events = EPOLLIN.rawValue
    event.data.u64 = UInt64(index)
    guard epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0 else {
      let error = CoAPSystemError("epoll_ctl")
      if index < sources.count { freeSources.append(index) }
      throw error
    }
    if index == sources.count { sources.append((source, tag)) } else { sources[index] = (source, tag) }
    return index
  }

  func remove(_ index: Int, descriptor: Int32) {
    epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, nil)
    sources[index] = nil
    freeSources.append(index)
  }

  /// Runs `action` at the end of this event loop pass, after its datagrams, when libcoap has processed what was read.
  package func atEndOfPass(_ action: @escaping () -> Void) { endOfPass.append(action) }

  /// A timer that calls `action` on the loop's thread; it is kept until `LoopTimer.cancel()`.
  package func makeTimer(_ action: @escaping () -> Void) -> LoopTimer {
    let timer = LoopTimer(loop: self, action: action)
    timers.append(timer)
    return timer
  }

  fileprivate func forget(_ timer: LoopTimer) { timers.removeAll { $0 === timer } }

  // MARK: The thread

  private func run() {
    var events = [epoll_event](repeating: epoll_event(), count: 128)
    // Empty between two passes. It is swapped with the queues, so that they keep their capacity.
    var batch: [Work] = []
    while true {
      state.withLock { swap(&batch, &$0.work) }
      run(&batch)
      // Limited, because a task that yields is enqueued again at once, and must not delay the other tasks and the sockets.
      for _ in 0..<64 where !localWork.isEmpty {
        swap(&batch, &localWork)
        run(&batch)
      }
      finishPass()
      fireTimers()

      let timeout = timeToSleep()
      let (mayEnd, sleep) = state.withLock { state in
        let isIdle = state.work.isEmpty && localWork.isEmpty && endOfPass.isEmpty
        if state.isStopping && isIdle { return (true, Int32(0)) }
        state.isAsleep = isIdle && timeout != 0
        return (false, isIdle ? timeout : 0)
      }
      if mayEnd { break }
      if let onPass { onPass(Self.monotonic &- passTime) }
      let count = epoll_wait(epoll, &events, Int32(events.count), sleep)
      passTime = Self.monotonic
      if sleep != 0 { state.withLock { $0.isAsleep = false } }
      guard count > 0 else { continue }
      for event in events[0..<Int(count)] {
        let index = Int(truncatingIfNeeded: event.data.u64)
        if index == 0 {
          var value: UInt64 = 0
          read(wakeUp, &value, 8)
        } else if index < sources.count, let (source, tag) = sources[index] {
          source.ready(tag)
        }
      }
      finishPass()
    }
    end()
  }

  private func finishPass() {
    while !endOfPass.isEmpty {
      swap(&endOfPass, &ending)
      for action in ending { action() }
      clear(&ending)
    }
  }

  private func fireTimers() {
    guard timers.contains(where: { $0.deadline != .max }) else { return }
    for timer in timers where timer.deadline <= passTime {
      timer.deadline = .max
      timer.action()
    }
  }

  // Milliseconds until the next timer, rounded up; -1 for none.
  private func timeToSleep() -> Int32 {
    guard let next = timers.lazy.map(\.deadline).min(), next != .max else { return -1 }
    guard next > passTime else { return 0 }
    return Int32(clamping: (next - passTime + 999_999) / 1_000_000)
  }

  private func end() {
    state.withLock { ($0.hasStopped, $0.keeper) = (true, self) }
    runToTheEnd([])
    drain()
  }
}

/// A timer of a loop, created by `EventLoop.makeTimer`. Use it on the loop's thread only.
package final class LoopTimer {
  private let loop: EventLoop
  fileprivate let action: () -> Void
  fileprivate var deadline: UInt64 = .max

  fileprivate init(loop: EventLoop, action: @escaping () -> Void) {
    self.loop = loop
    self.action = action
  }

  /// Fires once at `deadline`, in nanoseconds of `EventLoop.monotonic`. A later call replaces an earlier one.
  package func arm(at deadline: UInt64) { self.deadline = deadline }
  package func disarm() { deadline = .max }
  package func cancel() {
    deadline = .max
    loop.forget(self)
  }
}

/// A call to the operating system that failed.
package struct CoAPSystemError: Error, Sendable, CustomStringConvertible {
  package let call: String
  package let code: Int32
  package let detail: String

  init(_ call: String, code: Int32 = Glibc.errno, detail: String = "") {
    self.call = call
    self.code = code
    self.detail = detail
  }

  package var isAddressInUse: Bool { code == EADDRINUSE }
  package var isOutOfDescriptors: Bool { code == EMFILE }

  package var description: String {
    let hint = isOutOfDescriptors ? " (raise the limit, ulimit -n)" : ""
    let text = code == 0 ? "" : ": " + String(cString: strerror(code)) + hint
    return detail.isEmpty ? "\(call)\(text)" : "\(detail)\(text)"
  }
}
