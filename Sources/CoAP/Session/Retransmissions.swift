internal import CLibcoap
internal import HeapModule

/// The schedule of the sessions of a loop that have a message to retransmit, or to give up.
///
/// libcoap retransmits, and does it for clients. But it gives no access to its queue. It keeps a message until it is
/// acknowledged, even if something else shows that it has arrived. Meanwhile it holds back all other messages, without a
/// limit and without reporting it. Over DTLS it does not report acknowledgements. And all messages of a context, of all
/// peers, wait in one sorted list. The server therefore retransmits its confirmable messages itself (RFC 7252 §4.2).
///
/// A session has at most one current place here, however many messages are outstanding or have been acknowledged since.
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

  /// The timeout after the first transmission (RFC 7252 §4.2), in nanoseconds.
  ///
  /// Steps of the golden ratio cover the range evenly and cost nothing. Random numbers of the system cost a system call each.
  func firstTimeout(_ transmission: CoAPTransmission) -> UInt64 {
    spread &+= 0x9e37_79b9_7f4a_7c15
    let share = Double(spread >> 11) / Double(1 << 53)
    let factor = 1 + share * (max(1, transmission.ackRandomFactor) - 1)
    return UInt64(min(60_000, max(1, transmission.ackTimeout)) * factor * 1e9)
  }

  /// Calls `transmitAgain(now:)` of the session at this time, or earlier.
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
      // The place is outdated: an earlier place of the same session has been handled.
      guard first.session.nextTransmission == first.due else { continue }
      first.session.nextTransmission = .max
      if let next = first.session.transmitAgain(now: now) { watch(first.session, due: next) }
    }
    if let next = places.min?.due { timer?.arm(at: next) }
  }
}

/// An outstanding confirmable message of the server.
struct Confirmable {
  let message: SentMessage
  let bytes: [UInt8]
  // Nanoseconds from the last transmission to the next, or until the message is given up.
  var timeout: UInt64
  var due: UInt64
  var retransmissionsLeft: Int
}

extension CoAPTransmission {
  /// Nanoseconds in which a reachable peer answers a ping, which is sent once, or requests the second block of a body. Later
  /// answers and requests are accepted, too.
  var patience: UInt64 { UInt64(min(60_000, max(1, ackTimeout)) * max(1, ackRandomFactor) * 2e9) }
}

/// Confirmable messages to one peer.
extension CoAPSession {
  /// Sends a confirmable message with a response code, with retransmissions. The outcome is reported to the value that
  /// `message` returns for its message id, at the end of an event loop pass. Nil when it could not be sent.
  ///
  /// A message that is not confirmable is sent once. It has failed if the peer answers it with a Reset, and after a while as not
  /// acknowledged.
  func transmit(
    _ response: CoAPResponse, token: CoAPToken, isConfirmable: Bool = true, as message: (UInt16) -> SentMessage
  ) -> UInt16? {
    guard let handle, !isLost else { return nil }
    guard !scheme.isStream else {
      // There is no acknowledgement to wait for.
      guard let mid = send(response, token: token, isConfirmable: true, on: handle) else { return nil }
      let sent = message(mid)
      loop.atEndOfPass { sent.acknowledged() }
      return mid
    }
    let mid = coap_new_message_id(handle)
    let bytes = MessageWriter.response(response, isConfirmable: isConfirmable, messageID: mid, token: token)
    let transmission = shard.transmission
    transmit(
      Confirmable(
        message: message(mid), bytes: bytes,
        timeout: isConfirmable ? shard.pump.retransmissions.firstTimeout(transmission) : transmission.patience, due: 0,
        retransmissionsLeft: isConfirmable ? max(1, transmission.maxRetransmit) : 0), mid)
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

  /// Sends a datagram, over DTLS encrypted with the session's keys. If it cannot be sent now, it counts as lost.
  private func put(_ bytes: [UInt8], isRetransmission: Bool = false) {
    guard let handle, !isLost else { return }
    loop.counts.packetsSent &+= 1
    if isRetransmission { loop.counts.retransmissions &+= 1 }
    if scheme == .coaps {
      shard.pump.feed.write(bytes, on: handle)
    } else {
      send_datagram(shard.datagramSocket, handle, bytes, bytes.count)
    }
  }

  /// Stops the retransmission of a message. Returns the message if it was outstanding.
  @discardableResult
  func takeBack(_ mid: UInt16) -> SentMessage? { shard.underWay.removeValue(forKey: shard.key(address, mid))?.message }

  /// Retransmits the messages that are due, or gives them up. Returns when to call it again; nil when nothing is outstanding.
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
    put(confirmable.bytes, isRetransmission: true)
    confirmable.retransmissionsLeft -= 1
    confirmable.timeout *= 2
    confirmable.due = now + confirmable.timeout
    shard.underWay[key] = confirmable
    return confirmable.due
  }
}
