// Session: one peer: its requests and their repetitions, its observations, transfers in blocks, and messages under way.
// The shard makes sessions; DeviceRPCCoAP sends on them. Everything on the session's loop only.

internal import Synchronization

/// The bytes that all transfers in blocks of one endpoint may hold together.
final class ByteBudget: Sendable {
  private let left: Atomic<Int>

  init(_ bytes: Int) { left = Atomic(bytes) }

  func take(_ bytes: Int) -> Bool {
    if left.subtract(bytes, ordering: .relaxed).newValue >= 0 { return true }
    left.add(bytes, ordering: .relaxed)
    return false
  }

  func give(_ bytes: Int) { left.add(bytes, ordering: .relaxed) }
}

/// Tells the bodies of one peer apart: by the method and every option that a cache would look at (RFC 7959 §2.5, RFC 7252
/// §5.4.6), Request-Tag among them (RFC 9175 §3.3).
///
/// 64 bits of a hash with a key that only this process knows, so that nobody can make two requests with the same.
struct TransferKey: Hashable {
  private let value: Int

  init(_ request: CoAPRequest) {
    var hasher = Hasher()
    hasher.combine(request.method)
    hasher.combine(request.path)
    hasher.combine(request.query.count)
    // By their bytes: Swift takes some texts for equal that are different options.
    for item in request.query { for byte in item.utf8 { hasher.combine(byte) } }
    hasher.combine(request.contentFormat)
    hasher.combine(request.accept)
    hasher.combine(request.otherOptions)
    // The body of a FETCH says what is fetched (RFC 8132 §2.1).
    if request.method == .fetch { hasher.combine(request.payload) }
    value = hasher.finalize()
  }
}

/// A request body that arrives in blocks (RFC 7959 §2.5), in order and from block 0.
struct IncomingBody {
  let key: TransferKey
  private(set) var bytes: [UInt8] = []
  private(set) var touched: UInt64 = 0
  // When it is whole: its last block, and what that was answered with, as soon as it is.
  private var last: (block: CoAPBlock, digest: UInt32)?
  var answer: CoAPResponse?
  /// It was begun over its sender's rate, and is asked for no more of it.
  var isOverRate = false

  enum Outcome: Equatable {
    /// The block was taken, or had been before; more is to come (2.31).
    case more
    case complete
    /// The last block of a body that was whole before comes again.
    case repeated
    /// The block does not follow the last one (4.08).
    case outOfOrder
    /// The body would be longer than allowed (4.13).
    case tooLarge
  }

  init(_ key: TransferKey) { self.key = key }

  var isComplete: Bool { last != nil }

  /// Takes a block. One that was there before changes nothing, and one with other bytes takes the place of all from there
  /// on: its sender has begun again.
  mutating func append(_ block: CoAPBlock, _ payload: [UInt8], limit: Int, now: UInt64) -> Outcome {
    touched = now
    if let last {
      if last.block == block, last.digest == PDU.digest(payload) { return .repeated }
      guard block.number == 0 else { return .outOfOrder }
      let isOverRate = isOverRate
      self = IncomingBody(key)
      self.isOverRate = isOverRate
      return append(block, payload, limit: limit, now: now)
    }
    guard block.offset <= bytes.count else { return .outOfOrder }
    // What is longer than it says cannot be placed.
    guard block.canHave(payload.count) else { return .outOfOrder }
    if block.more, bytes[block.offset...].starts(with: payload) { return .more }
    bytes.removeSubrange(block.offset...)
    guard bytes.count + payload.count <= limit else { return .tooLarge }
    bytes += payload
    return block.more ? .more : .complete
  }

  /// Takes the whole body out, and remembers which block was its last.
  mutating func finish(_ block: CoAPBlock, _ payload: [UInt8]) -> [UInt8] {
    last = (block, PDU.digest(payload))
    defer { bytes = [] }
    return bytes
  }
}

/// A body that a peer fetches in blocks after it got the first one (RFC 7959 §2.4).
struct OutgoingBody {
  let key: TransferKey
  let response: CoAPResponse
  /// The notification whose body this is, to tell when it has gone out whole.
  let notification: UInt32?
  var touched: UInt64
  // Bytes from the beginning that have been asked for without a gap.
  private var asked = 0

  init(_ key: TransferKey, response: CoAPResponse, notification: UInt32?, touched: UInt64) {
    self.key = key
    self.response = response
    self.notification = notification
    self.touched = touched
  }

  /// The peer has asked for this block, or has got it unasked. True when that makes the body whole.
  mutating func ask(_ slice: CoAPResponse) -> Bool {
    guard let block = slice.block2 else { return false }
    if block.offset <= asked { asked = max(asked, block.offset + slice.payload.count) }
    return !block.more && asked == response.payload.count
  }

  /// The block with this number in blocks of that size, or nil beyond the end. With BERT it has as many bytes as there is
  /// `room` for.
  func block(_ number: UInt32, exponent: UInt8, room: Int) -> CoAPResponse? {
    var block = CoAPBlock(number: number, more: false, exponent: exponent)
    let body = response.payload
    guard block.offset < body.count else { return nil }
    let size = exponent == CoAPBlock.bert ? max(block.size, room / block.size * block.size) : block.size
    let end = min(block.offset + size, body.count)
    block.more = end < body.count
    var slice = response
    slice.block2 = block
    slice.payload = Array(body[block.offset..<end])
    // The size helps a peer to make room; once is enough.
    slice.size = number == 0 ? UInt32(clamping: body.count) : nil
    if number > 0 { slice.observe = nil }
    return slice
  }
}
