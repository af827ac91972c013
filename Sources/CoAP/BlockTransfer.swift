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

/// A request body that arrives in blocks (RFC 7959 §2.5), in order and from block 0.
struct IncomingBody {
  let method: CoAPCode
  let path: String
  let contentFormat: ContentFormat?
  private(set) var bytes: [UInt8] = []
  private(set) var touched: UInt64 = 0

  enum Outcome: Equatable {
    /// The block was taken; more is to come (2.31).
    case more
    case complete
    /// The block does not follow the last one (4.08).
    case outOfOrder
    /// The body would be longer than allowed (4.13).
    case tooLarge
  }

  init(_ request: CoAPRequest) {
    method = request.method
    path = request.path
    contentFormat = request.contentFormat
  }

  /// Whether `request` carries a later block of this body.
  func continues(with request: CoAPRequest) -> Bool {
    method == request.method && path == request.path && contentFormat == request.contentFormat
  }

  mutating func append(
    _ block: CoAPBlock, _ payload: [UInt8], limit: Int, now: UInt64
  ) -> Outcome {
    guard block.offset == bytes.count else { return .outOfOrder }
    // Only the last block may be short; a longer one than it says cannot be placed.
    guard block.more ? payload.count == block.size : payload.count <= block.size else {
      return .outOfOrder
    }
    guard bytes.count + payload.count <= limit else { return .tooLarge }
    bytes += payload
    touched = now
    return block.more ? .more : .complete
  }
}

/// A body that a peer fetches in blocks after it got the first one (RFC 7959 §2.4).
struct OutgoingBody {
  let path: String
  let response: CoAPResponse
  /// The notification whose body this is, to tell when it has gone out whole.
  let notification: UInt32?
  var touched: UInt64
  // Bytes from the beginning that have been asked for without a gap.
  private var asked = 0

  init(path: String, response: CoAPResponse, notification: UInt32?, touched: UInt64) {
    self.path = path
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

  /// The block with this number in blocks of `16 << exponent` bytes, or nil beyond the end.
  func block(_ number: UInt32, exponent: UInt8) -> CoAPResponse? {
    Self.block(of: response, number: number, exponent: exponent)
  }

  static func block(of response: CoAPResponse, number: UInt32, exponent: UInt8) -> CoAPResponse? {
    var block = CoAPBlock(number: number, more: false, exponent: exponent)
    let body = response.payload
    guard block.offset < body.count else { return nil }
    let end = min(block.offset + block.size, body.count)
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
