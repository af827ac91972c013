import TestSupport

/// Makes records of DTLS 1.2 and of TLS that are nearly right (RFC 6347 §4.1, RFC 5246 §6.2).
struct RecordMutator {
  var generator: SeededGenerator
  /// Of the last HelloVerifyRequest that came.
  private(set) var cookie: [UInt8] = []
  private var sequence: UInt64 = 0
  // Fragments of a message that are still to be sent, the next one last.
  private var fragments: [[UInt8]] = []
  private let isDatagram: Bool

  init(seed: UInt64, isDatagram: Bool) {
    generator = SeededGenerator(state: seed)
    self.isDatagram = isDatagram
  }

  /// Learns from what the server has sent.
  mutating func heard(_ bytes: [UInt8]) {
    guard bytes.count > 28, bytes[0] == 22, bytes[13] == 3 else { return }
    cookie = Array(bytes[28...].prefix(Int(bytes[27])))
  }

  /// A datagram of DTLS, or as much as one might write at once on a connection.
  mutating func next() -> [UInt8] {
    if generator.below(40) == 0 { return generator.bytes(1 + generator.below(200)) }
    if isDatagram {
      if fragments.isEmpty, generator.chance(5) { fragments = fragmentsOfHello() }
      // Between them comes anything else.
      if !fragments.isEmpty, generator.chance(70) { return record(22, fragments.removeLast()) }
    }
    var bytes: [UInt8] = []
    for _ in 0...(generator.chance(80) ? 0 : generator.below(4)) { bytes += record() }
    if generator.chance(40) { spoil(&bytes) }
    return bytes
  }

  /// A ClientHello without a mistake.
  mutating func wholeHello(cookie: [UInt8] = []) -> [UInt8] {
    let body = [0xfe, 0xfd] + generator.bytes(32) + [0, UInt8(cookie.count)] + cookie + [0, 2, 0xc0, 0xa8, 1, 0]
    let number16 = number(cookie.isEmpty ? 0 : 1, 2)
    let message = [1] + number(body.count, 3) + number16 + number(0, 3) + number(body.count, 3) + body
    return [22, 0xfe, 0xfd] + number(0, 2) + number(cookie.isEmpty ? 0 : 1, 6) + number(message.count, 2) + message
  }

  /// A ClientHello without a mistake, cut into pieces that overlap, are there twice, or change their places (RFC 6347 §4.2.3).
  private mutating func fragmentsOfHello() -> [[UInt8]] {
    let body = hello(cookie: cookie)
    let number16 = number(cookie.isEmpty ? 0 : 1, 2)
    var cuts: [(start: Int, end: Int)] = []
    var start = 0
    while start < body.count {
      let end = min(body.count, start + 1 + generator.below(80))
      cuts.append((generator.chance(90) ? start : generator.below(start + 1), end))
      if generator.chance(10) { cuts.append(cuts[generator.below(cuts.count)]) }
      start = end
    }
    if generator.chance(30) { cuts.swapAt(generator.below(cuts.count), generator.below(cuts.count)) }
    return cuts.reversed().map { cut in
      [1] + number(body.count, 3) + number16 + number(cut.start, 3) + number(cut.end - cut.start, 3) + body[cut.start..<cut.end]
    }
  }

  private mutating func record() -> [UInt8] {
    switch generator.below(12) {
    case 0, 1, 2: return record(22, handshake(1, hello(cookie: [])))
    case 3, 4, 5: return record(22, handshake(1, hello(cookie: cookie)))
    case 6:
      let identity = generator.chance(70) ? Array("fuzzer".utf8) : generator.bytes(generator.below(200))
      return record(22, handshake(16, [0, UInt8(identity.count)] + identity))
    case 7: return record(20, [1])
    case 8: return record(22, generator.bytes(40), epoch: 1)
    case 9: return record(21, [UInt8(1 + generator.below(2)), generator.byte()], epoch: generator.below(2))
    case 10: return record(23, generator.bytes(generator.below(100)), epoch: generator.below(3))
    default: return record(generator.byte(), generator.bytes(generator.below(60)), epoch: generator.below(65_536))
    }
  }

  // Of keys, with CCM_8 and with CBC, and secure renegotiation.
  private static let suites: [[UInt8]] = [[0xc0, 0xa8, 0x00, 0xff], [0x00, 0xae, 0x00, 0xff]]

  private mutating func hello(cookie: [UInt8]) -> [UInt8] {
    var body: [UInt8] = isDatagram ? [0xfe, generator.chance(80) ? 0xfd : generator.byte()] : [3, 3]
    body += generator.bytes(32)
    let session = generator.chance(80) ? [] : generator.bytes(32)
    body += [UInt8(session.count)] + session
    if isDatagram { body += [UInt8(cookie.count)] + cookie }
    let suites: [UInt8] = generator.chance(70) ? Self.suites[generator.below(2)] : generator.bytes(2 * generator.below(20))
    body += [0, UInt8(suites.count)] + suites + [1, 0]
    var extensions: [UInt8] = []
    for _ in 0..<(generator.chance(50) ? 0 : generator.below(6)) {
      let numbers: [UInt8] = [0, 10, 11, 13, 16, 22, 23, 35, 41, 43, 45, 51]
      let data = generator.bytes(generator.below(30))
      extensions += [0, numbers[generator.below(numbers.count)], 0, UInt8(data.count)] + data
    }
    return extensions.isEmpty ? body : body + [UInt8(extensions.count >> 8), UInt8(extensions.count & 255)] + extensions
  }

  /// Whole, or a fragment of it.
  private mutating func handshake(_ type: UInt8, _ body: [UInt8]) -> [UInt8] {
    let length = generator.chance(95) ? body.count : generator.below(1 << 24)
    guard isDatagram else { return [type] + number(length, 3) + body }
    let number16 = number(generator.chance(80) ? generator.below(3) : generator.below(65_536), 2)
    guard generator.chance(20), !body.isEmpty else {
      return [type] + number(length, 3) + number16 + number(0, 3) + number(length, 3) + body
    }
    let start = generator.below(body.count)
    let part = Array(body[start...].prefix(1 + generator.below(body.count - start)))
    let offset = generator.chance(90) ? start : generator.below(1 << 24)
    return [type] + number(length, 3) + number16 + number(offset, 3) + number(part.count, 3) + part
  }

  private mutating func record(_ type: UInt8, _ fragment: [UInt8], epoch: Int = 0) -> [UInt8] {
    let length = number(generator.chance(95) ? fragment.count : generator.below(65_536), 2)
    guard isDatagram else { return [type, 3, generator.chance(90) ? 1 : generator.byte()] + length + fragment }
    sequence += 1
    let counter = generator.chance(80) ? Int(sequence) : generator.below(1 << 48)
    return [type, 0xfe, generator.chance(90) ? 0xfd : generator.byte()] + number(epoch, 2) + number(counter, 6) + length + fragment
  }

  private func number(_ value: Int, _ bytes: Int) -> [UInt8] {
    (0..<bytes).reversed().map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  private mutating func spoil(_ bytes: inout [UInt8]) {
    switch generator.below(4) {
    case 0: bytes.removeLast(generator.below(bytes.count))
    case 1: bytes.insert(contentsOf: generator.bytes(1 + generator.below(3)), at: generator.below(bytes.count))
    case 2: if generator.chance(5) { bytes += [UInt8](repeating: 22, count: 1_500) }
    default:
      for _ in 0...generator.below(4) { bytes[generator.below(bytes.count)] ^= 1 << UInt8(generator.below(8)) }
    }
  }
}
