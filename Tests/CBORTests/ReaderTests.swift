import CBOR
import Testing

/// A message that must be refused, with why and where.
struct Refused: Sendable, CustomTestStringConvertible {
  let bytes: String
  let error: CBORError

  init(_ bytes: String, _ kind: CBORError.Kind, _ item: CBORError.Item? = nil, at offset: Int) {
    self.bytes = bytes
    self.error = CBORError(kind, item, at: offset)
  }

  var testDescription: String { "\(bytes): \(error)" }
}

private let refused: [Refused] = [
  Refused("", .truncated, at: 0),
  Refused("18", .truncated, .integer, at: 0),
  Refused("1b00000000000000", .truncated, .integer, at: 0),
  Refused("39ff", .truncated, .integer, at: 0),
  Refused("41", .truncated, .byteString, at: 0),
  Refused("826361626362610000", .trailingBytes, at: 8),
  Refused("82636162636361", .truncated, .textString, at: 5),
  Refused("5bffffffffffffffff00", .truncated, .byteString, at: 0),
  Refused("7b7fffffffffffffff00", .truncated, .textString, at: 0),
  Refused("7b8000000000000000", .truncated, .textString, at: 0),
  Refused("81", .truncated, .array, at: 0),
  Refused("9b8000000000000000", .truncated, .array, at: 0),
  Refused("9bffffffffffffffff00", .truncated, .array, at: 0),
  Refused("bb7fffffffffffffff0000", .truncated, .map, at: 0),
  Refused("a20001", .truncated, .map, at: 0),
  Refused("8201", .truncated, .array, at: 0),
  Refused("828101", .truncated, at: 3),
  Refused("9f01", .truncated, at: 2),
  Refused("bf01", .truncated, at: 2),
  Refused("c1", .truncated, at: 1),
  Refused("d9d9", .truncated, .tag, at: 0),
  Refused("f8", .truncated, .number, at: 0),
  Refused("fb00000000000000", .truncated, .number, at: 0),
  Refused("5f", .truncated, at: 1),
  Refused("5f4101", .truncated, at: 3),
  Refused("1c", .malformed, .integer, at: 0),
  Refused("811f", .malformed, .integer, at: 1),
  Refused("3d", .malformed, .integer, at: 0),
  Refused("5e", .malformed, .byteString, at: 0),
  Refused("7c", .malformed, .textString, at: 0),
  Refused("9d", .malformed, .array, at: 0),
  Refused("be", .malformed, .map, at: 0),
  Refused("df", .malformed, .tag, at: 0),
  Refused("fc", .malformed, .number, at: 0),
  Refused("f800", .malformed, .number, at: 0),
  Refused("f81f", .malformed, .number, at: 0),
  Refused("0000", .trailingBytes, at: 1),
  Refused("a0ff", .trailingBytes, at: 1),
  Refused("ff", .unexpectedBreak, at: 0),
  Refused("81ff", .unexpectedBreak, at: 1),
  Refused("9fc1ff", .unexpectedBreak, at: 2),
  Refused("9f8201ff00", .unexpectedBreak, at: 3),
  Refused("bf00ff", .missingValue, at: 2),
  Refused("bf000102ff", .missingValue, at: 4),
  Refused("5f6161ff", .invalidChunk, .byteString, at: 1),
  Refused("7f4161ff", .invalidChunk, .textString, at: 1),
  Refused("7f7f6161ffff", .invalidChunk, .textString, at: 1),
  Refused("5f00ff", .invalidChunk, .byteString, at: 1),
  Refused("61ff", .invalidUTF8, .textString, at: 1),
  Refused("816461c328ff", .invalidUTF8, .textString, at: 3),
  Refused("63eda080", .invalidUTF8, .textString, at: 1),
  Refused("64f4908080", .invalidUTF8, .textString, at: 1),
  Refused("62c080", .invalidUTF8, .textString, at: 1),
  Refused("7f61c361bcff", .invalidUTF8, .textString, at: 2),
]

@Suite("Reading")
struct ReaderTests {
  @Test("A malformed message is refused with its kind and place", arguments: refused)
  func malformed(_ message: Refused) {
    #expect(failure(message.bytes) == message.error)
  }

