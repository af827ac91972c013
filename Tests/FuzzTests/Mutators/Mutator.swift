import CoAP
import TestSupport

extension SeededGenerator {
  mutating func below(_ limit: Int) -> Int { Int(truncatingIfNeeded: next() % UInt64(max(1, limit))) }
  mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
  mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next()) }
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in byte() } }
}

/// Makes datagrams that are nearly right: what devices send, with something wrong in it.
struct Mutator {
  var generator: SeededGenerator
  /// A message id and token of the server's, to acknowledge, reset or answer.
  var lastReceived: (messageID: UInt16, token: [UInt8]) = (0, [])
  private var uploads: BlockUploads

  struct Shape {
    var type: UInt8 = 0
    var code: UInt8
    var messageID: UInt16
    var token: [UInt8]
    var options: [(number: Int, value: [UInt8])] = []
    var payload: [UInt8] = []
  }

  /// - Parameter isStream: over TCP, where blocks may be BERT (RFC 8323 §6).
  init(seed: UInt64, isStream: Bool = false) {
    generator = SeededGenerator(state: seed)
    uploads = BlockUploads(largestSize: isStream ? 7 : 6)
  }

  mutating func datagram() -> [UInt8] {
    // One in thirty is noise from the first byte on.
    if generator.below(30) == 0 { return generator.bytes(generator.below(generator.chance(5) ? 2_000 : 64)) }
    var bytes = encode(shape())
    if generator.chance(30) { spoil(&bytes) }
    return bytes
  }

  /// What a device might send, with mistakes in nine cases of ten.
  mutating func shape() -> Shape {
    var shape = valid()
    if !generator.chance(10) {
      for _ in 0...generator.below(3) { mutate(&shape) }
    }
    return shape
  }

  // MARK: What devices send

  private mutating func valid() -> Shape {
    let mid = generator.chance(80) ? UInt16(truncatingIfNeeded: generator.next()) : UInt16(generator.below(8))
    let token = generator.chance(70) ? [UInt8(generator.below(4))] : generator.bytes(generator.below(9))
    let name = Array("ep=d\(generator.below(12))".utf8)
    let format: [UInt8] = generator.chance(50) ? [50] : [60]
    switch generator.below(20) {
    case 0, 1:
      return Shape(code: 1, messageID: mid, token: token, options: [(6, []), path(".rpc"), (15, name), (17, format)])
    case 2:
      return Shape(code: 1, messageID: mid, token: token, options: [(6, [1]), path(".rpc"), (17, format)])
    case 3: return Shape(code: 1, messageID: mid, token: token, options: [path(".rpc"), (15, name)])
    case 4, 5:
      return Shape(
        code: 2, messageID: mid, token: token, options: [path(".rpc"), path("status"), (12, format)],
        payload: format == [50] ? json() : cbor())
    case 6:
      let block = UInt8(generator.below(4)) << 4 | (generator.chance(70) ? 8 : 0) | UInt8(generator.below(8))
      return Shape(
        code: 2, messageID: mid, token: token, options: [path(".rpc"), path("status"), (12, [50]), (27, [block])],
        payload: generator.bytes(16 << generator.below(7)))
    case 7:
      return Shape(
        code: 1, messageID: mid, token: token,
        options: [path(generator.chance(50) ? ".rpc" : ".well-known"), (23, generator.bytes(generator.below(4)))])
    case 8: return Shape(code: 4, messageID: mid, token: token)
    case 9:
      return Shape(
        code: 2, messageID: mid, token: token, options: [path(".s"), path("logs"), (12, [60])], payload: cbor())
    case 10:
      // An answer to something of the server's: ACK, RST, NON, or a response.
      return Shape(
        type: UInt8(generator.below(4)), code: generator.chance(60) ? 0 : 0x45, messageID: lastReceived.messageID,
        token: generator.chance(60) ? [] : lastReceived.token)
    case 11: return Shape(code: 1, messageID: mid, token: token, options: [path(".well-known"), path("core")])
    case 12:
      // The rest of a call that did not fit.
      let block = uploads.block(number: generator.below(5), hasMore: false, size: generator.below(uploads.largestSize + 1))
      let tag: [(Int, [UInt8])] = generator.chance(30) ? [(292, [generator.byte() & 1])] : []
      return Shape(
        code: 1, messageID: mid, token: token, options: [path(".rpc"), (15, name), (17, format), (23, block)] + tag)
    case 13, 14, 15: return thingsBoard(mid, token)
    default:
      if uploads.hasRoom, generator.chance(30) {
        let tag: [(Int, [UInt8])] = generator.chance(50) ? [(292, [generator.byte() & 3])] : []
        let isResult = generator.chance(70)
        let body = generator.chance(50) ? json() + [UInt8](repeating: 0x20, count: generator.below(6_000)) : generator.bytes(generator.below(6_000))
        uploads.begin(
          body, size: generator.below(uploads.largestSize + 1), token: token,
          options: [path(isResult ? ".rpc" : ".s"), path(isResult ? "status" : "logs"), (12, format), (15, name)] + tag)
      }
      guard var part = uploads.next(&generator) else { return Shape(code: 4, messageID: mid, token: token) }
      part.messageID = mid
      return part
    }
  }

