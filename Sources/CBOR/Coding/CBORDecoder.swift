// Coding: CBOR for Swift's `Codable` types, with its limits and errors.
// For DeviceSimulator and for users; built on the tokens of the room Stream.

#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// Decodes `Decodable` values from CBOR messages.
///
/// - Integers are read as floating-point numbers and whole floating-point numbers as integers where
///   they fit; a number that does not fit is `DecodingError.dataCorrupted`.
/// - An integer that `Double` or `Float` cannot represent exactly does not fit either.
/// - `Data` and `[UInt8]` are read from byte strings and from arrays of integers, but not from
///   bignums (tags 2 and 3).
/// - `Date` is read from a number of seconds since 1970, with or without tag 1 (RFC 8949, section
///   3.4.2).
/// - Other tags are ignored. Undefined is read as null.
/// - Map keys are text; integer keys match the `intValue` of a coding key or its decimal digits.
public struct CBORDecoder: Sendable {
  /// The limits for a message.
  public var limits: CBORLimits

  /// Values that the types being decoded can look up.
  public var userInfo: [CodingUserInfoKey: any Sendable] = [:]

  /// Creates a decoder.
  public init(limits: CBORLimits = .default) {
    self.limits = limits
  }

  /// Decodes a value from a message that consists of one item.
  ///
  /// - Throws: `DecodingError`. If the message is not well-formed, exceeds a limit, or has two
  ///   equal or unusable map keys, it is `dataCorrupted` with the ``CBORError`` that names the byte
  ///   as underlying error.
  public func decode<Value: Decodable>(
    _ type: Value.Type, from bytes: some Collection<UInt8>
  ) throws -> Value {
    let node: CBORNode
    do throws(CBORError) {
      node = try CBORNode(reading: bytes, limits: limits)
    } catch {
      throw DecodingError.dataCorrupted(
        DecodingError.Context(
          codingPath: [], debugDescription: error.description, underlyingError: error))
    }
    return try CBORNodeDecoder(node: node, codingPath: [], userInfo: userInfo).value(type)
  }
}

/// The decoder of one item.
struct CBORNodeDecoder: Decoder {
  let node: CBORNode
  let codingPath: [any CodingKey]
  private let sendableInfo: [CodingUserInfoKey: any Sendable]

  var userInfo: [CodingUserInfoKey: Any] { sendableInfo }

  init(
    node: CBORNode, codingPath: [any CodingKey], userInfo: [CodingUserInfoKey: any Sendable]
  ) {
    self.node = node
    self.codingPath = codingPath
    self.sendableInfo = userInfo
  }

  func child(_ node: CBORNode, _ key: any CodingKey) -> CBORNodeDecoder {
    CBORNodeDecoder(node: node, codingPath: codingPath + [key], userInfo: sendableInfo)
  }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    guard case .map(let pairs) = node.untagged else { throw mismatch([String: Any].self) }
    return KeyedDecodingContainer(CBORKeyedDecoding(decoder: self, pairs: pairs))
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
    guard case .array(let items) = node.untagged else { throw mismatch([Any].self) }
    return CBORUnkeyedDecoding(decoder: self, items: items)
  }

  func singleValueContainer() -> any SingleValueDecodingContainer { self }
}

extension CBORNodeDecoder {
  /// Decodes a value of any type. The types that have their own CBOR item type come first.
  func value<Value: Decodable>(_ type: Value.Type) throws -> Value {
    if type == Date.self, let date = try date() as? Value { return date }
    if case .bytes(let bytes) = node.untagged, !node.isBignum {
      if type == [UInt8].self, let bytes = bytes as? Value { return bytes }
      if type == Data.self, let data = Data(bytes) as? Value { return data }
    }
    return try Value(from: self)
  }

  private func date() throws -> Date {
    var node = node
    while case .tagged(let tag, let content) = node {
      // Of nested tags, the innermost one defines what the number is.
      if case .tagged = content {} else if tag != 1 { throw mismatch(Date.self) }
      node = content
    }
    return Date(timeIntervalSince1970: try number())
  }

  private func integer<Value: FixedWidthInteger>() throws -> Value {
    let value: Value?
    switch node.untagged {
    case .unsigned(let argument): value = Value(exactly: argument)
    // In two's complement the inverted bits of a number are -1 minus the number.
    case .negative(let argument): value = Value.isSigned ? Value(exactly: argument).map(~) : nil
    case .single(let number): value = Value(exactly: number)
    case .double(let number): value = Value(exactly: number)
    default: throw mismatch(Value.self)
    }
    guard let value else { throw misfit(Value.self) }
    return value
  }

  private func number<Value: BinaryFloatingPoint>() throws -> Value {
    switch node.untagged {
    case .unsigned(let argument):
      guard let value = Value(exactly: argument) else { throw misfit(Value.self) }
      return value
    case .negative(let argument):
      guard let value = Value(exactly: -1 - Int128(argument)) else { throw misfit(Value.self) }
      return value
    case .single(let number): return Value(number)
    case .double(let number):
      let value = Value(number)
      guard value.isInfinite == number.isInfinite else { throw misfit(Value.self) }
      return value
    default: throw mismatch(Value.self)
    }
  }

  func mismatch(_ type: Any.Type) -> DecodingError {
    if case .null = node.untagged {
      return .valueNotFound(type, context("Expected \(type) but found null."))
    }
    return .typeMismatch(type, context("Expected \(type) but found \(node.typeName)."))
  }

  private func misfit(_ type: Any.Type) -> DecodingError {
    .dataCorrupted(context("The number does not fit in \(type)."))
  }

  func context(_ description: String) -> DecodingError.Context {
    DecodingError.Context(codingPath: codingPath, debugDescription: description)
  }
}

extension CBORNodeDecoder: SingleValueDecodingContainer {
  func decodeNil() -> Bool {
    if case .null = node.untagged { true } else { false }
  }

  func decode(_ type: Bool.Type) throws -> Bool {
    guard case .bool(let value) = node.untagged else { throw mismatch(type) }
    return value
  }

  func decode(_ type: String.Type) throws -> String {
    guard case .text(let value) = node.untagged else { throw mismatch(type) }
    return value
  }

  func decode(_ type: Double.Type) throws -> Double { try number() }
  func decode(_ type: Float.Type) throws -> Float { try number() }
  func decode(_ type: Int.Type) throws -> Int { try integer() }
  func decode(_ type: Int8.Type) throws -> Int8 { try integer() }
  func decode(_ type: Int16.Type) throws -> Int16 { try integer() }
  func decode(_ type: Int32.Type) throws -> Int32 { try integer() }
  func decode(_ type: Int64.Type) throws -> Int64 { try integer() }
  func decode(_ type: Int128.Type) throws -> Int128 { try integer() }
  func decode(_ type: UInt.Type) throws -> UInt { try integer() }
  func decode(_ type: UInt8.Type) throws -> UInt8 { try integer() }
  func decode(_ type: UInt16.Type) throws -> UInt16 { try integer() }
  func decode(_ type: UInt32.Type) throws -> UInt32 { try integer() }
  func decode(_ type: UInt64.Type) throws -> UInt64 { try integer() }
  func decode(_ type: UInt128.Type) throws -> UInt128 { try integer() }
  func decode<Value: Decodable>(_ type: Value.Type) throws -> Value { try value(type) }
}
