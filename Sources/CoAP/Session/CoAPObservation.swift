internal import CLibcoap

/// The owner of an observation. It is called on the loop's thread with the outcome of notifications and the end of the
/// observation.
package protocol CoAPObservationOwner: AnyObject, Sendable {
  /// The peer has acknowledged the notification with this number, which was sent in one message.
  func notificationAcknowledged(_ number: UInt32, on observation: CoAPObservation)
  /// The peer has acknowledged the first block of the notification with this number. It has to fetch the others.
  func notificationBegun(_ number: UInt32, on observation: CoAPObservation)
  /// The notification is no longer outstanding, and nothing confirms that it has arrived, or arrived completely.
  func notificationSettled(_ number: UInt32, on observation: CoAPObservation)
  /// The notification did not arrive.
  func notification(_ number: UInt32, failed: CoAPFailure, on observation: CoAPObservation)
  func observationEnded(_ observation: CoAPObservation, reason: CoAPObservation.End)
}

extension CoAPObservationOwner {
  package func notificationBegun(_ number: UInt32, on observation: CoAPObservation) {}
}

/// The registration of a peer as an observer of a resource, identified by session and token (RFC 7641).
// Unchecked because every member is touched on the loop's thread only.
package final class CoAPObservation: @unchecked Sendable {
  package enum End: Sendable, Hashable {
    /// The peer deregistered with Observe 1.
    case deregistered
    /// A newer registration replaced it.
    case replaced
    /// A notification was answered with a Reset.
    case failed(CoAPFailure)
    /// The session or the endpoint was closed.
    case closed
    /// The session was closed because the peer is no longer accepted, for this reason.
    case revoked(String)
  }

  package let session: CoAPSession
  package let token: CoAPToken
  /// Identifies the body that the peer fetches when a notification is sent in blocks.
  private let transfer: TransferKey
  /// The sequence number of the last response or notification (RFC 7641 §3.4), 24 bits.
  package private(set) var sequence: UInt32
  /// The owner, until the observation ends. A later registration with the same token has another one.
  // Not weak: a weak reference would cost a side table for every observer.
  package private(set) var owner: (any CoAPObservationOwner)?
  private let exponent: UInt8?
  let isConfirmable: Bool
  private var hasEnded = false
  /// The message id of the outstanding notification, until it is acknowledged or given up. Of notifications that are not
  /// confirmable, it is the last one, so that a Reset in answer to it ends the observation (RFC 7641 §3.6).
  private(set) var outstanding: UInt16?
  private var outstandingNumber: UInt32 = 0
  // The last notification, if it was sent in blocks. Its acknowledgement is that of its first block.
  private var body: Body?

  // Allocated separately, so that observers without notifications in blocks need no memory for it.
  private final class Body {
    let number: UInt32
    var isFetched = false
    var isOver = false
    // The deadline for the request of the second block. Nil before the first block is acknowledged and after the request.
    var fetchBy: UInt64?

    init(_ number: UInt32) { self.number = number }
  }

  init(
    session: CoAPSession, token: CoAPToken, transfer: TransferKey, sequence: UInt32,
    owner: any CoAPObservationOwner, exponent: UInt8?, isConfirmable: Bool
  ) {
    self.session = session
    self.token = token
    self.transfer = transfer
    self.sequence = sequence
    self.owner = owner
    self.exponent = exponent
    self.isConfirmable = isConfirmable
  }

  func nextSequence() -> UInt32 { (sequence + 1) & 0xff_ffff }

  /// Sends a notification.
  ///
  /// The outcome of a confirmable one is reported to the owner with `number`. Send the next notification after that (NSTART 1),
  /// or after `hasArrived(_:)`. Of one that is not confirmable, only a Reset is reported.
  ///
  /// - Throws: `CoAPFailure.tooLong` when the peer has no room for it, `CoAPFailure.closed` when the observation has ended or
  ///   nothing could be sent. The owner is not called then.
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
    if !isConfirmable, let mid = outstanding { session.takeBack(mid) }
    guard
      let mid = session.transmit(
        first, token: token, isConfirmable: isConfirmable, as: { _ in .notification(number, self) })
    else { throw .closed }
    (outstanding, outstandingNumber) = (mid, number)
    session.allowRequest()
  }

  /// Ends the observation with a last, non-confirmable message, usually with an error code (RFC 7641 §4.2). It is sent again at the
  /// next request of the peer, which may be unreachable now, unless `isRepeated` is false.
  /// The owner is told `reason`.
  package func end(with response: CoAPResponse, isRepeated: Bool = true, reason: End = .closed) {
    if let handle = session.handle, !hasEnded {
      _ = session.send(response, token: token, isConfirmable: false, on: handle)
      if isRepeated { session.farewells.append((token, response)) }
    }
    session.drop(self, reason: reason)
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

  /// Stops waiting for the other blocks when the peer has not requested the second one in time. A peer without block-wise
  /// transfers acknowledges the first block only, and must not hold up later notifications. Returns when to call this again.
  func endOverdueFetch(_ now: UInt64) -> UInt64? {
    guard let body, let due = body.fetchBy, !body.isOver else { return nil }
    guard due <= now else { return due }
    body.fetchBy = nil
    owner?.notificationSettled(body.number, on: self)
    return nil
  }

  /// Called when something other than an acknowledgement, such as the result, shows that a notification has arrived. It is
  /// not retransmitted any more, and the owner is not called about it again.
  package func hasArrived(_ number: UInt32) {
    assert(session.loop.isCurrent)
    if let body, body.number == number { body.isOver = true }
    guard let mid = outstanding, outstandingNumber == number else { return }
    session.takeBack(mid)
    outstanding = nil
  }

  /// Called when the peer has requested a later block. `isWhole` says that it has now requested all blocks.
  func fetched(of number: UInt32, isWhole: Bool) {
    guard let body, body.number == number else { return }
    body.fetchBy = nil
    guard isWhole else { return }
    body.isFetched = true
    settleBody()
  }

  // Nothing confirms that the last block has arrived, only that the peer has requested it.
  private func settleBody() {
    guard let body, body.isFetched, !body.isOver, outstanding == nil else { return }
    body.isOver = true
    owner?.notificationSettled(body.number, on: self)
  }

  /// Called when the blocks that were not fetched have been discarded. The observation itself continues.
  func lostBody(of number: UInt32) {
    guard let body, body.number == number, !body.isFetched, !body.isOver else { return }
    body.isOver = true
    owner?.notification(number, failed: .notFetched, on: self)
  }

  // A later notification may have been sent since, if `hasArrived(_:)` was called for this one.
  private func settle(_ number: UInt32) { if outstandingNumber == number { outstanding = nil } }

  func failed(_ number: UInt32, _ failure: CoAPFailure) {
    settle(number)
    // The observation stays. The peer may be back, and the owner decides whether it is reachable.
    if failure == .notAcknowledged {
      guard isConfirmable else { return }
      owner?.notification(number, failed: failure, on: self)
      return
    }
    let owner = owner
    // In this order: if the owner were called about the notification first, it would send its next one.
    session.drop(self, reason: .failed(failure))
    owner?.notification(number, failed: failure, on: self)
  }

  func end(_ reason: End) {
    hasEnded = true
    owner?.observationEnded(self, reason: reason)
    owner = nil
  }
}
