/// A value in a call or in its result, as a device sees it.
///
/// It is separate from the server's value type, so that an error there cannot go unnoticed here.
public enum SimulatedValue: Sendable, Hashable {
  case null
  case bool(Bool)
  case int(Int64)
  case double(Double)
  case text(String)
  case bytes([UInt8])
  case array([SimulatedValue])
  /// Members in the order of the message; from JSON, which does not keep the order, they are sorted by name.
  case map([Member])

  /// One member of a map.
  public struct Member: Sendable, Hashable {
    public var key: String
    public var value: SimulatedValue

    public init(_ key: String, _ value: SimulatedValue) {
      self.key = key
      self.value = value
    }
  }

  /// The first member of that name; nil when there is none, or when this is not a map.
  public subscript(key: String) -> SimulatedValue? {
    guard case .map(let members) = self else { return nil }
    return members.first { $0.key == key }?.value
  }

  /// The number, whole or not; nil for anything else.
  public var number: Double? {
    switch self {
    case .int(let value): Double(value)
    case .double(let value): value
    default: nil
    }
  }
}

extension SimulatedValue: ExpressibleByDictionaryLiteral {
  public init(dictionaryLiteral elements: (String, SimulatedValue)...) {
    self = .map(elements.map { Member($0.0, $0.1) })
  }
}

extension SimulatedValue: ExpressibleByArrayLiteral {
  public init(arrayLiteral elements: SimulatedValue...) { self = .array(elements) }
}

extension SimulatedValue: CustomStringConvertible {
  /// The value in CBOR's diagnostic notation (RFC 8949 §8), which is JSON for everything but byte strings (`h'00ff'`)
  /// and numbers that are not finite.
  public var description: String {
    switch self {
    case .null: "null"
    case .bool(let value): "\(value)"
    case .int(let value): "\(value)"
    case .double(let value): value.isNaN ? "NaN" : value.isInfinite ? (value < 0 ? "-Infinity" : "Infinity") : "\(value)"
    case .text(let value): Self.quoted(value)
    case .bytes(let value): "h'" + value.map(Self.hex).joined() + "'"
    case .array(let items): "[" + items.map(\.description).joined(separator: ",") + "]"
    case .map(let members):
      "{" + members.map { "\(Self.quoted($0.key)):\($0.value)" }.joined(separator: ",") + "}"
    }
  }

  private static func hex(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      // The text may be printed on a terminal.
      case _ where scalar.properties.generalCategory == .control:
        result += "\\u00" + hex(UInt8(truncatingIfNeeded: scalar.value))
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
