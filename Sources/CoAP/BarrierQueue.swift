/// Asks for proof of what was sent over DTLS and has found no answer within a second.
///
/// libcoap does not tell of acknowledgements. But a ping waits behind the messages before it (NSTART 1), so that its
/// answer says that all of them were acknowledged, at the price of two small datagrams.
final class BarrierQueue {
  private static let delay: UInt64 = 1_000_000_000

  // In the order of their time.
  private var waiting: [(due: UInt64, session: CoAPSession)] = []
  private var timer: LoopTimer?

  func add(_ session: CoAPSession) {
    guard !session.isBarrierDue else { return }
    session.isBarrierDue = true
    let loop = session.loop
    if timer == nil { timer = loop.makeTimer { [unowned self, unowned loop] in self.fire(loop.passTime) } }
    waiting.append((loop.passTime + Self.delay, session))
    if waiting.count == 1 { timer?.arm(at: loop.passTime + Self.delay) }
  }

  private func fire(_ now: UInt64) {
    let due = waiting.prefix { $0.due <= now }
    waiting.removeFirst(due.count)
    if let next = waiting.first { timer?.arm(at: next.due) }
    for (_, session) in due {
      session.isBarrierDue = false
      session.confirm()
    }
  }

  func close() {
    timer?.cancel()
    timer = nil
    for (_, session) in waiting { session.isBarrierDue = false }
    waiting = []
  }
}
