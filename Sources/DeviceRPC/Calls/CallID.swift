/// The id of a call: a UUID of version 7 (RFC 9562 §5.7). No two calls ever have the same one.
///
/// It holds the time at which the call was made in milliseconds, 42 random bits of the server that made it, and the number
/// of the call on that server. So ids sort by time, and a server finds the call of an id without a search. They can be
/// guessed from one another: an id is a name and no secret.
///
/// The time is that of the server's clock, which is set once, when the server is created.
public struct CallID: Sendable, Hashable {
  // 48 bits of milliseconds since 1970, 4 of the version, 12 of the instance.
  let high: UInt64
  // 2 bits of the variant, 30 of the instance, 32 of the number.
  let low: UInt64

  /// A number of 42 bits that tells one server from another, and from itself after a restart.
  package static let instanceBits: UInt64 = 1 << 42 - 1

  package init(milliseconds: Int64, instance: UInt64, serial: UInt32) {
    high = UInt64(clamping: milliseconds) << 16 | 0x7000 | (instance >> 30) & 0xfff
    low = 1 << 63 | (instance & (1 << 30 - 1)) << 32 | UInt64(serial)
  }

  /// The number of the call on its server.
  package var serial: UInt32 { UInt32(truncatingIfNeeded: low) }

  package var instance: UInt64 { (high & 0xfff) << 30 | (low >> 32) & (1 << 30 - 1) }
}

extension CallID: Comparable {
  public static func < (left: CallID, right: CallID) -> Bool { (left.high, left.low) < (right.high, right.low) }
}

extension CallID: LosslessStringConvertible {
  /// The canonical form of a UUID, in lower case: `019ac3f2-8d10-7a4c-9b1e-52f0000074e4`.
  public var description: String {
    String(unsafeUninitializedCapacity: 36) { text in
      var at = 0
      for place in 0..<32 {
        if place == 8 || place == 12 || place == 16 || place == 20 {
          text[at] = UInt8(ascii: "-")
          at += 1
        }
        let half = place < 16 ? high : low
        let digit = UInt8(truncatingIfNeeded: half >> UInt64(4 * (15 - place % 16)) & 15)
        text[at] = digit + (digit < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10)
        at += 1
      }
      return at
    }
  }

  /// Nil for anything but a UUID of version 7 in its canonical form, in lower or upper case.
  public init?(_ description: String) {
    guard description.utf8.count == 36 else { return nil }
    var halves: [UInt64] = [0, 0]
    var place = 0
    for (at, byte) in description.utf8.enumerated() {
      if at == 8 || at == 13 || at == 18 || at == 23 {
        guard byte == UInt8(ascii: "-") else { return nil }
        continue
      }
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { return nil }
      halves[place / 16] = halves[place / 16] << 4 | UInt64(digit)
      place += 1
    }
    guard halves[0] >> 12 & 15 == 7, halves[1] >> 62 == 2 else { return nil }
    (high, low) = (halves[0], halves[1])
  }
}
