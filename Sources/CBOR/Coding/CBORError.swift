/// What is wrong with a CBOR message, and at which byte.
public struct CBORError: Error, Hashable, CustomStringConvertible {
  /// The ways a message can be refused.
  public enum Kind: Sendable, Hashable, CaseIterable {
    /// The message ends inside an item, or declares more than it has.
    case truncated
    /// The bytes are not an item head (RFC 8949, section 3 and appendix F).
    case malformed
    /// The nesting is deeper than ``CBORLimits/maxDepth``.
    case depthExceeded
    /// There are more items than ``CBORLimits/maxItems``.
    case itemsExceeded
    /// A string is longer than ``CBORLimits/maxStringBytes``.
    case stringTooLong
    /// Bytes follow the one top-level item.
    case trailingBytes
    /// A text string is not UTF-8 (RFC 8949, section 3.1).
    case invalidUTF8
    /// A break stands where no indefinite-length item is open (RFC 8949, section 3.2.1).
    case unexpectedBreak
    /// A map ends after a key (RFC 8949, section 3.2.2).
    case missingValue
    /// A chunk of an indefinite-length string has another type, or is itself of indefinite length
    /// (RFC 8949, section 3.2.3).
    case invalidChunk
    /// A map key is not one the reading code accepts; never raised by ``CBORReader``.
    case keyNotText
    /// A map key occurs twice (RFC 8949, section 5.6); never raised by ``CBORReader``.
    case duplicateKey
    /// An item has a value that the reading code cannot keep as it is; never raised by ``CBORReader``.
    case unkeepable
    /// An item has a type the reading code does not accept; never raised by ``CBORReader``.
    case unexpectedType
  }

  /// The item types an error can name.
  public enum Item: String, Sendable, Hashable, CaseIterable {
    case integer
    case byteString = "byte string"
    case textString = "text string"
    case array
    case map
    case tag
    case number = "floating-point number or simple value"
  }

  /// What is wrong.
  public let kind: Kind

  /// The type of the item at fault, where it is known.
  public let item: Item?

  /// The byte, counted from zero, at which the item at fault begins.
  ///
  /// For ``Kind/invalidUTF8`` it is the first byte that is not UTF-8, for
  /// ``Kind/trailingBytes`` the first byte too many, and for a message that ends where an item
  /// should begin, the length of the message.
  public let offset: Int

  /// Creates an error; public so that code above the reader can report in the same terms.
  public init(_ kind: Kind, _ item: Item? = nil, at offset: Int) {
    self.kind = kind
    self.item = item
    self.offset = offset
  }

  /// A diagnostic such as `CBOR: text string is cut short at byte 12`.
  public var description: String {
    let subject = item?.rawValue ?? (kind == .truncated ? "message" : "item")
    let problem =
      switch kind {
      case .truncated: "\(subject) is cut short"
      case .malformed: "\(subject) is malformed"
      case .depthExceeded: "\(subject) is nested too deeply"
      case .itemsExceeded: "message has too many items"
      case .stringTooLong: "\(subject) is too long"
      case .trailingBytes: "message goes on after its end"
      case .invalidUTF8: "text string is not UTF-8"
      case .unexpectedBreak: "unexpected break"
      case .missingValue: "map key has no value"
      case .invalidChunk: "\(subject) has a chunk of another type"
      case .keyNotText: "map key is not text"
      case .duplicateKey: "map key occurs twice"
      case .unkeepable: "\(subject) has a value that cannot be kept as it is"
      case .unexpectedType: "\(subject) is not what is expected here"
      }
    return "CBOR: \(problem) at byte \(offset)"
  }
}
