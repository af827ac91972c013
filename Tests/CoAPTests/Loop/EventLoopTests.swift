import CoAP
import Glibc
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1))) struct EventLoopTests {
  @Test func `a write to a peer that has gone is an error on the loop's thread, and ends no process`() async throws {
    let loop = try EventLoop(name: "test")
    // Looked at first, since the tests would end with it otherwise.
    let isBlocked = await withCheckedContinuation { continuation in
      loop.execute {
        var signals = sigset_t()
        pthread_sigmask(SIG_BLOCK, nil, &signals)
        continuation.resume(returning: sigismember(&signals, SIGPIPE) == 1)
      }
    }
    #expect(isBlocked)
    if isBlocked {
      let code = await withCheckedContinuation { continuation in
        loop.execute {
          var ends: [Int32] = [0, 0]
          pipe(&ends)
          close(ends[0])
          let count = write(ends[1], "x", 1)
          continuation.resume(returning: count < 0 ? errno : 0)
          close(ends[1])
        }
      }
      #expect(code == EPIPE)
    }
    await loop.stop()
  }

  @Test func `what comes after the end of a loop runs as if on it, one at a time`() async throws {
    let loop = try EventLoop(name: "test")
    let guest = Guest(loop)
    await loop.stop()
    await withTaskGroup { group in
      for _ in 0..<100 {
        group.addTask {
          await withCheckedContinuation { continuation in
            loop.execute {
              // Both of them: a check of isolation, and work that leads to more.
              guest.assumeIsolated { $0.count += 1 }
              loop.execute {
                guest.assumeIsolated { $0.count += 1 }
                continuation.resume()
              }
            }
          }
        }
      }
    }
    #expect(await guest.count == 200)
    #expect(!loop.isCurrent)
  }

  @Test func `what comes after the end and leads to more is done to its end, and nothing of it is kept`() async throws {
    weak var kept: Witness?
    do {
      let loop = try EventLoop(name: "test")
      await loop.stop()
      let witness = Witness()
      kept = witness
      loop.execute {
        loop.atEndOfPass {
          witness.count.add(1, ordering: .relaxed)
          loop.execute { loop.atEndOfPass { witness.count.add(1, ordering: .relaxed) } }
        }
        // Nobody is there to whom it could come.
        loop.makeTimer { _ = (loop, witness) }.arm(at: 0)
      }
      #expect(witness.count.load(ordering: .relaxed) == 2)
    }
    #expect(kept == nil)
  }

  @Test func `a loop has ended when its thread has, with all that libraries do at the end of a thread`() async throws {
    let witness = Witness()
    let loops = try (0..<2).map { try EventLoop(name: "test-\($0)") }
    for loop in loops { await atEndOfThread(of: loop, witness) }
    // Also for a task on one of them, and for each of several that wait.
    await withTaskExecutorPreference(EventLoop.Tasks(loops[0])) {
      for loop in loops { await loop.stop() }
    }
    #expect(witness.count.load(ordering: .relaxed) == 2)

    let loop = try EventLoop(name: "test")
    await atEndOfThread(of: loop, witness)
    await withTaskGroup { group in
      for _ in 0..<4 {
        group.addTask {
          await loop.stop()
          #expect(witness.count.load(ordering: .relaxed) == 3)
        }
      }
    }
  }

  private func atEndOfThread(of loop: EventLoop, _ witness: Witness) async {
    await loop.perform {
      var key = pthread_key_t()
      pthread_key_create(&key) { argument in
        // As long as nobody can overlook it who does not wait.
        usleep(20_000)
        argument.map { Unmanaged<Witness>.fromOpaque($0).takeRetainedValue() }?.count.add(1, ordering: .relaxed)
      }
      pthread_setspecific(key, Unmanaged.passRetained(witness).toOpaque())
    }
  }

  @Test func `a loop outlives the last work that came late`() async throws {
    for _ in 0..<500 {
      var loop = Optional(try EventLoop(name: "test"))
      await loop?.stop()
      var guest = loop.map(Guest.init)
      loop = nil
      let task = Task { [guest] in await guest?.countUp() }
      guest = nil
      await task.value
      // Takes the place of the other in memory.
      let next = try EventLoop(name: "next")
      await next.perform { #expect(next.isCurrent) }
      await next.stop()
    }
  }

  @Test func `any number of tasks, on the loop and elsewhere, may end it at once`() async throws {
    for _ in 0..<200 {
      let loop = try EventLoop(name: "test")
      let tasks = EventLoop.Tasks(loop)
      await withTaskGroup { group in
        for number in 0..<16 {
          group.addTask(executorPreference: number % 2 == 0 ? tasks : nil) { await loop.stop() }
        }
      }
      #expect(!loop.isCurrent)
    }
  }

  @Test func `two loops that have ended may give work to each other`() async throws {
    let loops = try (0..<2).map { try EventLoop(name: "test-\($0)") }
    for loop in loops { await loop.stop() }
    let witness = Witness()
    await withTaskGroup { group in
      for number in 0..<2 {
        group.addTask {
          for _ in 0..<20_000 {
            loops[number].execute { loops[1 - number].execute { witness.count.add(1, ordering: .relaxed) } }
          }
        }
      }
    }
    #expect(witness.count.load(ordering: .relaxed) == 40_000)
  }

  @Test func `a task that yields again and again leaves the loop to others`() async throws {
    let loop = try EventLoop(name: "test")
    let witness = Witness()
    async let yielding: Void = withTaskExecutorPreference(EventLoop.Tasks(loop)) {
      while witness.count.load(ordering: .relaxed) == 0 { await Task.yield() }
    }
    loop.execute { witness.count.add(1, ordering: .relaxed) }
    await yielding
    await loop.stop()
  }

  @Test func `a timer that another one cancels does not fire`() async throws {
    let loop = try EventLoop(name: "test")
    let witness = Witness()
    await loop.perform {
      var second: LoopTimer?
      let first = loop.makeTimer { second?.cancel() }
      second = loop.makeTimer { witness.count.add(1, ordering: .relaxed) }
      for timer in [first, second] { timer?.arm(at: 0) }
    }
    // Behind the pass in which they are due.
    for _ in 0..<2 { await loop.perform {} }
    await loop.stop()
    #expect(witness.count.load(ordering: .relaxed) == 0)
  }

  private final class Witness: Sendable {
    let count = Atomic(0)
  }

  private actor Guest {
    private let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    var count = 0
    init(_ loop: EventLoop) { self.loop = loop }
    func countUp() { count += 1 }
  }
}
