// JSON: JSON that keeps the order of members and the kinds of numbers (RFC 8259).
// Pure: bytes in, `RPCValue` out, and back. For every way to a device or a back end.

/// What a JSON document may ask of the reader.
///
/// A document over a limit is refused while it is read, before it has cost more than the limit.
package struct JSONLimits: Sendable, Hashable {
  /// The most arrays and objects inside each other, 0 to 128, by default 32.
  ///
  /// The reader recurses, so no setting can make a document exhaust a thread's stack.
  package let maxDepth: Int

  /// The most values in a document, by default 65,536.
  ///
  /// Every value counts, arrays and objects themselves and everything in them; names do not.
  package let maxItems: Int

  /// Limits; a depth outside of 0 to 128 is brought into it.
  package init(maxDepth: Int = 32, maxItems: Int = 65_536) {
    self.maxDepth = min(max(maxDepth, 0), 128)
    self.maxItems = maxItems
  }

  /// The default limits.
  package static let standard = JSONLimits()
}

/// Why a document is not JSON that we read, and where.
package struct JSONError: Error, Hashable, Sendable {
  /// What was wrong.
  package let kind: Kind

  /// Bytes before the place where it was wrong, from 0 to the length of the document.
  package let offset: Int

  /// What can be wrong with a document.
  package enum Kind: Hashable, Sendable {
    /// The document ends where something had to follow.
    case unexpectedEnd(expected: Expected)
    /// A byte that cannot be here.
    case unexpectedByte(UInt8, expected: Expected)
    /// A control character (below 0x20) inside a string, where it must be escaped.
    case controlCharacter(UInt8)
    /// Bytes in a string that are not UTF-8 (RFC 3629).
    case invalidUTF8
    /// An escape with half of a surrogate pair.
    case loneSurrogate
    /// A number beyond the range of a double, such as `1e999`.
    case numberOutOfRange
    /// A whole number beyond 64 bits that no double is equal to.
    case inexactInteger
    /// More arrays and objects inside each other than this limit.
    case tooDeep(limit: Int)
    /// More values than this limit.
    case tooManyItems(limit: Int)
  }

  /// What could have been at a place.
  package enum Expected: String, Hashable, Sendable {
    case value = "a value"
    case name = "a name in quotes"
    case colon = "':'"
    case commaOrBracket = "',' or ']'"
    case commaOrBrace = "',' or '}'"
    case digit = "a digit"
    case noDigit = "no digit after a leading zero"
    case literal = "true, false or null"
    case quote = "the end of a string"
    case escape = "an escape"
    case hexDigit = "four hexadecimal digits"
    case end = "the end of the document"
  }
}

extension JSONError: CustomStringConvertible {
  /// A sentence such as `JSON: expected a value, found '}' at byte 12`.
  package var description: String {
    let problem =
      switch kind {
      case .unexpectedEnd(let expected): "expected \(expected.rawValue), found the end"
      case .unexpectedByte(let byte, let expected):
        "expected \(expected.rawValue), found \(Self.quoted(byte))"
      case .controlCharacter(let byte): "control character \(Self.quoted(byte)) in a string"
      case .invalidUTF8: "invalid UTF-8"
      case .loneSurrogate: "half of a surrogate pair"
      case .numberOutOfRange: "number out of range"
      case .inexactInteger: "whole number of more than 64 bits, and no floating-point number is equal to it,"
      case .tooDeep(let limit): "more than \(limit) levels"
      case .tooManyItems(let limit): "more than \(limit) values"
      }
    return "JSON: \(problem) at byte \(offset)"
  }

  private static func quoted(_ byte: UInt8) -> String {
    switch byte {
    case 0x21...0x7E: "'\(Unicode.Scalar(byte))'"
    default: "byte 0x\(byte < 0x10 ? "0" : "")\(String(byte, radix: 16, uppercase: true))"
    }
  }
}
