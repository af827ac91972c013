import CBOR
import Foundation
import TestSupport
import Testing

/// How many messages to try: `FUZZ_CBOR`, or about as many as a debug build reads in seconds.
private let iterations =
  ProcessInfo.processInfo.environment["FUZZ_CBOR"].flatMap(Int.init) ?? 200_000

private let seeds: [[UInt8]] = [
  Golioth.call, Golioth.result, Golioth.failedResult,
  hex("5f42010243030405ff"), hex("9f7f657374726561646d696e67ffc249010000000000000000ff"),
  hex("83c11a514b67b0f8fff93e00"), hex("a26161bf6162f6ff6163d818456449455446"),
]

/// A message of random bytes, or a good one with bytes changed, cut, added or doubled.
private func message(_ random: inout SeededGenerator) -> [UInt8] {
  guard random.next() % 4 != 0 else {
    return (0..<Int.random(in: 0...40, using: &random)).map { _ in
      UInt8(truncatingIfNeeded: random.next())
    }
  }
  var bytes = seeds[Int(random.next() % UInt64(seeds.count))]
  for _ in 0...(random.next() % 4) where !bytes.isEmpty {
    let place = Int(random.next() % UInt64(bytes.count))
    let byte = UInt8(truncatingIfNeeded: random.next())
    switch random.next() % 6 {
    case 0: bytes[place] = byte
    case 1: bytes[place] ^= 1 << (byte & 7)
    case 2: bytes.remove(at: place)
    case 3: bytes.insert(byte, at: place)
    case 4: bytes.removeLast(bytes.count - place)
    default: bytes.insert(contentsOf: bytes[place...], at: place)
    }
  }
  return bytes
}

@Suite("Fuzz")
struct FuzzTests {
  @Test("Whatever is read is written and read back the same, and nothing traps")
  func reader() throws {
    var random = SeededGenerator(state: 0x5EED)
    let limits = CBORLimits(maxDepth: 8, maxStringBytes: 64, maxItems: 48)
    var accepted = 0
    for _ in 0..<iterations {
      let bytes = message(&random)
      guard let good = check(bytes, limits: limits) else { continue }
      accepted += 1
      var writer = CBORWriter()
      writer.append(good)
      let again = try tokens(writer.bytes)
      guard again.count == good.count, zip(again, good).allSatisfy({ $0.matches($1) }) else {
        Issue.record("\(hex(bytes)) is read back as \(again)")
        return
      }
    }
    print("fuzz: \(accepted) of \(iterations) messages were well-formed")
    #expect(accepted > iterations / 100 || iterations < 1000)
  }

  /// The tokens of a message; skipping it and reading it must come to the same verdict.
  private func check(_ bytes: [UInt8], limits: CBORLimits) -> [CBORToken]? {
    // Memory of just this size lets the address sanitizer see a read behind the end.
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { memory.deallocate() }
    memory.copyBytes(from: bytes)
    let skipped = Swift.Result { () throws(CBORError) in
      var reader = CBORBufferReader(UnsafeRawBufferPointer(memory), limits: limits)
      try reader.skip()
      try reader.finish()
    }
    let read = Swift.Result { () throws(CBORError) in try tokens(bytes, limits: limits) }
    switch (read, skipped) {
    case (.success(let tokens), .success):
      // Every item is a byte at least, and each container has one end.
      #expect(tokens.count <= 2 * bytes.count)
      return tokens
    case (.failure(let a), .failure(let b)) where a == b:
      #expect((0...bytes.count).contains(a.offset))
    default:
      Issue.record("\(hex(bytes)) is read as \(read) and skipped as \(skipped)")
    }
    return nil
  }
}
