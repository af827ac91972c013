#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

/// Encodes `Encodable` values as CBOR messages.
///
/// - Arrays and maps have a definite length; map keys are text in the order they are encoded.
/// - `Float` takes 32 bits and `Double` 64, whole or not.
/// - `Data` and `[UInt8]` become byte strings.
/// - `Date` becomes seconds since 1970 under tag 1, as an integer if it is one
///   (RFC 8949, section 3.4.2).
public struct CBOREncoder: Sendable {
  /// The limits. Only ``CBORLimits/maxDepth`` applies to encoding.
  public var limits: CBORLimits

  /// Values that the types being encoded can look up.
  public var userInfo: [CodingUserInfoKey: any Sendable] = [:]

  /// Creates an encoder.
  public init(limits: CBORLimits = .default) {
    self.limits = limits
  }

  /// Encodes a value as a message of one item.
  ///
  /// - Throws: `EncodingError.invalidValue` if the value is nested too deeply or encodes nothing,
  ///   and whatever the value throws.
  public func encode(_ value: some Encodable) throws -> [UInt8] {
    let root = CBORElementEncoder(
      codingPath: [], shared: .init(limits: limits, userInfo: userInfo), depth: 0, calls: 0)
    try root.encode(value)
    if case .nothing = root.content {
      throw EncodingError.invalidValue(value, root.context("The value encodes nothing."))
    }
    var writer = CBORWriter()
    try root.write(to: &writer)
    return writer.bytes
  }
}

/// The encoder of one item, which keeps the item until all of the message is known.
///
/// In CBOR counts come before the content, so nothing can be written earlier. It is a class because
/// Codable hands out containers that write into the same item.
final class CBORElementEncoder: Encoder {
  enum Content {
    case nothing
    case scalar(CBORNode)
    case container(Container)
  }

  enum Container {
    case array
    case map
  }

  /// What all encoders of a message have in common.
  final class Shared {
    let limits: CBORLimits
    let userInfo: [CodingUserInfoKey: any Sendable]

    init(limits: CBORLimits, userInfo: [CodingUserInfoKey: any Sendable]) {
      self.limits = limits
      self.userInfo = userInfo
    }
  }

  let codingPath: [any CodingKey]
  private let shared: Shared
  /// The arrays and maps around this item.
  private let depth: Int
  /// The calls of `encode(to:)` around this item.
  private var calls: Int
  private(set) var content = Content.nothing
  private(set) var children: [CBORElementEncoder] = []
  private var keys: [String] = []
  private var places: [String: Int] = [:]

  var userInfo: [CodingUserInfoKey: Any] { shared.userInfo }

  init(codingPath: [any CodingKey], shared: Shared, depth: Int, calls: Int) {
    self.codingPath = codingPath
    self.shared = shared
    self.depth = depth
    self.calls = calls
  }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    hold(.map)
    return KeyedEncodingContainer(CBORKeyedEncoding(encoder: self))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    hold(.array)
    return CBORUnkeyedEncoding(encoder: self)
  }

  func singleValueContainer() -> any SingleValueEncodingContainer { self }

  /// Makes this item an array or a map. If it is one already, its content is kept.
  private func hold(_ container: Container) {
    if case .container(container) = content { return }
    content = .container(container)
    children = []
    keys = []
    places = [:]
  }

  /// A new item at the end of this array.
  func appendChild() -> CBORElementEncoder {
    let child = child(CBORCodingKey(intValue: children.count))
    children.append(child)
    return child
  }

  /// The item for a key of this map. A second value for a key replaces the first.
  func child(forKey key: any CodingKey, keeping: Bool = false) -> CBORElementEncoder {
    let name = key.stringValue
    if let place = places[name] {
      // A nested container that is requested again is continued.
      if !keeping { children[place] = child(key) }
      return children[place]
    }
    let child = child(key)
    places[name] = children.count
    keys.append(name)
    children.append(child)
    return child
  }

  private func child(_ key: any CodingKey) -> CBORElementEncoder {
    CBORElementEncoder(
      codingPath: codingPath + [key], shared: shared, depth: depth + 1, calls: calls)
  }

  func context(_ description: String) -> EncodingError.Context {
    EncodingError.Context(codingPath: codingPath, debugDescription: description)
  }

  func set(_ node: CBORNode) {
    content = .scalar(node)
  }
}