  @Test("A malformed message is refused alike when it is skipped", arguments: refused)
  func malformedSkipped(_ message: Refused) {
    var reader = CBORReader(hex(message.bytes))
    #expect(throws: message.error) {
      try reader.skip()
      try reader.finish()
    }
  }

  @Test("An error says what is wrong and at which byte")
  func descriptions() {
    #expect(failure("82636162636361")?.description == "CBOR: text string is cut short at byte 5")
    #expect(failure("")?.description == "CBOR: message is cut short at byte 0")
    #expect(failure("bf00ff")?.description == "CBOR: map key has no value at byte 2")
    let all = CBORError.Kind.allCases.map { CBORError($0, at: 7).description }
    #expect(Set(all).count == all.count)
    #expect(all.allSatisfy { $0.hasPrefix("CBOR: ") && $0.hasSuffix(" at byte 7") })
  }

  @Test("A reader that has thrown throws the same again")
  func repeatedFailure() {
    var reader = CBORReader(hex("8261ff00"))
    #expect(throws: Never.self) { try reader.next() }
    for _ in 0..<3 {
      #expect(throws: CBORError(.invalidUTF8, .textString, at: 2)) { try reader.next() }
    }
  }

  @Test("Every prefix of a good message is refused as cut short")
  func prefixes() {
    for message in [Golioth.call, Golioth.result, Golioth.failedResult] {
      for length in 0..<message.count {
        #expect(failure(hex(message.prefix(length)))?.kind == .truncated)
      }
    }
  }

  @Test("Offsets name the token that was read")
  func offsets() throws {
    var reader = CBORReader(hex("82 626161 f6"))
    _ = try reader.next()
    #expect(reader.tokenOffset == 0 && reader.offset == 1)
    _ = try reader.next()
    #expect(reader.tokenOffset == 1 && reader.offset == 4)
    _ = try reader.next()
    #expect(reader.tokenOffset == 4 && reader.offset == 5)
    #expect(try reader.next() == .end)
    #expect(reader.tokenOffset == 5 && reader.offset == 5)
    #expect(try reader.next() == nil)
  }

  @Test("Skipping passes one whole item and tells its bytes")
  func skipping() throws {
    let bytes = hex("84 c1 a1 6161 9f 01 ff 7f 6161 6162 ff 80 05")
    var reader = CBORReader(bytes)
    _ = try reader.next()
    #expect(try reader.skip() == 1..<8)
    #expect(try reader.skip() == 8..<14)
    #expect(try reader.skip() == 14..<15)
    #expect(try reader.next() == .unsigned(5))
    #expect(try reader.skip() == nil)
    #expect(try reader.next() == .end)
    #expect(try reader.skip() == nil)
    try reader.finish()
  }

  @Test("Skipping stays in front of a break")
  func skippingAtBreak() throws {
    var reader = CBORReader(hex("9f01ff"))
    _ = try reader.next()
    #expect(try reader.skip() == 1..<2)
    #expect(try reader.skip() == nil)
    #expect(try reader.next() == .end)
    try reader.finish()
  }

  @Test("A borrowed buffer reads the same as an owned array")
  func borrowed() throws {
    let owned = try tokens(Golioth.result)
    let read = try Golioth.result.withUnsafeBytes { buffer in
      var reader = CBORBufferReader(buffer)
      var read: [CBORToken] = []
      while let token = try reader.next() { read.append(token) }
      try reader.finish()
      return read
    }
    #expect(read == owned)
    var empty = CBORBufferReader(UnsafeRawBufferPointer(start: nil, count: 0))
    #expect(throws: CBORError(.truncated, at: 0)) { try empty.next() }
  }
}

@Suite("Limits")
struct LimitTests {
  @Test("Nesting is accepted up to the depth and refused one level deeper")
  func depth() {
    let limits = CBORLimits(maxDepth: 3)
    #expect(failure("81818100", limits: limits) == nil)
    #expect(
      failure("8181818100", limits: limits) == CBORError(.depthExceeded, .array, at: 3))
    #expect(failure("8181c100", limits: limits) == nil)
    #expect(failure("8181c1c100", limits: limits) == CBORError(.depthExceeded, .tag, at: 3))
    #expect(failure("81c181a0", limits: limits) == CBORError(.depthExceeded, .map, at: 3))
    #expect(failure("83c1c100c1c100c1c100", limits: limits) == nil)
  }

  @Test("A message of nothing but openings is refused at the default depth")
  func deepNesting() {
    let openings = String(repeating: "9f", count: 100_000)
    #expect(failure(openings) == CBORError(.depthExceeded, .array, at: 32))
  }

  @Test("Strings are accepted up to their length and refused one byte longer")
  func strings() {
    let limits = CBORLimits(maxStringBytes: 3)
    #expect(failure("63616263", limits: limits) == nil)
    #expect(failure("6461626364", limits: limits) == CBORError(.stringTooLong, .textString, at: 0))
    #expect(failure("4400000000", limits: limits) == CBORError(.stringTooLong, .byteString, at: 0))
    #expect(failure("5f4100420000ff", limits: limits) == nil)
    #expect(
      failure("5f420000420000ff", limits: limits) == CBORError(.stringTooLong, .byteString, at: 4))
  }

  @Test("Items are accepted up to their number and refused one more")
  func items() {
    let limits = CBORLimits(maxItems: 4)
    #expect(failure("83000000", limits: limits) == nil)
    #expect(failure("8400000000", limits: limits) == CBORError(.itemsExceeded, at: 0))
    #expect(failure("9f000000ff", limits: limits) == nil)
    #expect(failure("9f00000000ff", limits: limits) == CBORError(.itemsExceeded, at: 4))
    #expect(failure("7f616161616161ff", limits: limits) == nil)
    #expect(failure("7f6161616161616161ff", limits: limits) == CBORError(.itemsExceeded, at: 7))
  }

  @Test("Limits out of range are brought into range")
  func clamping() {
    let low = CBORLimits(maxDepth: .min, maxStringBytes: .min, maxItems: .min)
    #expect(low.maxDepth == 1 && low.maxStringBytes == 0 && low.maxItems == 0)
    let high = CBORLimits(maxDepth: .max, maxStringBytes: .max, maxItems: .max)
    #expect(high.maxDepth == 256)
    #expect(failure("818100", limits: high) == nil)
    #expect(failure("00", limits: low) == CBORError(.itemsExceeded, at: 0))
  }
}
