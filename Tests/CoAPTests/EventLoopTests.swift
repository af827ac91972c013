import CoAP
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
