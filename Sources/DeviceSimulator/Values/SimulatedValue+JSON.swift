internal import FoundationEssentials

extension SimulatedValue {
  /// Reads the value of one JSON document. Throws the errors of Foundation's decoder.
  init(json bytes: [UInt8]) throws {
    self = try JSONDecoder().decode(SimulatedValue.self, from: Data(bytes))
  }

  /// Writes the value as JSON, with its members sorted by name. Byte strings become base64 text.
  ///
  /// Throws `EncodingError` for a number that is not finite, which JSON cannot express.
  func json() throws -> [UInt8] {
    let encoder = JSONEncoder()
    // Otherwise Foundation's order is random; the same result should always have the same text.
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(self))
  }
}

extension SimulatedValue: Codable {
  private struct MemberName: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(_ text: String) { stringValue = text }
    init?(stringValue: String) { self.init(stringValue) }
    init?(intValue: Int) { nil }
  }

  public init(from decoder: any Decoder) throws {
    if let container = try? decoder.container(keyedBy: MemberName.self) {
      self = .map(
        try container.allKeys.sorted { $0.stringValue < $1.stringValue }.map {
          Member($0.stringValue, try container.decode(SimulatedValue.self, forKey: $0))
        })
    } else if var container = try? decoder.unkeyedContainer() {
      var items: [SimulatedValue] = []
      while !container.isAtEnd { items.append(try container.decode(SimulatedValue.self)) }
      self = .array(items)
    } else {
      let container = try decoder.singleValueContainer()
      if container.decodeNil() {
        self = .null
      } else if let value = try? container.decode(Bool.self) {
        self = .bool(value)
      } else if let value = try? container.decode(Int64.self) {
        self = .int(value)
      } else if let value = try? container.decode(Double.self) {
        self = .double(value)
      } else {
        self = .text(try container.decode(String.self))
      }
    }
  }

  public func encode(to encoder: any Encoder) throws {
    switch self {
    case .map(let members):
      var container = encoder.container(keyedBy: MemberName.self)
      for member in members { try container.encode(member.value, forKey: MemberName(member.key)) }
    case .array(let items):
      var container = encoder.unkeyedContainer()
      for item in items { try container.encode(item) }
    default:
      var container = encoder.singleValueContainer()
      switch self {
      case .bool(let value): try container.encode(value)
      case .int(let value): try container.encode(value)
      case .double(let value): try container.encode(value)
      case .text(let value): try container.encode(value)
      case .bytes(let value): try container.encode(Data(value).base64EncodedString())
      case .null, .array, .map: try container.encodeNil()
      }
    }
  }
}