extension CBORElementEncoder {
  /// Writes the item and all in it; the limit on nesting bounds the recursion.
  func write(to writer: inout CBORWriter) throws {
    switch content {
    case .nothing:
      try open()
      writer.beginMap(count: 0)
    case .scalar(.tagged(let tag, let node)):
      try open()
      writer.appendTag(tag)
      writer.append(scalar: node)
    case .scalar(let node):
      writer.append(scalar: node)
    case .container(.array):
      try open()
      writer.beginArray(count: children.count)
      for child in children { try child.write(to: &writer) }
    case .container(.map):
      try open()
      writer.beginMap(count: keys.count)
      for (key, child) in zip(keys, children) {
        writer.appendText(key)
        try child.write(to: &writer)
      }
    }
  }

  private func open() throws {
    guard depth < shared.limits.maxDepth else {
      throw EncodingError.invalidValue(
        codingPath.map(\.stringValue), context("The value is nested too deeply."))
    }
  }
}

extension CBORElementEncoder: SingleValueEncodingContainer {
  /// Encodes a value of any type. The types that have their own CBOR item type come first.
  func encode<Value: Encodable>(_ value: Value) throws {
    if Value.self == [UInt8].self, let bytes = value as? [UInt8] { return set(.bytes(bytes)) }
    if Value.self == Data.self, let data = value as? Data { return set(.bytes(Array(data))) }
    if Value.self == Date.self, let date = value as? Date { return encode(date) }
    // Optionals and other wrappers add a call, but no level of nesting.
    guard calls < 4 * shared.limits.maxDepth else {
      throw EncodingError.invalidValue(value, context("The value is nested too deeply."))
    }
    calls += 1
    defer { calls -= 1 }
    try value.encode(to: self)
  }

  private func encode(_ date: Date) {
    let seconds = date.timeIntervalSince1970
    set(.tagged(1, Int64(exactly: seconds).map(CBORNode.init(integer:)) ?? .double(seconds)))
  }

  func encodeNil() { set(.null) }
  func encode(_ value: Bool) { set(.bool(value)) }
  func encode(_ value: String) { set(.text(value)) }
  func encode(_ value: Double) { set(.double(value)) }
  func encode(_ value: Float) { set(.single(value)) }
  func encode(_ value: Int) { set(.init(integer: Int64(value))) }
  func encode(_ value: Int8) { set(.init(integer: Int64(value))) }
  func encode(_ value: Int16) { set(.init(integer: Int64(value))) }
  func encode(_ value: Int32) { set(.init(integer: Int64(value))) }
  func encode(_ value: Int64) { set(.init(integer: value)) }
  func encode(_ value: UInt) { set(.unsigned(UInt64(value))) }
  func encode(_ value: UInt8) { set(.unsigned(UInt64(value))) }
  func encode(_ value: UInt16) { set(.unsigned(UInt64(value))) }
  func encode(_ value: UInt32) { set(.unsigned(UInt64(value))) }
  func encode(_ value: UInt64) { set(.unsigned(value)) }

  func encode(_ value: Int128) throws {
    guard let argument = UInt64(exactly: value < 0 ? ~value : value) else {
      throw EncodingError.invalidValue(value, context("The number does not fit in 64 bits."))
    }
    set(value < 0 ? .negative(argument) : .unsigned(argument))
  }

  func encode(_ value: UInt128) throws {
    guard let argument = UInt64(exactly: value) else {
      throw EncodingError.invalidValue(value, context("The number does not fit in 64 bits."))
    }
    set(.unsigned(argument))
  }
}

extension CBORNode {
  init(integer value: Int64) {
    self = value < 0 ? .negative(UInt64(bitPattern: ~value)) : .unsigned(UInt64(bitPattern: value))
  }
}

extension CBORWriter {
  /// Writes an item that holds no other item.
  fileprivate mutating func append(scalar node: CBORNode) {
    switch node {
    case .unsigned(let value): appendUnsigned(value)
    case .negative(let value): appendNegative(value)
    case .bytes(let value): appendBytes(value)
    case .text(let value): appendText(value)
    case .single(let value): appendSingle(value)
    case .double(let value): appendDouble(value)
    case .bool(let value): appendBool(value)
    case .null, .array, .map, .tagged, .simple: appendNull()
    }
  }
}
