internal import CoAP
internal import DeviceRPC
internal import Synchronization

/// A device's open observation, on which it is sent its calls.
final class ObservationLink: DeviceLink, CoAPObservationOwner {
  let device: String
  let home: DeviceLoop
  let form: any CallForm
  /// The access token with which the device has registered; nil if its session has proved it, or nothing has.
  var credential: DeviceCredential? { token?.credential }
  private let session: CoAPSession
  /// Nil when it has ended. Unchecked, because it is used on the session's loop only.
  nonisolated(unsafe) var observation: CoAPObservation?
  // Unchecked, because it is used by the home loop only.
  nonisolated(unsafe) var record: DeviceRecord?
  let acknowledgement: Acknowledgement
  // In nanoseconds. Written by the session's loop, read by the device's.
  private let heardAt: Atomic<UInt64>
  // Whether the home loop has asked to be notified of the next packet.
  private let isAwaited = Atomic(false)
  // An object, so that the links of other devices are no larger for it: each cache line counts.
  private let token: Token?
  // When the last notification was first sent. Unchecked, because it is used on the session's loop only.
  private nonisolated(unsafe) var sentAt: UInt64 = 0

  private final class Token: Sendable {
    let credential: DeviceCredential
    init(_ credential: DeviceCredential) { self.credential = credential }
  }

  init(device: String, home: DeviceLoop, form: any CallForm, credential: DeviceCredential?, session: CoAPSession) {
    self.device = device
    self.home = home
    self.form = form
    token = credential.map(Token.init)
    self.session = session
    acknowledgement =
      switch session.scheme {
      case .coap, .coaps: form.isConfirmable ? .each : .none
      case .coapTCP, .coapsTCP: .ping
      }
    heardAt = Atomic(session.loop.passTime)
  }

  func heard() {
    heardAt.store(session.loop.passTime, ordering: .relaxed)
    guard isAwaited.load(ordering: .relaxed), isAwaited.exchange(false, ordering: .relaxed) else { return }
    // Deferred until the packet, which may be a request, has been answered.
    session.loop.atEndOfPass { self.home.noteHeard(on: self) }
  }

  func tellWhenHeard() { isAwaited.store(true, ordering: .relaxed) }

  // MARK: DeviceLink

  var address: String { session.address.description }
  var dialect: String { form.dialect }
  var lastHeard: Duration { .nanoseconds(Int64(clamping: heardAt.load(ordering: .relaxed))) }
  // Firmware remembers only the last message id: with two confirmable messages under way, it could run a retransmitted one twice.
  // It counts only messages with acknowledgements.
  var window: Int { 1 }
  var unansweredWindow: Int { max(1, form.unansweredCalls) }

  func encode(_ call: Call, id: String) throws(CallError) -> [UInt8] {
    try form.encode(call, id: id)
  }

  func transmit(_ payload: [UInt8], serial: UInt32) {
    if session.loop.isCurrent {
      notify(payload, serial: serial)
    } else {
      session.loop.execute { self.notify(payload, serial: serial) }
    }
  }

  private func notify(_ payload: [UInt8], serial: UInt32) {
    do throws(CoAPFailure) {
      guard let observation else { throw .closed }
      let notification = CoAPResponse(.content, contentFormat: form.contentFormat, payload: payload)
      try observation.notify(notification, number: serial)
      sentAt = session.loop.passTime
      guard acknowledgement == .none else { return }
      home.driver.execute { self.home.onLoop { $0.left(serial, on: self) } }
    } catch {
      // Deferred, since the home loop is just sending calls.
      home.driver.execute {
        self.home.assumeIsolated { $0.failed(serial, on: self, .notSent(error.description)) }
      }
    }
  }

  func hasArrived(_ serial: UInt32) {
    if session.loop.isCurrent {
      observation?.hasArrived(serial)
    } else {
      session.loop.execute { self.observation?.hasArrived(serial) }
    }
  }

  func confirm(_ serial: UInt32) {
    session.loop.execute { [self] in
      session.ping { if $0 == .answered { self.home.noteAcknowledged(serial, on: self) } }
    }
  }

  func probe() {
    session.loop.execute { [self] in
      // The session reports the packet itself through `heard()`, as it does for every packet.
      session.ping { self.home.noteProbeEnded(isAnswered: $0 == .answered, on: self) }
    }
  }

  func end(_ reason: String) {
    session.loop.execute { [self] in
      guard let observation else { return }
      // Removes the observer from the list, and notifies it if it can be reached (RFC 7641 §4.2).
      var response = CoAPResponse.error(.serviceUnavailable, reason)
      response.maxAge = .random(in: Self.comeBackAfter)
      observation.end(with: response)
      // The device will certainly observe again on a new session.
      if session.secured != nil, session.observations.isEmpty { session.close() }
    }
  }

  /// Seconds after which an observer whose observation the server has ended may register again (RFC 7252 §5.9.3.4). Random, so
  /// that a whole fleet does not return at the same moment.
  static let comeBackAfter: ClosedRange<UInt32> = 5...30

  func replaced(by newer: any DeviceLink) {
    let isElsewhere = (newer as? ObservationLink)?.session !== session
    session.loop.execute {
      if let observation = self.observation {
        // One with the same token of CoAP has ended before.
        if let notice = self.form.replaced { observation.end(with: notice, isRepeated: false) }
        self.session.drop(observation, reason: .replaced)
      }
      // The device has proved its identity on another session, and will not use this one again.
      if self.session.secured != nil, isElsewhere { self.session.close() }
    }
  }

  // MARK: CoAPObservationOwner

  func notificationAcknowledged(_ number: UInt32, on observation: CoAPObservation) {
    // Over TCP it only means that no acknowledgement is expected.
    guard acknowledgement != .ping else { return }
    heard()
    home.noteAcknowledged(number, on: self)
  }

  func notificationBegun(_ number: UInt32, on observation: CoAPObservation) {
    heard()
    home.run { $0.begun(number, on: self, CoAPFailure.notFetched.description) }
  }

  func notificationSettled(_ number: UInt32, on observation: CoAPObservation) { home.run { $0.settled(number, on: self) } }

  func notification(_ number: UInt32, failed failure: CoAPFailure, on observation: CoAPObservation) {
    if failure == .reset { heard() }
    let text = failure.description
    // If a packet has arrived since, the device can be reached, and may have failed to receive only this message.
    let isSilent = failure == .notAcknowledged && heardAt.load(ordering: .relaxed) <= sentAt
    home.run { loop in
      // In this order, since after `failed` alone the loop would send the next call.
      if isSilent { loop.unreachable(self, reason: text) }
      loop.failed(number, on: self, failure == .reset ? .rejected(text) : .lost(text))
    }
  }

  func observationEnded(_ observation: CoAPObservation, reason: CoAPObservation.End) {
    self.observation = nil
    // The home loop knows the newer link already, or is about to.
    guard reason != .replaced else { return }
    let text =
      switch reason {
      case .deregistered: "it has deregistered"
      case .failed(let failure): failure.description
      case .revoked(let reason): reason
      case .closed, .replaced: "its session was closed"
      }
    let isRevoked = if case .revoked = reason { true } else { false }
    home.run { $0.unobserved(self, reason: text, isRevoked: isRevoked) }
  }
}
