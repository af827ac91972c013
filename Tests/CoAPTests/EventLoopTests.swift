import CoAP
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

  private actor Guest {
    private let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    var count = 0
    init(_ loop: EventLoop) { self.loop = loop }
  }
}
