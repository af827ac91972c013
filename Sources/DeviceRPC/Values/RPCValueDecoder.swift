#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// Decodes a `Decodable` type from an ``RPCValue``.
///
/// Devices differ in how they write numbers. So whole numbers decode from floats without a fraction (`1337.0` as 1337), and
/// floats from whole numbers. Byte strings decode as `[UInt8]` and `Data`, which also decode from base64 text and from lists of
/// numbers. `Date` decodes from seconds since 1970.
public struct RPCValueDecoder: Sendable {
  /// A decoder; it has no settings.
  public init() {}

  /// Decodes this type from the value.
  ///
  /// - Throws: `DecodingError` with the coding path if the value does not have the form of the type, if a number does not fit, or
  ///   if the value is nested deeper than 128 levels; and the errors of the type's own conformance.
  public func decode<T: Decodable>(_ type: T.Type = T.self, from value: RPCValue) throws -> T {
    try ValueDecoder(value: value, codingPath: [], depth: 0).decode(type)
  }
}

/// The decoder of a value at a coding path, and its single-value container.
struct ValueDecoder: Decoder, SingleValueDecodingContainer {
  let value: RPCValue
  let codingPath: [any CodingKey]
  let depth: Int
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    guard case .object(let object) = value else { throw mismatch([String: RPCValue].self) }
    return KeyedDecodingContainer(KeyedValues(object: object, decoder: self))
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
    guard case .array(let elements) = value else { throw mismatch([RPCValue].self) }
    return UnkeyedValues(elements: elements, decoder: self)
  }

  func singleValueContainer() -> any SingleValueDecodingContainer { self }

  func decodeNil() -> Bool { value.isNull }

  func decode<T: Decodable>(_ type: T.Type) throws -> T {
    guard depth <= maxCodingDepth else {
      throw DecodingError.dataCorrupted(context("More than \(maxCodingDepth) levels"))
    }
    if let direct = type as? any (DirectlyCoded & Decodable).Type {
      if let result = direct.init(coded: value) as? T { return result }
      // `[UInt8]` and `Data` can decode lists of numbers by their own conformance.
      guard case .array = value, type == [UInt8].self || type == Data.self else {
        throw mismatch(type)
      }
    }
    return try T(from: ValueDecoder(value: value, codingPath: codingPath, depth: depth + 1))
  }

  func child(_ value: RPCValue, at key: some CodingKey) -> ValueDecoder {
    ValueDecoder(value: value, codingPath: codingPath + [key], depth: depth + 1)
  }

  func context(_ description: String) -> DecodingError.Context {
    DecodingError.Context(codingPath: codingPath, debugDescription: description)
  }

  private func mismatch(_ type: any Any.Type) -> DecodingError {
    switch value {
    case .null: return .valueNotFound(type, context("Expected \(type), found null"))
    case .integer, .unsigned, .double:
      if type is any Numeric.Type {
        return .dataCorrupted(context("\(value) does not fit \(type)"))
      }
    case .string where type is [UInt8].Type || type is Data.Type:
      return .dataCorrupted(context("The text is not base64"))
    default: break
    }
    return .typeMismatch(type, context("Expected \(type), found \(value.kind)"))
  }
}

private struct KeyedValues<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let object: RPCObject
  let decoder: ValueDecoder
  var codingPath: [any CodingKey] { decoder.codingPath }
  var allKeys: [Key] { object.compactMap { Key(stringValue: $0.key) } }

  func contains(_ key: Key) -> Bool { object[key.stringValue] != nil }

  func decodeNil(forKey key: Key) throws -> Bool { try child(at: key).decodeNil() }

  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
    try child(at: key).decode(type)
  }

  func nestedContainer<NestedKey: CodingKey>(
    keyedBy type: NestedKey.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<NestedKey> {
    try child(at: key).container(keyedBy: type)
  }

  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    try child(at: key).unkeyedContainer()
  }

  func superDecoder() throws -> any Decoder { try child(at: NameKey("super")) }

  func superDecoder(forKey key: Key) throws -> any Decoder { try child(at: key) }

  private func child(at key: some CodingKey) throws -> ValueDecoder {
    guard let value = object[key.stringValue] else {
      throw DecodingError.keyNotFound(
        key, decoder.context("There is no member \"\(key.stringValue)\""))
    }
    return decoder.child(value, at: key)
  }
}

private struct UnkeyedValues: UnkeyedDecodingContainer {
  let elements: [RPCValue]
  let decoder: ValueDecoder
  private(set) var currentIndex = 0
  var codingPath: [any CodingKey] { decoder.codingPath }
  var count: Int? { elements.count }
  var isAtEnd: Bool { currentIndex >= elements.count }

  init(elements: [RPCValue], decoder: ValueDecoder) {
    self.elements = elements
    self.decoder = decoder
  }

  mutating func decodeNil() throws -> Bool {
    guard try next(of: RPCValue.self).decodeNil() else { return false }
    currentIndex += 1
    return true
  }

  mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
    let result = try next(of: type).decode(type)
    currentIndex += 1
    return result
  }

  mutating func nestedContainer<NestedKey: CodingKey>(
    keyedBy type: NestedKey.Type
  ) throws -> KeyedDecodingContainer<NestedKey> {
    let result = try next(of: RPCObject.self).container(keyedBy: type)
    currentIndex += 1
    return result
  }

  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
    let result = try next(of: [RPCValue].self).unkeyedContainer()
    currentIndex += 1
    return result
  }

  mutating func superDecoder() throws -> any Decoder {
    let result = try next(of: RPCValue.self)
    currentIndex += 1
    return result
  }

  private func next(of type: any Any.Type) throws -> ValueDecoder {
    let key = NameKey(index: currentIndex)
    guard !isAtEnd else {
      throw DecodingError.valueNotFound(
        type,
        DecodingError.Context(
          codingPath: codingPath + [key],
          debugDescription: "There are only \(elements.count) elements"))
    }
    return decoder.child(elements[currentIndex], at: key)
  }
}

extension RPCValue {
  /// The kind of value, for an error message, which must not contain a large value.
  fileprivate var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a Boolean"
    case .integer, .unsigned, .double: "a number"
    case .string: "text"
    case .bytes: "a byte string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}
