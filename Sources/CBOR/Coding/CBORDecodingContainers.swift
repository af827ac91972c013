/// The container over a map.
///
/// The generic `decode` serves the requirements for every standard type: these decode themselves
/// through the single-value container.
struct CBORKeyedDecoding<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let decoder: CBORNodeDecoder
  let pairs: [String: CBORNode]

  var codingPath: [any CodingKey] { decoder.codingPath }

  var allKeys: [Key] {
    pairs.keys.compactMap { Key(stringValue: $0) ?? Int($0).flatMap(Key.init(intValue:)) }
  }

  private func node(_ key: any CodingKey) -> CBORNode? {
    pairs[key.stringValue] ?? key.intValue.flatMap { pairs[String($0)] }
  }

  private func child(_ key: Key) throws -> CBORNodeDecoder {
    guard let node = node(key) else {
      throw DecodingError.keyNotFound(key, decoder.context("No value for \(key)."))
    }
    return decoder.child(node, key)
  }

  func contains(_ key: Key) -> Bool { node(key) != nil }

  func decodeNil(forKey key: Key) throws -> Bool { try child(key).decodeNil() }

  func decode<Value: Decodable>(_ type: Value.Type, forKey key: Key) throws -> Value {
    try child(key).value(type)
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> {
    try child(key).container(keyedBy: type)
  }

  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    try child(key).unkeyedContainer()
  }

  func superDecoder() -> any Decoder {
    decoder.child(node(CBORCodingKey.super) ?? .null, CBORCodingKey.super)
  }

  func superDecoder(forKey key: Key) -> any Decoder {
    decoder.child(node(key) ?? .null, key)
  }
}

/// The container over an array. It does not advance past an item that cannot be decoded.
struct CBORUnkeyedDecoding: UnkeyedDecodingContainer {
  let decoder: CBORNodeDecoder
  let items: [CBORNode]
  private(set) var currentIndex = 0

  init(decoder: CBORNodeDecoder, items: [CBORNode]) {
    self.decoder = decoder
    self.items = items
  }

  var codingPath: [any CodingKey] { decoder.codingPath }
  var count: Int? { items.count }
  var isAtEnd: Bool { currentIndex >= items.count }

  private func child(_ type: Any.Type) throws -> CBORNodeDecoder {
    let key = CBORCodingKey(intValue: currentIndex)
    guard !isAtEnd else {
      throw DecodingError.valueNotFound(
        type,
        DecodingError.Context(
          codingPath: codingPath + [key], debugDescription: "The array has no further item."))
    }
    return decoder.child(items[currentIndex], key)
  }

  private mutating func take<Result>(
    _ type: Any.Type, _ body: (CBORNodeDecoder) throws -> Result
  ) throws -> Result {
    let result = try body(child(type))
    currentIndex += 1
    return result
  }

  mutating func decodeNil() throws -> Bool {
    let isNil = try child(Never.self).decodeNil()
    if isNil { currentIndex += 1 }
    return isNil
  }

  mutating func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
    try take(type) { try $0.value(type) }
  }

  mutating func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type
  ) throws -> KeyedDecodingContainer<Nested> {
    try take(KeyedDecodingContainer<Nested>.self) { try $0.container(keyedBy: type) }
  }

  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
    try take((any UnkeyedDecodingContainer).self) { try $0.unkeyedContainer() }
  }

  mutating func superDecoder() throws -> any Decoder {
    try take((any Decoder).self) { $0 }
  }
}
