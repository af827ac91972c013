import CBOR
import Testing

@Suite("Golioth messages")
struct GoliothTests {
  @Test("A call is written byte for byte")
  func call() {
    var writer = CBORWriter(capacity: 64)
    writer.beginMap(count: 3)
    writer.appendText("id")
    writer.appendText("multiply/74e4")
    writer.appendText("method")
    writer.appendText("multiply")
    writer.appendText("params")
    writer.beginArray(count: 2)
    writer.appendDouble(7)
    writer.appendDouble(191)
    #expect(hex(writer.bytes) == hex(Golioth.call))
  }

  @Test("A result is read")
  func result() throws {
    #expect(
      try tokens(Golioth.result) == [
        .beginMap(count: nil), .text("id"), .text("multiply/74e4"), .text("detail"),
        .beginMap(count: nil), .text("value"), .float(1337, .double), .end, .text("statusCode"),
        .unsigned(0), .end,
      ])
  }

  @Test("A result without detail is read")
  func failedResult() throws {
    #expect(
      try tokens(Golioth.failedResult) == [
        .beginMap(count: nil), .text("id"), .text("multiply/74e4"), .text("statusCode"),
        .unsigned(5), .end,
      ])
  }

  @Test("Results are written byte for byte", arguments: [Golioth.result, Golioth.failedResult])
  func writing(_ message: [UInt8]) throws {
    var writer = CBORWriter()
    writer.append(try tokens(message))
    #expect(writer.bytes == message)
  }
}

@Suite("Writing")
struct WriterTests {
  @Test(
    "Integers take their shortest form",
    arguments: [
      (0, "00"), (23, "17"), (24, "1818"), (255, "18ff"), (256, "190100"), (65_535, "19ffff"),
      (65_536, "1a00010000"), (Int64(UInt32.max), "1affffffff"),
      (Int64(UInt32.max) + 1, "1b0000000100000000"), (.max, "1b7fffffffffffffff"), (-1, "20"),
      (-24, "37"), (-25, "3818"), (-256, "38ff"), (-257, "390100"),
      (.min, "3b7fffffffffffffff"),
    ] as [(Int64, String)])
  func integers(_ value: Int64, _ bytes: String) {
    var writer = CBORWriter()
    writer.appendInteger(value)
    #expect(hex(writer.bytes) == bytes)
  }

  @Test("Strings may be written in chunks")
  func chunks() throws {
    var writer = CBORWriter()
    writer.beginArray(count: nil)
    writer.beginIndefiniteBytes()
    writer.appendBytes([1, 2])
    writer.appendBytes([3])
    writer.appendBreak()
    writer.beginIndefiniteText()
    writer.appendText("ab")
    writer.appendText("ü")
    writer.appendBreak()
    writer.appendBreak()
    #expect(hex(writer.bytes) == "9f5f4201024103ff7f62616262c3bcffff")
    #expect(
      try tokens(writer.bytes) == [.beginArray(count: nil), .bytes([1, 2, 3]), .text("abü"), .end])
  }

  @Test("Numbers too large or small for a half become infinite or zero")
  func halves() {
    var writer = CBORWriter()
    writer.appendHalf(1e9)
    writer.appendHalf(-1e9)
    writer.appendHalf(1e-9)
    #expect(hex(writer.bytes) == "f97c00f9fc00f90000")
  }

  @Test("A writer is used again without its former bytes")
  func reuse() {
    var writer = CBORWriter()
    writer.appendNull()
    writer.removeAll()
    writer.appendEncoded(Golioth.call)
    #expect(writer.bytes == Golioth.call)
    writer.removeAll()
    writer.beginArray(count: -1)
    writer.beginMap(count: -1)
    #expect(hex(writer.bytes) == "80a0")
  }
}
