/// A value that is sent between the back end and a device, as JSON or CBOR.
///
/// It is the data model that both formats share, and keeps what was written. `7` and `7.0` are different values, because
/// firmware often accepts only one of them. A byte string is not a string. Two strings are equal if Swift's `String` says so,
/// that is, under Unicode canonical equivalence.
///
/// Values read from a device are at most a few dozen levels deep, since every reader limits the depth. Comparing, hashing and
/// releasing a value are recursive, so a program should not build very deep values itself.
public enum RPCValue: Sendable, Hashable {
  /// The `null` of JSON and CBOR.
  case null

  /// True or false.
  case bool(Bool)

  /// A whole number written without a fraction or exponent, −2⁶³ to 2⁶³−1.
  case integer(Int64)

  /// A whole number above `Int64.max`, 2⁶³ to 2⁶⁴−1.
  ///
  /// Smaller numbers must be ``integer(_:)``, or equal numbers are different values; ``number(_:)`` chooses the right case.
  case unsigned(UInt64)

  /// A floating-point number, or a number written with a fraction or an exponent.
  ///
  /// NaN and the infinities exist in CBOR only: a call with them to a device that uses JSON fails with
  /// ``CallError/invalidCall(_:)``. As elsewhere in Swift, NaN is not equal to itself.
  case double(Double)

  /// Text.
  case string(String)

  /// A byte string. It exists in CBOR only: a call with one to a device that uses JSON fails with ``CallError/invalidCall(_:)``.
  case bytes([UInt8])

  /// An array of values.
  case array([RPCValue])

  /// An object with named values.
  case object(RPCObject)
}

extension RPCValue {
  /// A whole number: ``integer(_:)`` up to `Int64.max`, else ``unsigned(_:)``.
  public static func number(_ value: UInt64) -> RPCValue {
    if let small = Int64(exactly: value) { .integer(small) } else { .unsigned(value) }
  }

  /// A whole number of any width.
  ///
  /// Numbers outside −2⁶³ to 2⁶⁴−1, which neither format can carry as integers, become the nearest ``double(_:)``.
  public init(_ value: some BinaryInteger) {
    if let small = Int64(exactly: value) {
      self = .integer(small)
    } else if let large = UInt64(exactly: value) {
      self = .unsigned(large)
    } else {
      self = .double(Double(value))
    }
  }

  /// A floating-point number; `RPCValue(7.0)` stays `7.0`.
  public init(_ value: Double) { self = .double(value) }

  /// A floating-point number, widened to `Double`.
  public init(_ value: Float) { self = .double(Double(value)) }

  /// True or false.
  public init(_ value: Bool) { self = .bool(value) }

  /// Text.
  public init(_ value: String) { self = .string(value) }

  /// An array of values.
  public init(_ value: [RPCValue]) { self = .array(value) }

  /// An object with named values.
  public init(_ value: RPCObject) { self = .object(value) }
}

extension RPCValue {
  /// Whether this is ``null``.
  public var isNull: Bool {
    if case .null = self { true } else { false }
  }

  /// The Boolean, if this is one; nil for numbers.
  public var boolValue: Bool? {
    if case .bool(let value) = self { value } else { nil }
  }

  /// The number as an `Int`, if it is one exactly.
  ///
  /// `1337.0` gives 1337, since many devices send only floats. `1337.5` and numbers out of range give nil.
  public var intValue: Int? { exactInteger() }

  /// The number as a `Double`, if this is one; a whole number beyond ±2⁵³ is rounded to the nearest.
  public var doubleValue: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .unsigned(let value): Double(value)
    case .double(let value): value
    default: nil
    }
  }

  /// The text, if this is text.
  public var stringValue: String? {
    if case .string(let value) = self { value } else { nil }
  }

  /// The byte string, if this is one; nil for base64 text, as JSON carries bytes.
  public var bytesValue: [UInt8]? {
    if case .bytes(let value) = self { value } else { nil }
  }

  /// The elements, if this is an array.
  public var arrayValue: [RPCValue]? {
    if case .array(let value) = self { value } else { nil }
  }

  /// The members, if this is an object.
  public var objectValue: RPCObject? {
    if case .object(let value) = self { value } else { nil }
  }

  /// The member of this name; nil when there is none, or when this is not an object.
  public subscript(key: String) -> RPCValue? {
    if case .object(let object) = self { object[key] } else { nil }
  }

  /// The element at this index, counted from 0; nil when there is none, or when this is not an array.
  public subscript(index: Int) -> RPCValue? {
    guard case .array(let elements) = self, elements.indices.contains(index) else { return nil }
    return elements[index]
  }

  /// The number as this integer type, if it is exactly representable.
  func exactInteger<Number: FixedWidthInteger>(as type: Number.Type = Number.self) -> Number? {
    switch self {
    case .integer(let value): Number(exactly: value)
    case .unsigned(let value): Number(exactly: value)
    case .double(let value): Number(exactly: value)
    default: nil
    }
  }
}

extension RPCValue: CustomStringConvertible {
  /// Compact JSON, for logs.
  ///
  /// Unlike a JSON message, it can always be written. What JSON does not have is written as in CBOR's diagnostic notation
  /// (RFC 8949 section 8): `h'0102ff'`, `NaN`, `-Infinity`. Values nested deeper than JSON messages may be are written as `"…"`.
  public var description: String { JSONWriter.description(of: self) }
}

// MARK: - Literals

extension RPCValue: ExpressibleByNilLiteral {
  /// `nil` is ``null``.
  public init(nilLiteral: ()) { self = .null }
}

extension RPCValue: ExpressibleByBooleanLiteral {
  /// `true` and `false`.
  public init(booleanLiteral value: Bool) { self = .bool(value) }
}

extension RPCValue: ExpressibleByIntegerLiteral {
  /// A literal such as `7`, always ``integer(_:)``.
  public init(integerLiteral value: Int64) { self = .integer(value) }
}

extension RPCValue: ExpressibleByFloatLiteral {
  /// A literal such as `7.0`, always ``double(_:)``.
  public init(floatLiteral value: Double) { self = .double(value) }
}

extension RPCValue: ExpressibleByStringInterpolation {
  /// A literal such as `"text"`, with or without interpolations.
  public init(stringLiteral value: String) { self = .string(value) }
}

extension RPCValue: ExpressibleByArrayLiteral {
  /// A literal such as `[7, 191]`.
  public init(arrayLiteral elements: RPCValue...) { self = .array(elements) }
}

extension RPCValue: ExpressibleByDictionaryLiteral {
  /// A literal such as `["value": 1337]`; the last member of the same name is used.
  public init(dictionaryLiteral elements: (String, RPCValue)...) {
    self = .object(RPCObject(elements))
  }
}

extension RPCValue {
  /// About how much memory the value takes.
  package var approximateBytes: Int {
    switch self {
    case .null, .bool, .integer, .unsigned, .double: 16
    case .string(let text): 16 + text.utf8.count
    case .bytes(let bytes): 48 + bytes.count
    case .array(let elements): elements.reduce(48) { $0 + $1.approximateBytes }
    case .object(let object): object.reduce(96) { $0 + 40 + $1.key.utf8.count + $1.value.approximateBytes }
    }
  }
}
