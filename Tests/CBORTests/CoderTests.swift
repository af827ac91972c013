import CBOR
import Foundation
import TestSupport
import Testing

private func roundTrip<Value: Codable & Equatable>(
  _ value: Value, sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let bytes = try CBOREncoder().encode(value)
  _ = try tokens(bytes)
  let back = try CBORDecoder().decode(Value.self, from: bytes)
  #expect(back == value, "\(hex(bytes))", sourceLocation: sourceLocation)
}

private struct Everything: Codable, Equatable {
  var int: Int
  var int8: Int8
  var int16: Int16
  var int32: Int32
  var int64: Int64
  var uint: UInt
  var uint8: UInt8
  var uint16: UInt16
  var uint32: UInt32
  var uint64: UInt64
  var float: Float
  var double: Double
  var bool: Bool
  var string: String
  var missing: Int?
  var present: Int?
  var holes: [String?]
  var data: Data
  var bytes: [UInt8]
  var date: Date
  var url: URL
  var nested: [String: [Int: [Double]]]
  var choice: Choice

  enum Choice: Codable, Equatable {
    case none
    case pair(Int, label: String)
  }

  init(_ random: inout SeededGenerator) {
    int = .init(truncatingIfNeeded: random.next())
    int8 = .init(truncatingIfNeeded: random.next())
    int16 = .init(truncatingIfNeeded: random.next())
    int32 = .init(truncatingIfNeeded: random.next())
    int64 = .init(truncatingIfNeeded: random.next())
    uint = .init(truncatingIfNeeded: random.next())
    uint8 = .init(truncatingIfNeeded: random.next())
    uint16 = .init(truncatingIfNeeded: random.next())
    uint32 = .init(truncatingIfNeeded: random.next())
    uint64 = random.next()
    float = Float.random(in: -1e30...1e30, using: &random)
    double = Double.random(in: -1e300...1e300, using: &random)
    bool = random.next() & 1 == 0
    let letters = Array("aä水\u{10151}\0")
    string = String((0..<random.next() % 40).map { _ in letters[Int(random.next() % 5)] })
    missing = nil
    present = Int(random.next() % 100)
    holes = (0..<random.next() % 5).map { $0 & 1 == 0 ? nil : String($0) }
    data = Data((0..<random.next() % 300).map { UInt8(truncatingIfNeeded: $0) })
    bytes = Array(data.prefix(20))
    date = Date(timeIntervalSince1970: Double(random.next() % (1 << 40)) / 4)
    url = URL(filePath: "/\(random.next())")
    nested = ["a": [1: [0.5, 2], -7: []], "": [:]]
    choice = random.next() & 1 == 0 ? .none : .pair(3, label: "three")
  }
}

private class Base: Codable {
  var base = 0
}

private final class Derived: Base {
  var derived = 0

  enum CodingKeys: CodingKey { case derived, list, keyed, again }

  override init() { super.init() }

  init(base: Int, derived: Int) {
    super.init()
    self.base = base
    self.derived = derived
  }

  required init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    var list = try container.nestedUnkeyedContainer(forKey: .list)
    #expect(list.count == 3)
    #expect(try list.decodeNil())
    #expect(try !list.decodeNil())
    let inner = try list.nestedContainer(keyedBy: CodingKeys.self)
    derived = try inner.decode(Int.self, forKey: .derived)
    var innermost = try list.nestedUnkeyedContainer()
    #expect(try innermost.decode(String.self) == "x")
    #expect(innermost.isAtEnd && list.isAtEnd)
    try super.init(from: try container.superDecoder())
    let keyed = try Base(from: container.superDecoder(forKey: .keyed))
    #expect(keyed.base == base)
    let again = try container.nestedContainer(keyedBy: CodingKeys.self, forKey: .again)
    #expect(again.allKeys.count == 2)
  }

  override func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    var list = container.nestedUnkeyedContainer(forKey: .list)
    try list.encodeNil()
    var inner = list.nestedContainer(keyedBy: CodingKeys.self)
    try inner.encode(derived, forKey: .derived)
    var innermost = list.nestedUnkeyedContainer()
    try innermost.encode("x")
    try super.encode(to: container.superEncoder())
    try super.encode(to: container.superEncoder(forKey: .keyed))
    var first = container.nestedContainer(keyedBy: CodingKeys.self, forKey: .again)
    try first.encode(1, forKey: .derived)
    var second = container.nestedContainer(keyedBy: CodingKeys.self, forKey: .again)
    try second.encode(2, forKey: .list)
  }
}

private struct Chain: Codable, Equatable {
  var next: [Chain]

  init(length: Int) { next = length > 1 ? [Chain(length: length - 1)] : [] }
}

struct GoliothResult: Codable, Equatable {
  struct Detail: Codable, Equatable { var value: Int }
  var id: String
  var detail: Detail?
  var statusCode: UInt8
}

