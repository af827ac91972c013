import CoAP
import Glibc
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1))) struct EventLoopTests {
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
    let loop = try EventLoop(name: "test")
    let witness = Witness()
    await loop.perform {
      var key = pthread_key_t()
      pthread_key_create(&key) { argument in
        // As long as nobody can overlook it who does not wait.
        usleep(20_000)
        argument.map { Unmanaged<Witness>.fromOpaque($0).takeRetainedValue() }?.count.add(1, ordering: .relaxed)
      }
      pthread_setspecific(key, Unmanaged.passRetained(witness).toOpaque())
    }
    await loop.stop()
    #expect(witness.count.load(ordering: .relaxed) == 1)
  }

  @Test func `a task on the loop itself may end it`() async throws {
    let loop = try EventLoop(name: "test")
    await withTaskGroup { group in
      group.addTask(executorPreference: EventLoop.Tasks(loop)) {
        await loop.stop()
        await loop.stop()
      }
    }
    #expect(!loop.isCurrent)
  }

  private final class Witness: Sendable {
    let count = Atomic(0)
  }

  private actor Guest {
    private let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    var count = 0
    init(_ loop: EventLoop) { self.loop = loop }
  }
}
