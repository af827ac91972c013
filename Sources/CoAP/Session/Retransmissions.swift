internal import CLibcoap
internal import HeapModule

/// When the sessions of a loop have a message to send again, or to give up.
///
/// libcoap could do that, and does it for its clients. But its queue can only be looked at through what it tells: it keeps
/// a message until it is acknowledged, whatever else says that it has arrived; it holds back all others meanwhile, without
/// a bound and without a word; over DTLS it tells nobody of an acknowledgement; and each message waits in one sorted list
/// for all peers of a context. So confirmable messages of the server are its own (RFC 7252 §4.2).
///
/// A session has one place here at most, however many messages it has under way or has had acknowledged since.
final class Retransmissions {
  private struct Place: Comparable {
    let due: UInt64
    let session: CoAPSession
    static func < (left: Place, right: Place) -> Bool { left.due < right.due }
    static func == (left: Place, right: Place) -> Bool { left.due == right.due }
  }

  private var places = Heap<Place>()
  private var timer: LoopTimer?
  private var spread = UInt64.random(in: .min ... .max)

  init(loop: EventLoop) {
    timer = loop.makeTimer { [unowned self, unowned loop] in self.fire(loop.passTime) }
  }

  func close() {
    timer?.cancel()
    timer = nil
    for place in places.unordered { place.session.nextTransmission = .max }
    places = Heap()
  }

  /// The wait after the first transmission (RFC 7252 §4.2), in nanoseconds.
  ///
  /// Steps of the golden ratio cover the range evenly, and cost nothing; the system's random numbers are a system call each.
  func firstTimeout(_ transmission: CoAPTransmission) -> UInt64 {
    spread &+= 0x9e37_79b9_7f4a_7c15
    let share = Double(spread >> 11) / Double(1 << 53)
    let factor = 1 + share * (max(1, transmission.ackRandomFactor) - 1)
    return UInt64(min(60_000, max(1, transmission.ackTimeout)) * factor * 1e9)
  }

  /// The session has something to do at this time, or earlier.
  func watch(_ session: CoAPSession, due: UInt64) {
    guard due < session.nextTransmission else { return }
    session.nextTransmission = due
    let isFirst = places.min.map { due < $0.due } ?? true
    places.insert(Place(due: due, session: session))
    if isFirst { timer?.arm(at: due) }
  }

  private func fire(_ now: UInt64) {
    while let first = places.min, first.due <= now {
      places.removeMin()
      // Of another one an earlier place has counted.
      guard first.session.nextTransmission == first.due else { continue }
      first.session.nextTransmission = .max
      if let next = first.session.transmitAgain(now: now) { watch(first.session, due: next) }
    }
    if let next = places.min?.due { timer?.arm(at: next) }
  }
}

/// A confirmable message of ours that is under way.
struct Confirmable {
  let message: SentMessage
  let bytes: [UInt8]
  // Nanoseconds from the last transmission to the next, or to the end.
  var timeout: UInt64
  var due: UInt64
  var retransmissionsLeft: Int
}

extension CoAPTransmission {
  /// How long a peer has for what it does at once when it is there: to answer a ping, which is sent once, and to ask for the
  /// second block of a body. What comes later counts all the same.
  var patience: UInt64 { UInt64(min(60_000, max(1, ackTimeout)) * max(1, ackRandomFactor) * 2e9) }
}

/// Confirmable messages to one peer.
extension CoAPSession {
  /// Sends a message with a response code that is to be acknowledged, and is sent again until it is. Its end is told to
  /// what `message` makes of its message id, at the end of a pass. Nil when it could not be sent.
  func transmit(_ response: CoAPResponse, token: CoAPToken, as message: (UInt16) -> SentMessage) -> UInt16? {
    guard let handle, !isLost else { return nil }
    guard !scheme.isStream else {
      // There is nothing to wait for.
      guard let mid = send(response, token: token, isConfirmable: true, on: handle) else { return nil }
      let sent = message(mid)
      loop.atEndOfPass { sent.acknowledged() }
      return mid
    }
    let mid = coap_new_message_id(handle)
    let bytes = MessageWriter.confirmable(response, messageID: mid, token: token)
    transmit(
      Confirmable(message: message(mid), bytes: bytes, timeout: shard.pump.retransmissions.firstTimeout(shard.transmission),
        due: 0, retransmissionsLeft: max(1, shard.transmission.maxRetransmit)), mid)
    return mid
  }

  /// Sends an empty message once, and waits for its answer.
  func transmitPing(_ mid: UInt16) {
    transmit(
      Confirmable(message: .ping(mid, self), bytes: MessageWriter.ping(mid), timeout: shard.transmission.patience,
        due: 0, retransmissionsLeft: 0), mid)
  }

  private func transmit(_ confirmable: Confirmable, _ mid: UInt16) {
    var confirmable = confirmable
    confirmable.due = loop.passTime + confirmable.timeout
    put(confirmable.bytes)
    shard.underWay[shard.key(address, mid)] = confirmable
    shard.pump.retransmissions.watch(self, due: confirmable.due)
  }

  /// Hands a datagram to the kernel, over DTLS through the session's keys. What does not leave now counts as lost on its way.
  private func put(_ bytes: [UInt8]) {
    guard let handle, !isLost else { return }
    if scheme == .coaps {
      shard.pump.feed.write(bytes, on: handle)
    } else {
      send_datagram(shard.datagramSocket, handle, bytes, bytes.count)
    }
  }

  /// Nothing more is sent of a message. Returns what was under way.
  @discardableResult
  func takeBack(_ mid: UInt16) -> SentMessage? { shard.underWay.removeValue(forKey: shard.key(address, mid))?.message }

  /// Sends again what is due, or gives it up. Returns when to look again; nil when nothing is under way.
  func transmitAgain(now: UInt64) -> UInt64? {
    var next = UInt64.max
    for observation in observations {
      if let mid = observation.outstanding { next = min(next, transmitAgain(mid, now: now)) }
      next = min(next, observation.endOverdueFetch(now) ?? .max)
    }
    if let separate { next = min(next, transmitAgain(separate, now: now)) }
    for mid in pings.compactMap(\.mid) { next = min(next, transmitAgain(mid, now: now)) }
    next = min(next, endOverduePings(now) ?? .max)
    return next == .max ? nil : next
  }

  private func transmitAgain(_ mid: UInt16, now: UInt64) -> UInt64 {
    let key = shard.key(address, mid)
    guard var confirmable = shard.underWay[key] else { return .max }
    guard confirmable.due <= now else { return confirmable.due }
    guard confirmable.retransmissionsLeft > 0 else {
      shard.underWay[key] = nil
      loop.atEndOfPass { confirmable.message.failed(.notAcknowledged) }
      return .max
    }
    put(confirmable.bytes)
    confirmable.retransmissionsLeft -= 1
    confirmable.timeout *= 2
    confirmable.due = now + confirmable.timeout
    shard.underWay[key] = confirmable
    return confirmable.due
  }
}
