#if canImport(FoundationEssentials)
  internal import FoundationEssentials
#else
  internal import Foundation
#endif

extension RPCValue: Codable {
  /// Reads a value from any decoder.
  ///
  /// ``RPCValueDecoder`` returns the value unchanged. Other decoders are asked for one type after the other, and many of them,
  /// such as Foundation's JSON decoder, do not distinguish `7` from `7.0`.
  ///
  /// - Throws: `DecodingError` for what this type cannot hold.
  public init(from decoder: any Decoder) throws {
    if let decoder = decoder as? ValueDecoder {
      self = decoder.value
    } else if let members = try? decoder.container(keyedBy: NameKey.self) {
      var object = RPCObject()
      for key in members.allKeys {
        object.updateValue(try members.decode(RPCValue.self, forKey: key), forKey: key.stringValue)
      }
      self = .object(object)
    } else if var elements = try? decoder.unkeyedContainer() {
      var array: [RPCValue] = []
      while !elements.isAtEnd { array.append(try elements.decode(RPCValue.self)) }
      self = .array(array)
    } else {
      self = try Self.scalar(from: decoder.singleValueContainer())
    }
  }

  private static func scalar(from container: any SingleValueDecodingContainer) throws -> RPCValue {
    if container.decodeNil() { return .null }
    if let value = try? container.decode(Bool.self) { return .bool(value) }
    if let value = try? container.decode(Int64.self) { return .integer(value) }
    if let value = try? container.decode(UInt64.self) { return .number(value) }
    if let value = try? container.decode(Double.self) { return .double(value) }
    do {
      return .string(try container.decode(String.self))
    } catch {
      if let value = try? container.decode(Data.self) { return .bytes([UInt8](value)) }
      throw error
    }
  }

  /// Writes the value to any encoder; byte strings are written as `Data`, which JSON encoders turn into base64 text.
  ///
  /// ``RPCValueEncoder`` returns the value unchanged.
  ///
  /// - Throws: `EncodingError` for what the encoder cannot hold, for example NaN in JSON.
  public func encode(to encoder: any Encoder) throws {
    if let encoder = encoder as? ValueEncoder {
      encoder.node.value = self
      return
    }
    switch self {
    case .array(let elements):
      var container = encoder.unkeyedContainer()
      for element in elements { try container.encode(element) }
    case .object(let object):
      var container = encoder.container(keyedBy: NameKey.self)
      for (key, value) in object { try container.encode(value, forKey: NameKey(key)) }
    default:
      var container = encoder.singleValueContainer()
      switch self {
      case .bool(let value): try container.encode(value)
      case .integer(let value): try container.encode(value)
      case .unsigned(let value): try container.encode(value)
      case .double(let value): try container.encode(value)
      case .string(let value): try container.encode(value)
      case .bytes(let value): try container.encode(Data(value))
      case .null, .array, .object: try container.encodeNil()
      }
    }
  }
}

/// A member's name or an element's index in a coding path.
struct NameKey: CodingKey {
  let stringValue: String
  let intValue: Int?

  init(_ name: String) {
    stringValue = name
    intValue = nil
  }

  init(index: Int) {
    stringValue = "Index \(index)"
    intValue = index
  }

  init?(stringValue: String) { self.init(stringValue) }
  init?(intValue: Int) { self.init(index: intValue) }
}

/// How deep values may nest in a conversion.
///
/// The coders are recursive. The limit keeps a type that contains itself from exhausting the stack. It is well above the depth
/// that the readers accept, since each wrapper type also takes a level.
let maxCodingDepth = 128

/// A type that is converted to a single value directly, without using its own `Codable` conformance.
protocol DirectlyCoded {
  /// Nil if the value is of another kind or out of range.
  init?(coded value: RPCValue)
  var coded: RPCValue { get }
}

extension DirectlyCoded where Self: FixedWidthInteger {
  init?(coded value: RPCValue) {
    guard let number = value.exactInteger(as: Self.self) else { return nil }
    self = number
  }
  var coded: RPCValue { RPCValue(self) }
}

extension Int: DirectlyCoded {}
extension Int8: DirectlyCoded {}
extension Int16: DirectlyCoded {}
extension Int32: DirectlyCoded {}
extension Int64: DirectlyCoded {}
extension UInt: DirectlyCoded {}
extension UInt8: DirectlyCoded {}
extension UInt16: DirectlyCoded {}
extension UInt32: DirectlyCoded {}
extension UInt64: DirectlyCoded {}

extension Double: DirectlyCoded {
  init?(coded value: RPCValue) {
    guard let number = value.doubleValue else { return nil }
    // A whole number that a double cannot represent exactly is refused, not rounded.
    switch value {
    case .integer(let whole) where Int64(exactly: number) != whole: return nil
    case .unsigned(let whole) where UInt64(exactly: number) != whole: return nil
    default: self = number
    }
  }
  var coded: RPCValue { .double(self) }
}

extension Float: DirectlyCoded {
  init?(coded value: RPCValue) {
    guard let number = value.doubleValue else { return nil }
    self.init(number)
    // Rounding to a Float is expected, but a finite number must not become infinite.
    guard isInfinite == number.isInfinite else { return nil }
  }
  var coded: RPCValue { RPCValue(self) }
}

extension Bool: DirectlyCoded {
  init?(coded value: RPCValue) {
    guard case .bool(let value) = value else { return nil }
    self = value
  }
  var coded: RPCValue { .bool(self) }
}

extension String: DirectlyCoded {
  init?(coded value: RPCValue) {
    guard case .string(let value) = value else { return nil }
    self = value
  }
  var coded: RPCValue { .string(self) }
}

extension RPCValue: DirectlyCoded {
  init?(coded value: RPCValue) { self = value }
  var coded: RPCValue { self }
}

extension [UInt8]: DirectlyCoded {
  init?(coded value: RPCValue) {
    guard let data = Data(coded: value) else { return nil }
    self.init(data)
  }
  var coded: RPCValue { .bytes(self) }
}

extension Data: DirectlyCoded {
  init?(coded value: RPCValue) {
    switch value {
    case .bytes(let bytes): self.init(bytes)
    case .string(let base64): self.init(base64Encoded: base64)
    default: return nil
    }
  }
  var coded: RPCValue { .bytes([UInt8](self)) }
}

extension Date: DirectlyCoded {
  init?(coded value: RPCValue) {
    guard let seconds = value.doubleValue else { return nil }
    self.init(timeIntervalSince1970: seconds)
  }
  var coded: RPCValue { .double(timeIntervalSince1970) }
}