@Suite("Coding")
struct CoderTests {
  @Test("Values of every kind come back as they were")
  func roundTrips() throws {
    var random = SeededGenerator(state: 7)
    for _ in 0..<300 { try roundTrip(Everything(&random)) }
  }

  @Test("Numbers at the ends of their range come back as they were")
  func extremes() throws {
    try roundTrip([Int.min, .max])
    try roundTrip([Int8.min, .max])
    try roundTrip([Int16.min, .max])
    try roundTrip([Int32.min, .max])
    try roundTrip([Int64.min, .max])
    try roundTrip([UInt64.min, .max])
    try roundTrip([UInt8.min, .max])
    try roundTrip([Float.leastNonzeroMagnitude, .greatestFiniteMagnitude, -.infinity])
    try roundTrip([Double.leastNonzeroMagnitude, .greatestFiniteMagnitude, .infinity])
    try roundTrip(5)
    try roundTrip(String?.none)
    try roundTrip([Int?.none, 3])
  }

  @Test("Integers of 128 bits come back as far as CBOR reaches and are refused beyond")
  func wideIntegers() throws {
    try roundTrip([Int128(UInt64.max), -1 - Int128(UInt64.max), 0, -1])
    try roundTrip([UInt128(UInt64.max), 0])
    #expect(throws: EncodingError.self) { try CBOREncoder().encode(Int128(UInt64.max) + 1) }
    #expect(throws: EncodingError.self) { try CBOREncoder().encode(-2 - Int128(UInt64.max)) }
    #expect(throws: EncodingError.self) { try CBOREncoder().encode(UInt128.max) }
    #expect(throws: DecodingError.self) { try CBORDecoder().decode(UInt128.self, from: hex("20")) }
  }

  @Test("Containers of every sort and superclasses come back as they were")
  func containers() throws {
    let bytes = try CBOREncoder().encode(Derived(base: 4, derived: 5))
    let back = try CBORDecoder().decode(Derived.self, from: bytes)
    #expect(back.base == 4 && back.derived == 5)
  }

