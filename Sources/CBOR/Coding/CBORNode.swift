/// A whole item in memory, as the Codable coders see it.
enum CBORNode: Sendable {
  case unsigned(UInt64)
  case negative(UInt64)
  case bytes([UInt8])
  case text(String)
  case array([CBORNode])
  case map([String: CBORNode])
  indirect case tagged(UInt64, CBORNode)
  case single(Float)
  case double(Double)
  case bool(Bool)
  case null
  case simple(UInt8)

  /// The item without the tags around it.
  ///
  /// RFC 8949, section 3.4, lets a decoder that does not know a tag pass on its content.
  var untagged: CBORNode {
    var node = self
    while case .tagged(_, let content) = node { node = content }
    return node
  }

  /// Whether it is a bignum: a number of any length in a byte string (RFC 8949, section 3.4.3).
  var isBignum: Bool {
    var node = self
    var last: UInt64?
    while case .tagged(let tag, let content) = node { (node, last) = (content, tag) }
    return last == 2 || last == 3
  }

  /// The name of the item's type for diagnostics.
  var typeName: String {
    switch self {
    case .unsigned, .negative: "an integer"
    case .bytes: "a byte string"
    case .text: "a text string"
    case .array: "an array"
    case .map: "a map"
    case .tagged(let tag, _): "an item with tag \(tag)"
    case .single, .double: "a floating-point number"
    case .bool: "a boolean"
    case .null: "null"
    case .simple(let value): "simple value \(value)"
    }
  }
}

extension CBORNode {
  /// Reads a message that is one item and nothing more.
  init(reading bytes: some Collection<UInt8>, limits: CBORLimits) throws(CBORError) {
    var reader = CBORReader(bytes, limits: limits)
    self = try Self.item(try reader.next(), from: &reader)
    try reader.finish()
  }

  /// Reads the item that begins with `token`; the reader's limit on nesting bounds the recursion.
  private static func item(
    _ token: CBORToken?, from reader: inout CBORReader
  ) throws(CBORError) -> CBORNode {
    switch token {
    case .unsigned(let value): return .unsigned(value)
    case .negative(let value): return .negative(value)
    case .bytes(let value): return .bytes(value)
    case .text(let value): return .text(value)
    case .float(let value, _): return .double(value)
    case .bool(let value): return .bool(value)
    case .null, .undefined: return .null
    case .simple(let value): return .simple(value)
    case .tag(let tag): return .tagged(tag, try item(try reader.next(), from: &reader))
    case .beginArray: return .array(try items(from: &reader))
    case .beginMap: return .map(try pairs(from: &reader))
    case .end, nil: throw CBORError(.unexpectedType, at: reader.tokenOffset)
    }
  }

  private static func items(from reader: inout CBORReader) throws(CBORError) -> [CBORNode] {
    var items: [CBORNode] = []
    while let token = try reader.next(), token != .end {
      items.append(try item(token, from: &reader))
    }
    return items
  }

  private static func pairs(
    from reader: inout CBORReader
  ) throws(CBORError) -> [String: CBORNode] {
    var pairs: [String: CBORNode] = [:]
    while let token = try reader.next(), token != .end {
      let offset = reader.tokenOffset
      guard let key = key(token) else { throw CBORError(.keyNotText, at: offset) }
      let value = try item(try reader.next(), from: &reader)
      // If a key occurs twice, neither value can be trusted (RFC 8949, section 5.6).
      guard pairs.updateValue(value, forKey: key) == nil else {
        throw CBORError(.duplicateKey, at: offset)
      }
    }
    return pairs
  }

  /// The name of a map key. Integer keys are named by their decimal digits, as in Codable.
  private static func key(_ token: CBORToken) -> String? {
    switch token {
    case .text(let value): value
    case .unsigned(let value): String(value)
    case .negative(let value): Int64(exactly: value).map { String(~$0) }
    default: nil
    }
  }
}

/// A coding key made of an index or a name.
struct CBORCodingKey: CodingKey {
  let stringValue: String
  let intValue: Int?

  init(stringValue: String) {
    self.stringValue = stringValue
    self.intValue = nil
  }

  init(intValue: Int) {
    self.stringValue = String(intValue)
    self.intValue = intValue
  }

  static let `super` = CBORCodingKey(stringValue: "super")
}
