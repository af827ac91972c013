import Foundation
import Testing

@testable import DeviceRPC

private struct Reading: Codable, Equatable {
  enum Unit: String, Codable { case celsius, kelvin }

  var name: String
  var count: Int8
  var limit: UInt64
  var value: Double
  var factor: Float
  var isValid: Bool
  var unit: Unit
  var note: String?
  var history: [Int]
  var named: [String: [Double?]]
  var raw: [UInt8]
  var data: Data
  var time: Date
  var extra: RPCValue
}

private let reading = Reading(
  name: "t0", count: -7, limit: .max, value: 21, factor: 0.5, isValid: true, unit: .kelvin,
  note: nil, history: [1, 2], named: ["a": [1, nil]], raw: [1, 2], data: Data([3]),
  time: Date(timeIntervalSince1970: 1_700_000_000), extra: [7, 7.0, .bytes([9]), ["k": nil]])

private let readingValue: RPCValue = [
  "name": "t0", "count": -7, "limit": .unsigned(.max), "value": 21.0, "factor": 0.5,
  "isValid": true, "unit": "kelvin", "history": [1, 2], "named": ["a": [1.0, nil]],
  "raw": .bytes([1, 2]), "data": .bytes([3]), "time": 1_700_000_000.0,
  "extra": [7, 7.0, .bytes([9]), ["k": nil]],
]

private func decode<T: Decodable>(_ value: RPCValue, as type: T.Type = T.self) throws -> T {
  try RPCValueDecoder().decode(type, from: value)
}

/// The coding path of the error that decoding throws, and the kind of error.
private func failure<T: Decodable>(_ value: RPCValue, as type: T.Type) -> String? {
  do {
    _ = try decode(value, as: type)
    return nil
  } catch let error as DecodingError {
    let (kind, context) =
      switch error {
      case .dataCorrupted(let context): ("corrupted", context)
      case .keyNotFound(let key, let context): ("no \(key.stringValue)", context)
      case .typeMismatch(_, let context): ("type", context)
      case .valueNotFound(_, let context): ("no value", context)
      @unknown default: fatalError("\(error)")
      }
    return ([kind] + context.codingPath.map(\.stringValue)).joined(separator: "/")
  } catch {
    return "\(error)"
  }
}

@Suite struct RPCValueCodingTests {
  @Test func `a typed result becomes a value and back`() throws {
    #expect(try RPCValueEncoder().encode(reading) == readingValue)
    #expect(try decode(readingValue, as: Reading.self) == reading)
    let names = try RPCValueEncoder().encode(reading).objectValue?.keys
    #expect(names?.prefix(3) == ["name", "count", "limit"])
  }

  @Test func `numbers decode however the device wrote them`() throws {
    #expect(try decode(1337.0, as: Int.self) == 1337)
    #expect(try decode(255.0, as: UInt8.self) == 255)
    #expect(try decode(7, as: Double.self) == 7)
    #expect(try decode(7, as: Float.self) == 7)
    #expect(try decode(.unsigned(.max), as: UInt64.self) == .max)
    #expect(try decode(.unsigned(1 << 63), as: Double.self) == 0x1p63)
    #expect(try decode(0.1, as: Float.self) == 0.1)
    #expect(try decode(.double(.infinity), as: Float.self) == .infinity)
    #expect(try decode(.double(.nan), as: Float.self).isNaN)
    #expect(try decode(["a": [1.0]], as: [String: [Int]].self) == ["a": [1]])
  }

  @Test func `numbers that do not fit are refused`() {
    #expect(failure(1337.5, as: Int.self) == "corrupted")
    #expect(failure(256, as: UInt8.self) == "corrupted")
    #expect(failure(-1, as: UInt64.self) == "corrupted")
    #expect(failure(.unsigned(.max), as: Int64.self) == "corrupted")
    #expect(failure(.double(.nan), as: Int.self) == "corrupted")
    #expect(failure(.unsigned(.max), as: Double.self) == "corrupted")
    #expect(failure(9_007_199_254_740_993, as: Double.self) == "corrupted")
    #expect(failure(.integer(.max), as: Double.self) == "corrupted")
    #expect(failure(1e300, as: Float.self) == "corrupted")
    #expect(failure(["a": [1, 2.5]], as: [String: [Int]].self) == "corrupted/a/Index 1")
  }

  @Test func `other kinds are refused with the way to them`() {
    #expect(failure("7", as: Int.self) == "type")
    #expect(failure(7, as: String.self) == "type")
    #expect(failure(1, as: Bool.self) == "type")
    #expect(failure([1], as: Int.self) == "type")
    #expect(failure([1], as: Date.self) == "type")
    #expect(failure(nil, as: Int.self) == "no value")
    #expect(failure([1], as: [String: Int].self) == "type")
    #expect(failure(nil, as: [Int].self) == "no value")
    #expect(failure(.bytes([1]), as: [Int].self) == "type")
    #expect(failure([:], as: Reading.self) == "no name")
    #expect(failure(["a": [["b": true]]], as: [String: [[String: Int]]].self) == "type/a/Index 0/b")
  }

  @Test func `byte strings decode from base64 and lists, too`() throws {
    for value: RPCValue in [.bytes([1, 255]), "Af8=", [1, 255.0]] {
      #expect(try decode(value, as: [UInt8].self) == [1, 255])
      #expect(try decode(value, as: Data.self) == Data([1, 255]))
    }
    #expect(failure("no base64!", as: [UInt8].self) == "corrupted")
    #expect(failure([1, 256], as: [UInt8].self) == "corrupted/Index 1")
    #expect(failure(1, as: Data.self) == "type")
  }

