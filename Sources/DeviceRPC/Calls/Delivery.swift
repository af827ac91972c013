/// How far a call is known to have come.
public enum Delivery: String, Sendable, Hashable, CaseIterable {
  /// The call has not left the server: the device cannot have run it.
  case notSent
  /// The call has left the server, and is not known to have arrived: the device may have run it.
  case sentNoAck
  /// The device has acknowledged or answered the call: it has received it, and may have run it.
  case delivered
  /// The device has answered with a status other than OK, or has rejected the message with a Reset (RFC 7252 §4.2).
  ///
  /// A status comes from the function itself. A Reset means that the current device at the address has not taken the call; if
  /// the device has restarted since, it may have run an earlier copy of the same message.
  case refused
  /// The device has answered the call, but the answer cannot be read: it has received the call, and may have run it.
  case unreadable

  /// Whether the call can be repeated without the risk that the device runs it twice.
  public var isSafeToRepeat: Bool { self == .notSent }
}

/// What is known of a call's way to the device and back, and when each step was seen.
///
/// Times count from the moment at which the call was made. They are times of the server, which cannot see when something
/// happened on the device.
public struct CallEvidence: Sendable, Hashable {
  /// How far the call is known to have come.
  public let delivery: Delivery
  // In nanoseconds, negative for a step that has not happened. Results are copied often, and this is half the size of an
  // optional `Duration`.
  private let sent: Int64
  private let acknowledged: Int64
  private let result: Int64

  public init(
    _ delivery: Delivery, sentAfter: Duration? = nil, acknowledgedAfter: Duration? = nil, resultAfter: Duration? = nil
  ) {
    self.delivery = delivery
    sent = sentAfter?.nanoseconds ?? -1
    acknowledged = acknowledgedAfter?.nanoseconds ?? -1
    result = resultAfter?.nanoseconds ?? -1
  }

  /// When the call was handed to the network; nil when it was not.
  public var sentAfter: Duration? { Self.duration(sent) }
  /// When an acknowledgement of its message was seen; nil when none was. The result may have come first, or the transport may
  /// have no acknowledgements.
  public var acknowledgedAfter: Duration? { Self.duration(acknowledged) }
  /// When the device's answer arrived, readable or not; nil when none did.
  public var resultAfter: Duration? { Self.duration(result) }

  private static func duration(_ nanoseconds: Int64) -> Duration? {
    nanoseconds < 0 ? nil : .nanoseconds(nanoseconds)
  }
}

extension CallEvidence: CustomStringConvertible {
  /// `sent after 85 us, acknowledged after 12 ms, result after 15 ms`
  public var description: String {
    guard let sentAfter else { return "not sent" }
    var parts = ["sent after \(sentAfter.readable)"]
    if let acknowledgedAfter { parts.append("acknowledged after \(acknowledgedAfter.readable)") }
    if let resultAfter {
      parts.append("\(delivery == .unreadable ? "unreadable answer" : "result") after \(resultAfter.readable)")
    }
    return parts.joined(separator: ", ")
  }
}
