// Session: one peer: its requests and their retransmissions, its observations, block-wise transfers, and outstanding
// messages. The shard creates sessions; DeviceRPCCoAP sends on them. Everything runs on the session's loop only.

internal import Synchronization

/// The memory that all block-wise transfers of one endpoint may use together, in bytes.
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

/// Tells the bodies of one peer apart: by the method and all options of the cache key (RFC 7959 §2.5, RFC 7252 §5.4.6),
/// including Request-Tag (RFC 9175 §3.3).
///
/// A 64-bit hash with a key that only this process knows, so that nobody can construct two requests with the same hash.
struct TransferKey: Hashable {
  private let value: Int

  init(_ request: CoAPRequest) {
    var hasher = Hasher()
    hasher.combine(request.method)
    hasher.combine(request.path)
    hasher.combine(request.query.count)
    // Compared by bytes: Swift considers some strings equal that are different options.
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
  // When the body is complete: its last block, and the answer to it as soon as there is one.
  private var last: (block: CoAPBlock, digest: UInt32)?
  var answer: CoAPResponse?
  /// The transfer was begun over its sender's rate. Its later blocks are not counted against the rate.
  var isOverRate = false

  enum Outcome: Equatable {
    /// The block was accepted, now or before. More blocks are expected (2.31).
    case more
    case complete
    /// The last block of a complete body was received again.
    case repeated
    /// The block does not follow the last one (4.08).
    case outOfOrder
    /// The body would be longer than allowed (4.13).
    case tooLarge
  }

  init(_ key: TransferKey) { self.key = key }

  var isComplete: Bool { last != nil }

  /// Accepts a block. A block that was received before changes nothing. One with other bytes replaces everything from its
  /// offset on, because its sender has started again.
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
    // A payload that does not match the block size cannot be placed.
    guard block.canHave(payload.count) else { return .outOfOrder }
    if block.more, bytes[block.offset...].starts(with: payload) { return .more }
    bytes.removeSubrange(block.offset...)
    guard bytes.count + payload.count <= limit else { return .tooLarge }
    bytes += payload
    return block.more ? .more : .complete
  }

  /// Takes the complete body out, and remembers its last block.
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
  /// The number of the notification whose body this is, to report that it has been fetched completely.
  let notification: UInt32?
  var touched: UInt64
  // Bytes from the beginning that have been requested without a gap.
  private var asked = 0

  init(_ key: TransferKey, response: CoAPResponse, notification: UInt32?, touched: UInt64) {
    self.key = key
    self.response = response
    self.notification = notification
    self.touched = touched
  }

  /// Notes that the peer has requested this block, or was sent it without a request. True when this completes the body.
  mutating func ask(_ slice: CoAPResponse) -> Bool {
    guard let block = slice.block2 else { return false }
    if block.offset <= asked { asked = max(asked, block.offset + slice.payload.count) }
    return !block.more && asked == response.payload.count
  }

  /// The block with this number and block size, or nil beyond the end. With BERT it has as many bytes as `room` allows.
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
    // The size allows a peer to reserve memory. Once is enough.
    slice.size = number == 0 ? UInt32(clamping: body.count) : nil
    if number > 0 { slice.observe = nil }
    return slice
  }
}
