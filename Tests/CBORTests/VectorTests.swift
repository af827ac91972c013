import CBOR
import Testing

/// An example of RFC 8949, appendix A.
struct Vector: Sendable, CustomTestStringConvertible {
  let bytes: String
  let tokens: [CBORToken]
  /// Whether writing the tokens gives the same bytes, which joined strings cannot.
  var isCanonical = true

  init(_ bytes: String, _ tokens: CBORToken..., isCanonical: Bool = true) {
    self.bytes = bytes
    self.tokens = tokens
    self.isCanonical = isCanonical
  }

  var testDescription: String { bytes }
}

private let numbers: [Vector] = [
  Vector("00", .unsigned(0)),
  Vector("01", .unsigned(1)),
  Vector("0a", .unsigned(10)),
  Vector("17", .unsigned(23)),
  Vector("1818", .unsigned(24)),
  Vector("1819", .unsigned(25)),
  Vector("1864", .unsigned(100)),
  Vector("1903e8", .unsigned(1000)),
  Vector("1a000f4240", .unsigned(1_000_000)),
  Vector("1b000000e8d4a51000", .unsigned(1_000_000_000_000)),
  Vector("1bffffffffffffffff", .unsigned(.max)),
  Vector("c249010000000000000000", .tag(2), .bytes([1, 0, 0, 0, 0, 0, 0, 0, 0])),
  Vector("3bffffffffffffffff", .negative(.max)),
  Vector("c349010000000000000000", .tag(3), .bytes([1, 0, 0, 0, 0, 0, 0, 0, 0])),
  Vector("20", .negative(0)),
  Vector("29", .negative(9)),
  Vector("3863", .negative(99)),
  Vector("3903e7", .negative(999)),
  Vector("f90000", .float(0, .half)),
  Vector("f98000", .float(-0.0, .half)),
  Vector("f93c00", .float(1, .half)),
  Vector("fb3ff199999999999a", .float(1.1, .double)),
  Vector("f93e00", .float(1.5, .half)),
  Vector("f97bff", .float(65504, .half)),
  Vector("fa47c35000", .float(100_000, .single)),
  Vector("fa7f7fffff", .float(3.4028234663852886e+38, .single)),
  Vector("fb7e37e43c8800759c", .float(1.0e+300, .double)),
  Vector("f90001", .float(5.960464477539063e-8, .half)),
  Vector("f90400", .float(0.00006103515625, .half)),
  Vector("f9c400", .float(-4, .half)),
  Vector("fbc010666666666666", .float(-4.1, .double)),
  Vector("f97c00", .float(.infinity, .half)),
  Vector("f97e00", .float(.nan, .half)),
  Vector("f9fc00", .float(-.infinity, .half)),
  Vector("fa7f800000", .float(.infinity, .single)),
  Vector("fa7fc00000", .float(.nan, .single)),
  Vector("faff800000", .float(-.infinity, .single)),
  Vector("fb7ff0000000000000", .float(.infinity, .double)),
  Vector("fb7ff8000000000000", .float(.nan, .double)),
  Vector("fbfff0000000000000", .float(-.infinity, .double)),
  Vector("f4", .bool(false)),
  Vector("f5", .bool(true)),
  Vector("f6", .null),
  Vector("f7", .undefined),
  Vector("f0", .simple(16)),
  Vector("f8ff", .simple(255)),
]

private let strings: [Vector] = [
  Vector(
    "c074323031332d30332d32315432303a30343a30305a", .tag(0), .text("2013-03-21T20:04:00Z")),
  Vector("c11a514b67b0", .tag(1), .unsigned(1_363_896_240)),
  Vector("c1fb41d452d9ec200000", .tag(1), .float(1_363_896_240.5, .double)),
  Vector("d74401020304", .tag(23), .bytes([1, 2, 3, 4])),
  Vector("d818456449455446", .tag(24), .bytes([0x64, 0x49, 0x45, 0x54, 0x46])),
  Vector(
    "d82076687474703a2f2f7777772e6578616d706c652e636f6d", .tag(32),
    .text("http://www.example.com")),
  Vector("40", .bytes([])),
  Vector("4401020304", .bytes([1, 2, 3, 4])),
  Vector("60", .text("")),
  Vector("6161", .text("a")),
  Vector("6449455446", .text("IETF")),
  Vector("62225c", .text("\"\\")),
  Vector("62c3bc", .text("ü")),
  Vector("63e6b0b4", .text("水")),
  Vector("64f0908591", .text("\u{10151}")),
  Vector("5f42010243030405ff", .bytes([1, 2, 3, 4, 5]), isCanonical: false),
  Vector("7f657374726561646d696e67ff", .text("streaming"), isCanonical: false),
]