  @Test func `what encodes nothing is an empty object`() throws {
    struct Nothing: Encodable {}
    struct Silent: Encodable { func encode(to encoder: any Encoder) throws {} }
    #expect(try RPCValueEncoder().encode(Nothing()) == [:])
    #expect(try RPCValueEncoder().encode(Silent()) == [:])
    #expect(try RPCValueEncoder().encode([Silent()]) == [[:]])
    #expect(try RPCValueEncoder().encode([Int]()) == [])
    #expect(try RPCValueEncoder().encode(Int?.none) == .null)
    #expect(try RPCValueEncoder().encode([Int: Bool]()) == [:])
    #expect(try RPCValueEncoder().encode([5: true]) == ["5": true])
  }

  @Test func `NaN and infinities stay what they are`() throws {
    #expect(try RPCValueEncoder().encode(Double.infinity) == .double(.infinity))
    #expect(try RPCValueEncoder().encode(Float.nan).doubleValue?.isNaN == true)
  }

  @Test func `classes code their superclass and nested containers`() throws {
    let value = try RPCValueEncoder().encode(Derived(name: "n", number: 3))
    #expect(value == ["number": 3, "super": ["name": "n"], "list": [1, [2], ["number": 3], nil]])
    let derived = try decode(value, as: Derived.self)
    #expect(derived.name == "n")
    #expect(derived.number == 3)
    #expect(
      failure(["number": 3, "list": [1], "super": ["name": "n"]], as: Derived.self)
        == "no value/list/Index 1")
  }

  @Test func `a value inside a type that forwards its decoder stays as written`() throws {
    struct Wrapper: Codable, Equatable {
      var value: RPCValue
      init(value: RPCValue) { self.value = value }
      init(from decoder: any Decoder) throws { value = try RPCValue(from: decoder) }
      func encode(to encoder: any Encoder) throws { try value.encode(to: encoder) }
    }
    let value: RPCValue = [7, 7.0, .bytes([1]), .double(-0.0)]
    #expect(try decode(["a": value], as: [String: Wrapper].self) == ["a": Wrapper(value: value)])
    #expect(try RPCValueEncoder().encode([Wrapper(value: value)]) == [value])
  }

  @Test func `other coders take values, too`() throws {
    let value: RPCValue = [
      "a": [1, -2.5, nil, true, "s", .unsigned(.max)], "b": [:], "c": [], "d": .bytes([1, 255]),
    ]
    let data = try JSONEncoder().encode(value)
    var expected = try #require(value.objectValue)
    expected["d"] = "Af8="
    #expect(try JSONDecoder().decode(RPCValue.self, from: data) == .object(expected))
    #expect(throws: EncodingError.self) { try JSONEncoder().encode(RPCValue.double(.nan)) }
    let list: RPCValue = ["d": .bytes([1, 255]), "s": "Af8="]
    #expect(try PropertyListDecoder().decode(RPCValue.self, from: PropertyListEncoder().encode(list)) == list)
  }

  @Test func `recursion is bounded`() throws {
    var tower = RPCValue.null
    for _ in 0..<2000 { tower = [tower] }
    #expect(failure(tower, as: Tower.self)?.hasPrefix("corrupted/Index 0/Index 0") == true)
    let levels = (0..<32).reduce(RPCValue.array([])) { inner, _ in [inner] }
    #expect(try RPCValueEncoder().encode(decode(levels, as: Tower.self)) == levels)
    let loop = Loop()
    loop.next = loop
    #expect(throws: EncodingError.self) { try RPCValueEncoder().encode(loop) }
    loop.next = nil
    struct Endless: Decodable {
      init(from decoder: any Decoder) throws {
        self = try decoder.singleValueContainer().decode(Endless.self)
      }
    }
    #expect(failure(1, as: Endless.self) == "corrupted")
  }

  @Test func `50,000 elements stay linear`() throws {
    let numbers = Array(0..<50_000)
    #expect(try decode(RPCValueEncoder().encode(numbers), as: [Int].self) == numbers)
    let named = Dictionary(uniqueKeysWithValues: numbers.map { ("key\($0)", $0) })
    #expect(try decode(RPCValueEncoder().encode(named), as: [String: Int].self) == named)
  }
}

private struct Tower: Codable {
  var inner: [Tower]

  init(from decoder: any Decoder) throws {
    inner = try decoder.singleValueContainer().decode([Tower].self)
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(inner)
  }
}

private final class Loop: Encodable {
  var next: Loop?
}

private class Base: Codable {
  var name: String
  init(name: String) { self.name = name }
}

private final class Derived: Base {
  enum Key: String, CodingKey { case number, list }
  let number: Int

  init(name: String, number: Int) {
    self.number = number
    super.init(name: name)
  }

  required init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: Key.self)
    number = try container.decode(Int.self, forKey: .number)
    var list = try container.nestedUnkeyedContainer(forKey: .list)
    guard try !list.decodeNil(), try list.decode(Int.self) == 1 else { throw CancellationError() }
    var inner = try list.nestedUnkeyedContainer()
    guard try inner.decode(Int.self) == 2, inner.isAtEnd else { throw CancellationError() }
    let object = try list.nestedContainer(keyedBy: Key.self)
    guard try object.decode(Int.self, forKey: .number) == 3, !object.contains(.list),
      try list.decodeNil(), list.isAtEnd
    else { throw CancellationError() }
    try super.init(from: container.superDecoder())
  }

  override func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: Key.self)
    try container.encode(number, forKey: .number)
    var list = container.nestedUnkeyedContainer(forKey: .list)
    try list.encode(1)
    var inner = list.nestedUnkeyedContainer()
    try inner.encode(2)
    var object = list.nestedContainer(keyedBy: Key.self)
    try object.encode(3, forKey: .number)
    try list.encodeNil()
    try super.encode(to: container.superEncoder())
  }
}
