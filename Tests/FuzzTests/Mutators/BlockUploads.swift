import TestSupport

/// Bodies on their way in blocks, several at a time, whose parts come in any order (RFC 7959 §2, RFC 8323 §6).
struct BlockUploads {
  private struct Upload {
    let body: [UInt8]
    let size: Int
    let token: [UInt8]
    let options: [(number: Int, value: [UInt8])]
    // In units of the option.
    var next = 0
  }

  /// The exponent of the largest block: 7 is BERT, whose messages have several blocks of 1,024 bytes.
  let largestSize: Int
  private var uploads: [Upload] = []

  init(largestSize: Int) { self.largestSize = largestSize }

  /// More than a server keeps for one peer.
  var hasRoom: Bool { uploads.count < 12 }

  mutating func begin(_ body: [UInt8], size: Int, token: [UInt8], options: [(number: Int, value: [UInt8])]) {
    uploads.append(Upload(body: body, size: size, token: token, options: options))
  }

  /// A part of one of them: mostly the next, sometimes one that has been sent or one too far.
  mutating func next(_ generator: inout SeededGenerator) -> Mutator.Shape? {
    guard !uploads.isEmpty else { return nil }
    let index = generator.below(uploads.count)
    let upload = uploads[index]
    let unit = upload.size == 7 ? 1_024 : 16 << upload.size
    let number = generator.chance(90) ? upload.next : generator.below(upload.next + 3)
    let part = upload.body.dropFirst(number * unit).prefix(upload.size == 7 ? unit * (1 + generator.below(4)) : unit)
    let hasMore = part.endIndex < upload.body.count
    uploads[index].next = number + (part.count + unit - 1) / unit
    if !hasMore { uploads.remove(at: index) }
    return Mutator.Shape(
      code: 2, messageID: 0, token: upload.token,
      options: upload.options + [(27, block(number: number, hasMore: hasMore, size: upload.size))], payload: Array(part))
  }

  /// The value of a Block option (RFC 7959 §2.2).
  func block(number: Int, hasMore: Bool, size: Int) -> [UInt8] {
    let value = number << 4 | (hasMore ? 8 : 0) | size
    return value > 0xff ? [UInt8(truncatingIfNeeded: value >> 8), UInt8(truncatingIfNeeded: value)] : value > 0 ? [UInt8(value)] : []
  }
}