  @Test("Bytes, data and dates take their own item types")
  func itemTypes() throws {
    let encoder = CBOREncoder()
    #expect(hex(try encoder.encode([1, 2] as [UInt8])) == "420102")
    #expect(hex(try encoder.encode(Data([1, 2]))) == "420102")
    #expect(hex(try encoder.encode([1, 2])) == "820102")
    #expect(hex(try encoder.encode(Date(timeIntervalSince1970: 1_363_896_240))) == "c11a514b67b0")
    #expect(
      hex(try encoder.encode(Date(timeIntervalSince1970: 1_363_896_240.5)))
        == "c1fb41d452d9ec200000")
    #expect(hex(try encoder.encode(1.5 as Float)) == "fa3fc00000")
    #expect(hex(try encoder.encode(["a": -1])) == "a1616120")
    let decoder = CBORDecoder()
    #expect(try decoder.decode([UInt8].self, from: hex("820102")) == [1, 2])
    #expect(try decoder.decode(Data.self, from: hex("820102")) == Data([1, 2]))
    #expect(try decoder.decode(Date.self, from: hex("1864")) == Date(timeIntervalSince1970: 100))
    #expect(
      try decoder.decode(Date.self, from: hex("d9d9f7c11864")) == Date(timeIntervalSince1970: 100))
    #expect(throws: DecodingError.self) { try decoder.decode(Date.self, from: hex("d8641864")) }
  }

  @Test("A Golioth result is decoded, its number whole although sent as a double")
  func golioth() throws {
    let decoder = CBORDecoder()
    #expect(
      try decoder.decode(GoliothResult.self, from: Golioth.result)
        == GoliothResult(id: "multiply/74e4", detail: .init(value: 1337), statusCode: 0))
    #expect(
      try decoder.decode(GoliothResult.self, from: Data(Golioth.failedResult))
        == GoliothResult(id: "multiply/74e4", detail: nil, statusCode: 5))
  }

  @Test("Numbers convert where they fit")
  func conversions() throws {
    let decoder = CBORDecoder()
    #expect(try decoder.decode(Double.self, from: hex("1903e8")) == 1000)
    #expect(try decoder.decode(Double.self, from: hex("3903e7")) == -1000)
    #expect(try decoder.decode(Double.self, from: hex("3bffffffffffffffff")) == -0x1p64)
    #expect(try decoder.decode(Float.self, from: hex("fb3ff8000000000000")) == 1.5)
    #expect(try decoder.decode(UInt8.self, from: hex("f95bf8")) == 255)
    #expect(try decoder.decode(Int.self, from: hex("fbc3e0000000000000")) == .min)
    #expect(try decoder.decode(Int.self, from: hex("d9d9f705")) == 5)
  }

  @Test("A number is never read as another one, nor a bignum as a byte string")
  func exactNumbers() throws {
    let decoder = CBORDecoder()
    #expect(try decoder.decode(Double.self, from: hex("1b0020000000000000")) == 0x1p53)
    #expect(try decoder.decode(Double.self, from: hex("3bffffffffffffffff")) == -0x1p64)
    for bytes in ["1b0020000000000001", "3b0020000000000000", "1bffffffffffffffff"] {
      #expect(throws: DecodingError.self) { try decoder.decode(Double.self, from: hex(bytes)) }
    }
    #expect(throws: DecodingError.self) { try decoder.decode([UInt8].self, from: hex("c249010000000000000000")) }
    #expect(throws: DecodingError.self) { try decoder.decode([UInt8].self, from: hex("d9d9f7c34101")) }
    #expect(try decoder.decode([UInt8].self, from: hex("d9d9f74101")) == [1])
  }

  @Test("Nesting is encoded and decoded up to the depth and refused beyond it")
  func depth() throws {
    // Every link is a map in an array.
    try roundTrip(Chain(length: 16))
    #expect(throws: EncodingError.self) { try CBOREncoder().encode(Chain(length: 17)) }
    #expect(throws: EncodingError.self) { try CBOREncoder().encode(Chain(length: 2000)) }
    #expect(throws: EncodingError.self) {
      try CBOREncoder(limits: CBORLimits(maxDepth: 1)).encode([[0]])
    }
    let deep = [UInt8](repeating: 0x81, count: 50_000) + [0]
    #expect(throws: DecodingError.self) {
      try CBORDecoder(limits: CBORLimits(maxDepth: .max)).decode(Chain.self, from: deep)
    }
  }

  @Test("A second value for a key takes the place of the first")
  func repeatedKeys() throws {
    struct Twice: Encodable {
      enum CodingKeys: CodingKey { case a }
      func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(1, forKey: .a)
        try container.encode("b", forKey: .a)
      }
    }
    #expect(hex(try CBOREncoder().encode(Twice())) == "a161616162")
  }

  @Test("A value that encodes nothing is refused, within another it is an empty map")
  func nothing() throws {
    struct Nothing: Encodable { func encode(to encoder: any Encoder) {} }
    #expect(throws: EncodingError.self) { try CBOREncoder().encode(Nothing()) }
    #expect(hex(try CBOREncoder().encode([Nothing()])) == "81a0")
  }

  @Test("An array lends encoders and decoders, and refuses to be read past its end")
  func arrayElements() throws {
    struct List: Codable {
      init() {}
      func encode(to encoder: any Encoder) throws {
        var list = encoder.unkeyedContainer()
        try "a".encode(to: list.superEncoder())
        var map = list.nestedContainer(keyedBy: CodingKeys.self)
        try map.encodeNil(forKey: .key)
        #expect(list.count == 2 && list.codingPath.isEmpty)
        #expect(map.codingPath.map(\.intValue) == [1])
      }
      init(from decoder: any Decoder) throws {
        var list = try decoder.unkeyedContainer()
        #expect(throws: DecodingError.self) { try list.decode(Int.self) }
        #expect(list.currentIndex == 0)
        #expect(try String(from: list.superDecoder()) == "a")
        let map = try list.nestedContainer(keyedBy: CodingKeys.self)
        #expect(map.contains(.key))
        #expect(try map.decodeNil(forKey: .key))
        #expect(map.codingPath.map(\.intValue) == [1])
        _ = try list.decode(Int.self)
      }
      enum CodingKeys: CodingKey { case key }
    }
    let bytes = try CBOREncoder().encode(List())
    #expect(hex(bytes) == "826161a1636b6579f6")
    #expect {
      try CBORDecoder().decode(List.self, from: bytes)
    } throws: { error in
      guard case DecodingError.valueNotFound(_, let context) = error else { return false }
      return context.codingPath.map(\.intValue) == [2]
    }
  }

  @Test("User information reaches the values")
  func userInfo() throws {
    struct Reading: Codable {
      init() {}
      func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(encoder.userInfo[.example] as? String ?? "")
      }
      init(from decoder: any Decoder) throws {
        #expect(decoder.userInfo[.example] as? String == "told")
      }
    }
    var encoder = CBOREncoder()
    encoder.userInfo[.example] = "told"
    let bytes = try encoder.encode([Reading()])
    #expect(hex(bytes) == "8164746f6c64")
    var decoder = CBORDecoder()
    decoder.userInfo[.example] = "told"
    #expect(try decoder.decode([Reading].self, from: bytes).count == 1)
  }

  @Test("Random messages are decoded or refused without a trap")
  func fuzz() {
    var random = SeededGenerator(state: 11)
    let seed = (try? CBOREncoder().encode(Everything(&random))) ?? []
    for _ in 0..<3000 {
      var bytes = seed
      for _ in 0...(random.next() % 3) where !bytes.isEmpty {
        bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
      }
      if let value = try? CBORDecoder().decode(Everything.self, from: bytes) {
        #expect(throws: Never.self) { try CBOREncoder().encode(value) }
      }
    }
  }
}

extension CodingUserInfoKey {
  fileprivate static let example = CodingUserInfoKey(rawValue: "example") ?? { fatalError() }()
}
