// Message: requests and responses as values, and their conversion from and to libcoap's PDUs and bytes. Without side effects
// except for `PDU`, which uses libcoap's PDUs; every room may use it.

/// Checks a Capabilities and Settings Message (RFC 8323 §5.3). libcoap silently drops a CSM with a critical option that it
/// does not know, and accepts one with a critical option that has a meaning in other messages.
package enum CSM {
  private static let code: UInt8 = 0xe1
  private static let abort: UInt8 = 0xe5

  /// The number of the first critical option of a CSM that begins with these bytes. No critical option is defined for a CSM.
  /// Nil when there is none, or the message is another one or incomplete.
  package static func criticalOption(in bytes: [UInt8]) -> Int? {
    var rest = bytes[...]
    guard let head = rest.popFirst(), let length = extended(head >> 4, &rest), rest.popFirst() == code,
      head & 15 <= 8, rest.count >= length + Int(head & 15)
    else { return nil }
    rest = rest.dropFirst(Int(head & 15)).prefix(length)
    var number = 0
    while let head = rest.popFirst(), head != 0xff {
      guard let delta = extended(head >> 4, &rest), let size = extended(head & 15, &rest), rest.count >= size else { return nil }
      number += delta
      if number & 1 == 1 { return number }
      rest = rest.dropFirst(size)
    }
    return nil
  }

  // The value of a nibble with up to two more bytes (RFC 7252 §3.1, RFC 8323 §3.2). A CSM has no longer ones.
  private static func extended(_ nibble: UInt8, _ rest: inout ArraySlice<UInt8>) -> Int? {
    switch nibble {
    case ..<13: return Int(nibble)
    case 13: return rest.popFirst().map { 13 + Int($0) }
    case 14:
      guard let high = rest.popFirst(), let low = rest.popFirst() else { return nil }
      return 269 + Int(high) << 8 + Int(low)
    default: return nil
    }
  }

  /// An Abort that says which option it is for (RFC 8323 §5.6, Bad-CSM-Option).
  static func abort(for option: Int) -> [UInt8] {
    let value = option < 256 ? [UInt8(option)] : [UInt8(truncatingIfNeeded: option >> 8), UInt8(truncatingIfNeeded: option)]
    let body = [0x20 | UInt8(value.count)] + value
    return [UInt8(body.count) << 4, abort] + body
  }
}
