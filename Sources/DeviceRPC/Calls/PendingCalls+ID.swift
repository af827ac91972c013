// The ids of calls on the wire.
extension PendingCalls {
  /// The id of a call: the method, a slash, and the number in lower-case hexadecimal with at least four digits.
  package static func id(method: String, serial: Serial) -> String {
    let digits = max(4, (35 - serial.leadingZeroBitCount) / 4)
    var id = method
    id.reserveCapacity(method.utf8.count + 1 + digits)
    id.append("/")
    for place in (0..<digits).reversed() {
      let digit = UInt8(truncatingIfNeeded: serial >> (4 * Serial(place)) & 15)
      id.unicodeScalars.append(Unicode.Scalar(digit + (digit < 10 ? UInt8(ascii: "0") : UInt8(ascii: "a") - 10)))
    }
    return id
  }

  /// The largest number of a call: 2,147,483,647. ThingsBoard's devices read it as a signed integer of 32 bits.
  package static var largestSerial: Serial { Serial(Int32.max) }

  /// The number in an id; nil for a text that cannot be an id of this server.
  ///
  /// An id without a slash is the number alone, in decimal, as ThingsBoard's devices have it.
  package static func serial(in id: String) -> Serial? {
    guard let slash = id.utf8.lastIndex(of: UInt8(ascii: "/")) else { return number(id) }
    let digits = id.utf8[id.utf8.index(after: slash)...]
    guard (4...8).contains(digits.count) else { return nil }
    var serial: Serial = 0
    for digit in digits {
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): serial = serial << 4 | Serial(digit - UInt8(ascii: "0"))
      case UInt8(ascii: "a")...UInt8(ascii: "f"): serial = serial << 4 | Serial(digit - UInt8(ascii: "a") + 10)
      default: return nil
      }
    }
    return serial
  }

  private static func number(_ text: String) -> Serial? {
    guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), let number = Serial(text) else { return nil }
    return number <= largestSerial ? number : nil
  }

  /// Whether an id that has the number of a call is the id of that call.
  package static func isID(_ id: String, of callID: String) -> Bool {
    id == callID || !id.utf8.contains(UInt8(ascii: "/"))
  }
}
