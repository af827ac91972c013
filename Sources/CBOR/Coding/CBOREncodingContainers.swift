/// The container over a map.
///
/// The generic `encode` serves the requirements for every standard type: these encode themselves
/// through the single-value container.
struct CBORKeyedEncoding<Key: CodingKey>: KeyedEncodingContainerProtocol {
  let encoder: CBORElementEncoder

  var codingPath: [any CodingKey] { encoder.codingPath }

  func encodeNil(forKey key: Key) { encoder.child(forKey: key).encodeNil() }

  func encode<Value: Encodable>(_ value: Value, forKey key: Key) throws {
    try encoder.child(forKey: key).encode(value)
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) -> KeyedEncodingContainer<Nested> {
    encoder.child(forKey: key, keeping: true).container(keyedBy: type)
  }

  func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
    encoder.child(forKey: key, keeping: true).unkeyedContainer()
  }

  func superEncoder() -> any Encoder { encoder.child(forKey: CBORCodingKey.super) }

  func superEncoder(forKey key: Key) -> any Encoder { encoder.child(forKey: key) }
}

/// The container over an array.
struct CBORUnkeyedEncoding: UnkeyedEncodingContainer {
  let encoder: CBORElementEncoder

  var codingPath: [any CodingKey] { encoder.codingPath }
  var count: Int { encoder.children.count }

  func encodeNil() { encoder.appendChild().encodeNil() }

  func encode<Value: Encodable>(_ value: Value) throws {
    try encoder.appendChild().encode(value)
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type
  ) -> KeyedEncodingContainer<Nested> {
    encoder.appendChild().container(keyedBy: type)
  }

  func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
    encoder.appendChild().unkeyedContainer()
  }

  func superEncoder() -> any Encoder { encoder.appendChild() }
}
