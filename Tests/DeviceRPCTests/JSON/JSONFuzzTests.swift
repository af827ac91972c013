import Foundation
import TestSupport
import Testing

@testable import DeviceRPC

extension RPCValue {
  /// A random value of what JSON can express, byte strings aside.
  static func random(depth: Int = 4, using random: inout SeededGenerator) -> RPCValue {
    switch Int.random(in: 0..<(depth > 0 ? 10 : 8), using: &random) {
    case 0: return .null
    case 1: return .bool(.random(using: &random))
    case 2: return .integer(.random(in: .min ... .max, using: &random))
    case 3: return .number(.random(in: 0 ... .max, using: &random))
    case 4: return .integer(.random(in: -1000...1000, using: &random))
    case 5:
      let number = Double(bitPattern: random.next())
      return .double(number.isFinite ? number : -0.0)
    case 6: return .double(Double(Int.random(in: -1000...1000, using: &random)))
    case 7: return .string(randomText(using: &random))
    case 8:
      let count = Int.random(in: 0...5, using: &random)
      return .array((0..<count).map { _ in .random(depth: depth - 1, using: &random) })
    default:
      let count = Int.random(in: 0...5, using: &random)
      let members = (0..<count).map { _ in
        (randomText(using: &random), RPCValue.random(depth: depth - 1, using: &random))
      }
      return .object(RPCObject(members))
    }
  }

  private static func randomText(using random: inout SeededGenerator) -> String {
    let widths: [UInt32] = [0x20, 0x80, 0x80, 0x800, 0x11_0000]
    let scalars = (0..<Int.random(in: 0...12, using: &random)).compactMap { _ in
      Unicode.Scalar(UInt32.random(in: 0..<widths.randomElement(using: &random)!, using: &random))
    }
    return String(String.UnicodeScalarView(scalars))
  }

  /// Equality that tells −0.0 from 0.0, and scalars, orders and cases from their equivalents.
  func isIdentical(to other: RPCValue) -> Bool {
    switch (self, other) {
    case (.double(let left), .double(let right)): left.bitPattern == right.bitPattern
    case (.string(let left), .string(let right)): left.utf8.elementsEqual(right.utf8)
    case (.array(let left), .array(let right)):
      left.count == right.count && zip(left, right).allSatisfy { $0.isIdentical(to: $1) }
    case (.object(let left), .object(let right)):
      left.count == right.count
        && zip(left, right).allSatisfy {
          $0.key.utf8.elementsEqual($1.key.utf8) && $0.value.isIdentical(to: $1.value)
        }
    default: self == other
    }
  }
}

@Suite struct JSONFuzzTests {
  /// `FUZZ_JSON` sets the number of inputs of each test for a longer run.
  static let count = ProcessInfo.processInfo.environment["FUZZ_JSON"].flatMap { Int($0) } ?? 50_000

  @Test func `what is written reads back the same`() throws {
    var random = SeededGenerator(state: 1)
    for round in 0..<(Self.count / 20) {
      let value = RPCValue.random(using: &random)
      for text in [try writeJSON(value), try JSONWriter.pretty(value)] {
        guard try readJSON(text).isIdentical(to: value) else {
          Issue.record("round \(round): \(text)")
          return
        }
      }
    }
  }

  @Test func `every double reads back the same`() throws {
    var random = SeededGenerator(state: 2)
    for _ in 0..<(Self.count / 5) {
      let number = Double(bitPattern: random.next())
      guard number.isFinite else { continue }
      let text = try writeJSON(.double(number))
      guard try readJSON(text).isIdentical(to: .double(number)) else {
        Issue.record("\(text)")
        return
      }
    }
  }

  @Test func `random bytes are read or refused`() throws {
    var random = SeededGenerator(state: 3)
    let alphabet = Array(
      "{}[]:,\"\\u0123456789abcdefDC-+.eEtrulsn \n\0\u{E9}\u{20AC}\u{1F600}".utf8)
    for _ in 0..<Self.count {
      let bytes = (0..<Int.random(in: 0...24, using: &random)).map { _ in
        alphabet.randomElement(using: &random)!
      }
      try check(bytes)
    }
  }

  @Test func `changed documents are read or refused`() throws {
    var random = SeededGenerator(state: 4)
    var documents: [[UInt8]] = []
    for _ in 0..<200 {
      documents.append(Array(try writeJSON(.random(depth: 3, using: &random)).utf8))
    }
    for _ in 0..<Self.count {
      var bytes = Array(documents.randomElement(using: &random)!.prefix(200))
      for _ in 0..<Int.random(in: 1...3, using: &random) where !bytes.isEmpty {
        let index = bytes.indices.randomElement(using: &random)!
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 2: bytes.remove(at: index)
        default: bytes.removeLast(bytes.count - index)
        }
      }
      try check(bytes)
    }
  }

  /// What is accepted must survive being written, and what is refused has an offset inside.
  private func check(_ bytes: [UInt8]) throws {
    let value: RPCValue
    do { value = try JSONReader.read(bytes) } catch {
      guard (0...bytes.count).contains(error.offset) else {
        Issue.record("offset \(error.offset) of \(bytes)")
        return
      }
      return
    }
    guard try readJSON(writeJSON(value)).isIdentical(to: value) else {
      Issue.record("\(bytes) reads back differently")
      return
    }
  }
}
