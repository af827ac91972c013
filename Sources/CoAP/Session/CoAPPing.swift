internal import CLibcoap

/// The outcome of a ping.
package enum CoAPPingEnd: Sendable, Hashable {
  case answered
  /// Sent, without an answer in time.
  case unanswered
  /// Not sent, or the session has ended first.
  case closed

  init(_ failure: CoAPFailure) {
    self =
      switch failure {
      case .reset: .answered
      case .notAcknowledged: .unanswered
      default: .closed
      }
  }
}

/// Pings to a peer.
extension CoAPSession {
  /// Sends one ping to the peer: an empty confirmable message, which it answers with a Reset (RFC 7252 §4.3), or over TCP and
  /// TLS a Ping (RFC 8323 §5.4). `done` is called once, on the loop's thread.
  package func ping(_ done: @escaping (CoAPPingEnd) -> Void) {
    assert(loop.isCurrent)
    guard let handle, !isLost, pings.count < 4 else { return loop.atEndOfPass { done(.closed) } }
    let due = loop.passTime + shard.transmission.patience
    if scheme.isStream {
      guard coap_session_send_ping(handle) != COAP_INVALID_MID else { return loop.atEndOfPass { done(.closed) } }
      pings.append((nil, due, done))
      shard.pump.retransmissions.watch(self, due: due)
    } else {
      let mid = coap_new_message_id(handle)
      pings.append((mid, due, done))
      transmitPing(mid)
    }
  }

  func pingEnded(_ mid: UInt16?, _ end: CoAPPingEnd) {
    guard let index = pings.firstIndex(where: { $0.mid == mid }) else { return }
    let ping = pings.remove(at: index)
    if end == .answered { shard.heard(from: self) }
    ping.done(end)
  }

  /// Ends pings over TCP that were not answered in time. Returns the deadline of the next one.
  func endOverduePings(_ now: UInt64) -> UInt64? {
    while let first = pings.first, first.mid == nil, first.due <= now {
      pings.removeFirst()
      first.done(.unanswered)
    }
    return pings.first.flatMap { $0.mid == nil ? $0.due : nil }
  }

  func endPings() {
    let all = pings
    pings = []
    for ping in all {
      if let mid = ping.mid { takeBack(mid) }
      ping.done(.closed)
    }
  }
}
