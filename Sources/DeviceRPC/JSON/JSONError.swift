// JSON: a reader and a writer that keep the order of members and the kinds of numbers (RFC 8259).
// Pure: from bytes to `RPCValue` and back, for every transport.

/// The limits for JSON documents.
///
/// A document over a limit is refused while it is read, before it has cost more than the limit.
package struct JSONLimits: Sendable, Hashable {
  /// The maximum depth of nested arrays and objects, 0 to 128, by default 32.
  ///
  /// The reader is recursive; the bound of 128 ensures that no document exhausts a thread's stack.
  package let maxDepth: Int

  /// The maximum number of values in a document, by default 65,536.
  ///
  /// Every value counts: arrays and objects themselves, and everything in them. Names do not count.
  package let maxItems: Int

  /// Creates limits; a depth outside of 0 to 128 is clamped.
  package init(maxDepth: Int = 32, maxItems: Int = 65_536) {
    self.maxDepth = min(max(maxDepth, 0), 128)
    self.maxItems = maxItems
  }

  /// The default limits.
  package static let standard = JSONLimits()
}

/// Why a document cannot be read as JSON, and where.
package struct JSONError: Error, Hashable, Sendable {
  /// What was wrong.
  package let kind: Kind

  /// The byte offset of the error, from 0 to the length of the document.
  package let offset: Int

  /// What can be wrong with a document.
  package enum Kind: Hashable, Sendable {
    /// The document ends too early.
    case unexpectedEnd(expected: Expected)
    /// A byte that is not allowed at this place.
    case unexpectedByte(UInt8, expected: Expected)
    /// A control character (below 0x20) inside a string, where it must be escaped.
    case controlCharacter(UInt8)
    /// Bytes in a string that are not UTF-8 (RFC 3629).
    case invalidUTF8
    /// An escape with half of a surrogate pair.
    case loneSurrogate
    /// A number beyond the range of a double, such as `1e999`.
    case numberOutOfRange
    /// A whole number of more than 64 bits that is not equal to any double.
    case inexactInteger
    /// Arrays and objects nested deeper than this limit.
    case tooDeep(limit: Int)
    /// More values than this limit.
    case tooManyItems(limit: Int)
  }

  /// What was expected at a place.
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
