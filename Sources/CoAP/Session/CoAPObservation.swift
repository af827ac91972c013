internal import CLibcoap

/// Told, on the loop's thread, what becomes of notifications and of an observation.
package protocol CoAPObservationOwner: AnyObject, Sendable {
  /// The peer has acknowledged the notification with this number, which has gone out whole.
  func notificationAcknowledged(_ number: UInt32, on observation: CoAPObservation)
  /// The peer has acknowledged the first block of the notification with this number, and is to fetch the others.
  func notificationBegun(_ number: UInt32, on observation: CoAPObservation)
  /// The notification is under way no longer, and nothing says that it has arrived, or arrived whole.
  func notificationSettled(_ number: UInt32, on observation: CoAPObservation)
  /// The notification did not arrive.
  func notification(_ number: UInt32, failed: CoAPFailure, on observation: CoAPObservation)
  func observationEnded(_ observation: CoAPObservation, reason: CoAPObservation.End)
}

extension CoAPObservationOwner {
  package func notificationBegun(_ number: UInt32, on observation: CoAPObservation) {}
}

/// A peer that wants to be told when a resource changes, by session and token (RFC 7641).
// Unchecked because every member is touched on the loop's thread only.
package final class CoAPObservation: @unchecked Sendable {
  package enum End: Sendable, Hashable {
    /// The peer said so with Observe 1.
    case deregistered
    /// A newer registration took its place.
    case replaced
    /// A notification was answered with a Reset.
    case failed(CoAPFailure)
    /// The session or the endpoint was closed.
    case closed
    /// The session was closed because its peer counts no longer, for this reason.
    case revoked(String)
  }

  package let session: CoAPSession
  package let token: CoAPToken
  /// Which body the peer fetches when a notification goes in blocks.
  private let transfer: TransferKey
  /// The sequence number of the last response or notification (RFC 7641 §3.4), 24 bits.
  package private(set) var sequence: UInt32
  /// Who is told, until the end; a later registration with the same token has another one.
  // Not weak: that would cost every observer a side table.
  package private(set) var owner: (any CoAPObservationOwner)?
  private let exponent: UInt8?
  private var hasEnded = false
  /// The message id of the notification that is under way, until it is acknowledged or given up.
  private(set) var outstanding: UInt16?
  private var outstandingNumber: UInt32 = 0
  // The last notification, if it goes in blocks: its acknowledgement is that of the first one.
  private var body: Body?

  // Apart, so that it takes no room of those who get none.
  private final class Body {
    let number: UInt32
    var isFetched = false
    var isOver = false
    // When the peer is to have asked for the second block; nil before the first is acknowledged, and when it has.
    var fetchBy: UInt64?

    init(_ number: UInt32) { self.number = number }
  }

  init(
    session: CoAPSession, token: CoAPToken, transfer: TransferKey, sequence: UInt32,
    owner: any CoAPObservationOwner, exponent: UInt8?
  ) {
    self.session = session
    self.token = token
    self.transfer = transfer
    self.sequence = sequence
    self.owner = owner
    self.exponent = exponent
  }

  func nextSequence() -> UInt32 { (sequence + 1) & 0xff_ffff }

  /// Sends a confirmable notification.
  ///
  /// Its end is told to the owner by `number`: send the next when the owner has heard of the last (NSTART 1), or has said
  /// `hasArrived` of it.
  ///
  /// - Throws: `CoAPFailure.tooLong` when the peer has no room for it, `CoAPFailure.closed` when the observation has ended or
  ///   nothing could be sent; the owner is not told then.
  package func notify(_ response: CoAPResponse, number: UInt32) throws(CoAPFailure) {
    assert(session.loop.isCurrent)
    guard !hasEnded else { throw .closed }
    sequence = nextSequence()
    var response = response
    response.observe = sequence
    body = nil
    guard
      let first = session.firstBlock(of: response, transfer, exponent: exponent, notification: number)
    else { throw session.room < 16 ? .tooLong : .closed }
    if first.block2?.more == true { body = Body(number) }
    guard let mid = session.transmit(first, token: token, as: { _ in .notification(number, self) }) else { throw .closed }
    (outstanding, outstandingNumber) = (mid, number)
    session.allowRequest()
  }

  /// Sends a last, non-confirmable message with an error code, which ends the observation (RFC 7641 §4.2), and sends it again
  /// when the peer is heard next: it may be out of reach now.
  package func end(with response: CoAPResponse) {
    if let handle = session.handle, !hasEnded {
      _ = session.send(response, token: token, isConfirmable: false, on: handle)
      session.farewells.append((token, response))
    }
    session.drop(self, reason: .closed)
  }

  func acknowledged(_ number: UInt32) {
    settle(number)
    guard let body, body.number == number else {
      owner?.notificationAcknowledged(number, on: self)
      return
    }
    settleBody()
    guard !body.isFetched, !body.isOver else { return }
    owner?.notificationBegun(number, on: self)
    let due = session.loop.passTime + session.shard.transmission.patience
    body.fetchBy = due
    session.shard.pump.retransmissions.watch(session, due: due)
  }

  /// A peer that knows no transfer in blocks acknowledges the first one and leaves it at that: what comes behind must not wait
  /// for the others. Returns when to look again.
  func endOverdueFetch(_ now: UInt64) -> UInt64? {
    guard let body, let due = body.fetchBy, !body.isOver else { return nil }
    guard due <= now else { return due }
    body.fetchBy = nil
    owner?.notificationSettled(body.number, on: self)
    return nil
  }

  /// Something else than an acknowledgement says that a notification has arrived, such as its result: it is not sent again,
  /// and the owner is told no more of it.
  package func hasArrived(_ number: UInt32) {
    assert(session.loop.isCurrent)
    if let body, body.number == number { body.isOver = true }
    guard let mid = outstanding, outstandingNumber == number else { return }
    session.takeBack(mid)
    outstanding = nil
  }

  /// The peer has asked for a later block, or with it for all.
  func fetched(of number: UInt32, isWhole: Bool) {
    guard let body, body.number == number else { return }
    body.fetchBy = nil
    guard isWhole else { return }
    body.isFetched = true
    settleBody()
  }

  // Whether the last block has arrived nobody says, only that the peer has come to it.
  private func settleBody() {
    guard let body, body.isFetched, !body.isOver, outstanding == nil else { return }
    body.isOver = true
    owner?.notificationSettled(body.number, on: self)
  }

  /// The blocks that were not fetched are there no longer; the observation itself is sound.
  func lostBody(of number: UInt32) {
    guard let body, body.number == number, !body.isFetched, !body.isOver else { return }
    body.isOver = true
    owner?.notification(number, failed: .notFetched, on: self)
  }

  // A later one may have left since, when something else has said that this one has arrived.
  private func settle(_ number: UInt32) { if outstandingNumber == number { outstanding = nil } }

  func failed(_ number: UInt32, _ failure: CoAPFailure) {
    settle(number)
    // It may be back; whether it is there is for the owner to judge.
    if failure == .notAcknowledged {
      owner?.notification(number, failed: failure, on: self)
      return
    }
    let owner = owner
    // In this order: told of the notification alone the owner would send its next one.
    session.drop(self, reason: .failed(failure))
    owner?.notification(number, failed: failure, on: self)
  }

  func end(_ reason: End) {
    hasEnded = true
    owner?.observationEnded(self, reason: reason)
    owner = nil
  }
}
