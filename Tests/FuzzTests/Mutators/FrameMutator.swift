extension Mutator {
  /// A message of CoAP over TCP (RFC 8323 §3.2) that is nearly right, or several, or half of one.
  mutating func frames() -> [UInt8] {
    if generator.below(30) == 0 { return generator.bytes(1 + generator.below(64)) }
    var bytes: [UInt8] = []
    for _ in 0...(generator.chance(70) ? 0 : generator.below(20)) { bytes += frame() }
    if generator.chance(15) { spoil(&bytes) }
    return bytes
  }

  /// A CSM, in half of all cases with Max-Message-Size and Block-Wise-Transfer: its sender takes BERT.
  mutating func firstFrame() -> [UInt8] {
    generator.chance(50) ? [0x00, 0xe1] : [0x50, 0xe1, 0x23, 0, 0x40 << generator.below(2), 0, 0x20]
  }

  private mutating func frame() -> [UInt8] {
    let token = generator.chance(80) ? [] : generator.bytes(generator.below(9))
    switch generator.below(20) {
    // Signalling: CSM, Ping, Pong; less often Release and Abort, which end the connection.
    case 0: return head(code: 0xe1, token, options())
    case 1: return head(code: 0xe2, token, options())
    case 2: return head(code: 0xe3, token, options())
    case 3: return head(code: generator.chance(20) ? 0xe4 + generator.byte() & 1 : 0xe6, token, options())
    case 4: return head(code: 0, token, [])
    case 5: return head(code: generator.byte(), token, generator.bytes(generator.below(40)))
    case 6 where generator.chance(20):
      // More than it has, or than anybody has.
      let length = [[UInt8](repeating: 0xff, count: 4), [0, 0x7f, 0, 0], [0, 0, 0x10, 0]][generator.below(3)]
      return [0xf0 | UInt8(token.count)] + length + [generator.byte()] + token
    default:
      let shape = shape()
      return head(code: shape.code, shape.token, body(of: shape))
    }
  }

  private mutating func options() -> [UInt8] {
    switch generator.below(4) {
    case 0: []
    case 1: [0x20 | UInt8(generator.below(5))] + generator.bytes(4)
    case 2: [0x23, 0x10, 0, 0, 0x20]
    default: generator.bytes(generator.below(12))
    }
  }

  private mutating func head(code: UInt8, _ token: [UInt8], _ body: [UInt8]) -> [UInt8] {
    let tokenLength = generator.chance(98) ? UInt8(token.count) : UInt8(generator.below(16))
    let length = generator.chance(97) ? body.count : generator.below(2_000)
    let (nibble, rest): (UInt8, [UInt8]) =
      switch length {
      case ..<13: (UInt8(length), [])
      case ..<269: (13, [UInt8(length - 13)])
      default: (14, [UInt8((length - 269) >> 8), UInt8((length - 269) & 255)])
      }
    return [nibble << 4 | tokenLength] + rest + [code] + token + body
  }
}
