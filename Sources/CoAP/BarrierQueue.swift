/// Asks for proof of what was sent over DTLS and has found no answer within a second, or earlier where somebody waits.
///
/// libcoap does not tell of acknowledgements, only when there is none left that it waits for, in a whole context. But a
/// ping waits behind the messages before it (NSTART 1), so that its answer says that all of them were acknowledged, at the
/// price of two small datagrams; unless a Reset for nothing has let it overtake them (`CoAPShard.strayReset`).
final class BarrierQueue {
  /// Most calls have a result by then, which says as much.
  static let patience: UInt64 = 1_000_000_000
  /// Where somebody waits. Most acknowledgements are there by then, and may be seen.
  static let haste: UInt64 = 100_000_000
  /// libcoap as a device answers four pings a second at most, and one that it does not answer holds up everything behind
  /// it for seconds (net.c, `coap_dispatch`).
  static let spacing: UInt64 = 300_000_000

  // In the order of their time; only the one that its session remembers counts.
  private var waiting: [(due: UInt64, session: CoAPSession)] = []
  private var timer: LoopTimer?

  func add(_ session: CoAPSession, after delay: UInt64 = patience) {
    let loop = session.loop
    guard let secured = session.secured else { return }
    let due = max(loop.passTime + delay, secured.lastBarrier + Self.spacing)
    guard due < secured.nextBarrier else { return }
    secured.nextBarrier = due
    if timer == nil { timer = loop.makeTimer { [unowned self, unowned loop] in self.fire(loop.passTime) } }
    let index = waiting.lastIndex { $0.due <= due }.map { $0 + 1 } ?? 0
    waiting.insert((due, session), at: index)
    if index == 0 { timer?.arm(at: due) }
  }

  private func fire(_ now: UInt64) {
    let due = waiting.prefix { $0.due <= now }
    waiting.removeFirst(due.count)
    if let next = waiting.first { timer?.arm(at: next.due) }
    for (time, session) in due where session.secured?.nextBarrier == time {
      session.secured?.nextBarrier = .max
      session.sendBarrier()
    }
  }

  func close() {
    timer?.cancel()
    timer = nil
    for (_, session) in waiting { session.secured?.nextBarrier = .max }
    waiting = []
  }
}