private let containers: [Vector] = [
  Vector("80", .beginArray(count: 0), .end),
  Vector("83010203", .beginArray(count: 3), .unsigned(1), .unsigned(2), .unsigned(3), .end),
  Vector(
    "8301820203820405", .beginArray(count: 3), .unsigned(1), .beginArray(count: 2), .unsigned(2),
    .unsigned(3), .end, .beginArray(count: 2), .unsigned(4), .unsigned(5), .end, .end),
  Vector("a0", .beginMap(count: 0), .end),
  Vector(
    "a201020304", .beginMap(count: 2), .unsigned(1), .unsigned(2), .unsigned(3), .unsigned(4),
    .end),
  Vector(
    "a26161016162820203", .beginMap(count: 2), .text("a"), .unsigned(1), .text("b"),
    .beginArray(count: 2), .unsigned(2), .unsigned(3), .end, .end),
  Vector(
    "826161a161626163", .beginArray(count: 2), .text("a"), .beginMap(count: 1), .text("b"),
    .text("c"), .end, .end),
  Vector(
    "a56161614161626142616361436164614461656145", .beginMap(count: 5), .text("a"), .text("A"),
    .text("b"), .text("B"), .text("c"), .text("C"), .text("d"), .text("D"), .text("e"),
    .text("E"), .end),
  Vector("9fff", .beginArray(count: nil), .end),
  Vector(
    "9f018202039f0405ffff", .beginArray(count: nil), .unsigned(1), .beginArray(count: 2),
    .unsigned(2), .unsigned(3), .end, .beginArray(count: nil), .unsigned(4), .unsigned(5), .end,
    .end),
  Vector(
    "83018202039f0405ff", .beginArray(count: 3), .unsigned(1), .beginArray(count: 2),
    .unsigned(2), .unsigned(3), .end, .beginArray(count: nil), .unsigned(4), .unsigned(5), .end,
    .end),
  Vector(
    "bf61610161629f0203ffff", .beginMap(count: nil), .text("a"), .unsigned(1), .text("b"),
    .beginArray(count: nil), .unsigned(2), .unsigned(3), .end, .end),
  Vector(
    "bf6346756ef563416d7421ff", .beginMap(count: nil), .text("Fun"), .bool(true), .text("Amt"),
    .negative(1), .end),
]

@Suite("RFC 8949, appendix A")
struct VectorTests {
  @Test("An example is read as it is printed", arguments: numbers + strings + containers)
  func reading(_ vector: Vector) throws {
    let read = try tokens(hex(vector.bytes))
    #expect(read.count == vector.tokens.count)
    #expect(zip(read, vector.tokens).allSatisfy { $0.matches($1) }, "\(read)")
  }

  @Test("A canonical example is written byte for byte", arguments: numbers + strings + containers)
  func writing(_ vector: Vector) {
    guard vector.isCanonical else { return }
    var writer = CBORWriter()
    writer.append(vector.tokens)
    #expect(hex(writer.bytes) == vector.bytes)
  }

  @Test("Arrays and maps of 25 items and 24 bit tags take the longer heads")
  func longHeads() throws {
    let items = (1...25).map { CBORToken.unsigned($0) }
    let bytes = hex("98190102030405060708090a0b0c0d0e0f101112131415161718181819")
    #expect(try tokens(bytes) == [.beginArray(count: 25)] + items + [.end])
    var writer = CBORWriter()
    writer.append([.beginArray(count: 25)] + items + [.end])
    #expect(writer.bytes == bytes)
  }

  @Test("Tags 6 to 20 are read although libcbor refuses them", arguments: UInt64(0)...23)
  func smallTags(_ tag: UInt64) throws {
    var writer = CBORWriter()
    writer.append([.tag(tag), .null])
    #expect(writer.bytes == [0xC0 + UInt8(tag), 0xF6])
    #expect(try tokens(writer.bytes) == [.tag(tag), .null])
  }

  @Test("Every simple value that has an encoding is read back", arguments: UInt8.min...UInt8.max)
  func simpleValues(_ value: UInt8) throws {
    var writer = CBORWriter()
    guard writer.appendSimple(value) else {
      #expect((24...31).contains(value))
      #expect(writer.bytes.isEmpty)
      return
    }
    let expected: CBORToken =
      switch value {
      case 20: .bool(false)
      case 21: .bool(true)
      case 22: .null
      case 23: .undefined
      default: .simple(value)
      }
    #expect(try tokens(writer.bytes) == [expected])
  }

  @Test("Every half-precision number is read and written back")
  func halves() throws {
    for pattern in UInt16.min...UInt16.max {
      let bytes = [0xF9, UInt8(pattern >> 8), UInt8(pattern & 0xFF)]
      guard case .float(let value, .half)? = try tokens(bytes).first else {
        Issue.record("\(pattern) is not read as a half")
        return
      }
      if value.isNaN { continue }
      #expect(value == Double(Float16(bitPattern: pattern)))
      var writer = CBORWriter()
      writer.appendHalf(value)
      #expect(writer.bytes == bytes)
    }
  }
}