  /// What ThingsBoard's devices send: to observe, results, and calls to the server.
  private mutating func thingsBoard(_ mid: UInt16, _ token: [UInt8]) -> Shape {
    let access = generator.chance(90) ? FuzzServer.tokens[generator.below(FuzzServer.tokens.count)] : "wrong"
    let root = generator.chance(90) ? [path("api"), path("v1"), path(access), path("rpc")] : [path("/api/v1/\(access)/rpc")]
    switch generator.below(4) {
    case 0:
      return Shape(type: UInt8(generator.below(2)), code: 1, messageID: mid, token: token, options: [(6, [])] + root)
    case 1: return Shape(code: 1, messageID: mid, token: token, options: [(6, [1])] + root)
    case 2:
      let id = generator.chance(90) ? "\(0x74e4 + generator.below(2_000))" : "\(generator.next())"
      return Shape(code: 2, messageID: mid, token: token, options: root + [path(id)], payload: json())
    default:
      let method = generator.chance(80) ? "echo" : "none"
      return Shape(
        code: 2, messageID: mid, token: token, options: root + [(12, [50])],
        payload: Array(#"{"method":"\#(method)","params":[\#(generator.below(100))]}"#.utf8))
    }
  }

  private func path(_ segment: String) -> (number: Int, value: [UInt8]) { (11, Array(segment.utf8)) }

  private mutating func json() -> [UInt8] {
    let id = String(0x74e4 + generator.below(64), radix: 16)
    let details = ["1", "{}", "[[[]]]", "\"x\"", "1e400", "null", "\"\\ud800\"", String(repeating: "[", count: 200)]
    return Array(#"{"id":"f/\#(id)","status":\#(generator.below(20)),"detail":\#(details[generator.below(details.count)])}"#.utf8)
  }

  private mutating func cbor() -> [UInt8] {
    let id = Array("f/\(String(0x74e4 + generator.below(64), radix: 16))".utf8)
    var bytes: [UInt8] = [0xbf, 0x62, 0x69, 0x64, 0x60 | UInt8(id.count)] + id + [0x66] + Array("status".utf8) + [0]
    bytes += [0x66] + Array("detail".utf8)
    switch generator.below(4) {
    case 0: bytes += [UInt8](repeating: 0x81, count: generator.below(300)) + [0]
    case 1: bytes += [0x5b] + generator.bytes(8)
    case 2: bytes += [UInt8](repeating: 0xc1, count: generator.below(300)) + [0]
    default: bytes += generator.bytes(generator.below(20))
    }
    return bytes + [0xff]
  }

  // MARK: What goes wrong with it

  private static let numbers = [1, 3, 4, 5, 6, 7, 8, 9, 11, 12, 14, 15, 16, 17, 20, 23, 27, 28, 31, 35, 39, 60, 258, 292, 65_535]

  private mutating func mutate(_ shape: inout Shape) {
    switch generator.below(11) {
    case 0, 1:
      let number = generator.chance(80) ? Self.numbers[generator.below(Self.numbers.count)] : generator.below(65_536)
      let length = generator.chance(85) ? generator.below(5) : generator.below(generator.chance(80) ? 20 : 300)
      shape.options.append((number, generator.bytes(length)))
    case 2:
      if !shape.options.isEmpty { shape.options.remove(at: generator.below(shape.options.count)) }
    case 3:
      guard !shape.options.isEmpty else { return }
      let index = generator.below(shape.options.count)
      shape.options[index].value = generator.bytes(generator.below(6))
    case 4:
      if let option = shape.options.last { shape.options += [option, option] }
    case 5: shape.token = generator.bytes(generator.below(9))
    case 6: shape.type = UInt8(generator.below(4))
    case 7: shape.code = generator.chance(60) ? UInt8(generator.below(9)) : generator.byte()
    case 8: shape.messageID = UInt16(generator.below(4))
    case 9: shape.payload = generator.bytes(generator.below(generator.chance(90) ? 40 : 1_400))
    default:
      guard !shape.payload.isEmpty else { return }
      shape.payload.removeLast(generator.below(shape.payload.count))
    }
  }

  mutating func spoil(_ bytes: inout [UInt8]) {
    switch generator.below(5) {
    case 0: bytes.removeLast(generator.below(bytes.count))
    case 1: bytes += generator.bytes(generator.below(20))
    case 2: bytes.insert(contentsOf: generator.bytes(1 + generator.below(3)), at: generator.below(bytes.count))
    case 3: if generator.chance(5) { bytes += [UInt8](repeating: 7, count: 1_500) }
    default:
      for _ in 0...generator.below(4) { bytes[generator.below(bytes.count)] ^= 1 << UInt8(generator.below(8)) }
    }
  }

  private func encode(_ shape: Shape) -> [UInt8] {
    var bytes = [
      0x40 | shape.type << 4 | UInt8(shape.token.count), shape.code, UInt8(shape.messageID >> 8),
      UInt8(shape.messageID & 0xff),
    ]
    bytes += shape.token
    bytes += body(of: shape)
    return bytes
  }

  /// Options and payload.
  func body(of shape: Shape) -> [UInt8] {
    var bytes: [UInt8] = []
    var last = 0
    for (_, option) in shape.options.enumerated().sorted(by: { ($0.element.number, $0.offset) < ($1.element.number, $1.offset) }) {
      let (delta, deltaRest) = nibble(option.number - last)
      let (length, lengthRest) = nibble(option.value.count)
      bytes += [delta << 4 | length] + deltaRest + lengthRest + option.value
      last = option.number
    }
    return shape.payload.isEmpty ? bytes : bytes + [0xff] + shape.payload
  }

  private func nibble(_ value: Int) -> (UInt8, [UInt8]) {
    switch value {
    case ..<13: (UInt8(value), [])
    case ..<269: (13, [UInt8(value - 13)])
    default: (14, [UInt8((value - 269) >> 8), UInt8((value - 269) & 0xff)])
    }
  }
}
