internal import OrderedCollections

/// Encodes an `Encodable` value as an ``RPCValue``.
///
/// Numbers keep their type: an `Int` becomes a whole number, a `Double` a float. `[UInt8]` and `Data` become byte strings,
/// and `Date` becomes seconds since 1970 as a float. A type that encodes nothing becomes `{}`.
public struct RPCValueEncoder: Sendable {
  /// An encoder; it has no settings.
  public init() {}

  /// Encodes the value.
  ///
  /// - Throws: `EncodingError` with the coding path if the value is nested deeper than 128 levels, and the errors of its own
  ///   conformance.
  public func encode(_ value: some Encodable) throws -> RPCValue {
    let node = EncodingNode()
    try ValueEncoder(node: node, codingPath: [], depth: 0).encode(value)
    return node.result
  }
}

/// A node of the result, which its encoder fills, possibly later (`superEncoder`).
///
/// If a conformance erroneously requests a second kind of container, the last one is used.
final class EncodingNode {
  enum Kind { case value, array, object }

  // One property for each kind, since appending to the payload of an enumeration would copy it each time.
  var kind = Kind.object
  var value = RPCValue.null { didSet { kind = .value } }
  var elements: [EncodingNode] = []
  var members: OrderedDictionary<String, EncodingNode> = [:]

  var result: RPCValue {
    switch kind {
    case .value: value
    case .array: .array(elements.map(\.result))
    case .object: .object(RPCObject(members.map { ($0.key, $0.value.result) }))
    }
  }
}

/// The encoder of one node, and its single-value container.
struct ValueEncoder: Encoder, SingleValueEncodingContainer {
  let node: EncodingNode
  let codingPath: [any CodingKey]
  let depth: Int
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    node.kind = .object
    return KeyedEncodingContainer(KeyedNodes(encoder: self))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    node.kind = .array
    return UnkeyedNodes(encoder: self)
  }

  func singleValueContainer() -> any SingleValueEncodingContainer { self }

  func encodeNil() { node.value = .null }

  func encode<T: Encodable>(_ value: T) throws {
    guard depth <= maxCodingDepth else {
      throw EncodingError.invalidValue(
        value,
        EncodingError.Context(
          codingPath: codingPath, debugDescription: "More than \(maxCodingDepth) levels"))
    }
    if let direct = value as? any DirectlyCoded {
      node.value = direct.coded
    } else {
      try value.encode(to: ValueEncoder(node: node, codingPath: codingPath, depth: depth + 1))
    }
  }

  func child(at key: some CodingKey) -> ValueEncoder {
    ValueEncoder(node: EncodingNode(), codingPath: codingPath + [key], depth: depth + 1)
  }
}

private struct KeyedNodes<Key: CodingKey>: KeyedEncodingContainerProtocol {
  let encoder: ValueEncoder
  var codingPath: [any CodingKey] { encoder.codingPath }

  func encodeNil(forKey key: Key) { child(at: key).encodeNil() }

  func encode<T: Encodable>(_ value: T, forKey key: Key) throws {
    try child(at: key).encode(value)
  }

  func nestedContainer<NestedKey: CodingKey>(
    keyedBy keyType: NestedKey.Type, forKey key: Key
  ) -> KeyedEncodingContainer<NestedKey> {
    child(at: key).container(keyedBy: keyType)
  }

  func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
    child(at: key).unkeyedContainer()
  }

  func superEncoder() -> any Encoder { child(at: NameKey("super")) }

  func superEncoder(forKey key: Key) -> any Encoder { child(at: key) }

  private func child(at key: some CodingKey) -> ValueEncoder {
    let child = encoder.child(at: key)
    encoder.node.members[key.stringValue] = child.node
    return child
  }
}

private struct UnkeyedNodes: UnkeyedEncodingContainer {
  let encoder: ValueEncoder
  var codingPath: [any CodingKey] { encoder.codingPath }
  var count: Int { encoder.node.elements.count }

  func encodeNil() { child().encodeNil() }

  func encode<T: Encodable>(_ value: T) throws { try child().encode(value) }

  func nestedContainer<NestedKey: CodingKey>(
    keyedBy keyType: NestedKey.Type
  ) -> KeyedEncodingContainer<NestedKey> {
    child().container(keyedBy: keyType)
  }

  func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { child().unkeyedContainer() }

  func superEncoder() -> any Encoder { child() }

  private func child() -> ValueEncoder {
    let child = encoder.child(at: NameKey(index: count))
    encoder.node.elements.append(child.node)
    return child
  }
}
