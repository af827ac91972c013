// Golioth: Golioth's device API on the wire: paths, JSON and CBOR, and what else stock firmware sends.
// Called by the CoAP endpoint for each request, and by the loops for each call.

extension GoliothCodec {
  /// The text of the member `id` of an object that is not valid JSON, if it comes before the error.
  ///
  /// Searches the outermost level only, since a detail may have its own `id`. In ids of this server only the method's name can
  /// need escapes; an id with escapes is not recovered.
  static func topLevelID(inJSON bytes: [UInt8]) -> String? {
    var scanner = Scanner(rest: bytes[...])
    guard scanner.take("{") else { return nil }
    while let key = scanner.string(), scanner.take(":") {
      if key.elementsEqual("id".utf8) {
        return scanner.string().flatMap { $0.contains(UInt8(ascii: "\\")) ? nil : String(validating: $0, as: UTF8.self) }
      }
      guard scanner.skipValue() else { return nil }
    }
    return nil
  }

  private struct Scanner {
    var rest: ArraySlice<UInt8>

    private mutating func skipSpace() {
      rest = rest.drop { $0 == 0x20 || $0 == 0x09 || $0 == 0x0a || $0 == 0x0d }
    }

    mutating func take(_ mark: Unicode.Scalar) -> Bool {
      skipSpace()
      guard rest.first == UInt8(ascii: mark) else { return false }
      rest.removeFirst()
      return true
    }

    /// Reads a string, and returns the bytes between its quotes; nil when there is no complete string.
    mutating func string() -> ArraySlice<UInt8>? {
      guard take("\"") else { return nil }
      var isEscaped = false
      for index in rest.indices {
        if isEscaped {
          isEscaped = false
        } else if rest[index] == UInt8(ascii: "\\") {
          isEscaped = true
        } else if rest[index] == UInt8(ascii: "\"") {
          defer { rest = rest[(index + 1)...] }
          return rest[..<index]
        }
      }
      return nil
    }

    /// Skips a value and the comma after it; returns false if there is none.
    mutating func skipValue() -> Bool {
      var depth = 0
      while let byte = rest.first {
        switch byte {
        case UInt8(ascii: "\""):
          guard string() != nil else { return false }
          continue
        case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
        case UInt8(ascii: "]"), UInt8(ascii: "}"):
          depth -= 1
          if depth < 0 { return false }
        case UInt8(ascii: ",") where depth == 0:
          rest.removeFirst()
          return true
        default: break
        }
        rest.removeFirst()
      }
      return false
    }
  }
}
