internal import CLibcoap

/// The block-wise transfers with one peer, few enough for a linear search.
final class BlockTransfers {
  var incoming: [IncomingBody] = []
  var outgoing: [OutgoingBody] = []

  var isEmpty: Bool { incoming.isEmpty && outgoing.isEmpty }
}

/// Block-wise transfers (RFC 7959). Several may be in progress, each identified by its `TransferKey`.
extension CoAPSession {
  /// Accepts a block of a request body. Returns the response to send, or nil when `request` now has the whole body.
  func receive(_ block: CoAPBlock, of request: inout CoAPRequest, now: UInt64) -> CoAPResponse? {
    let key = TransferKey(request)
    // A body of one block need not be stored.
    if block.number == 0, !block.more {
      forgetIncoming(key)
      return nil
    }
    guard var body = takeIncoming(key) ?? (block.number == 0 ? IncomingBody(key) : nil) else {
      return .error(.requestEntityIncomplete, "block \(block.number) without the blocks before it; start again")
    }
    if block.number == 0 { body.isOverRate = request.isOverRate }
    let held = body.bytes.count
    let outcome = body.append(block, request.payload, limit: shard.limits.bodyBytes, now: now)
    guard shard.budget.take(body.bytes.count - held) else {
      shard.budget.give(held)
      return .error(.serviceUnavailable, "too many transfers in blocks at once; try again later")
    }
    switch outcome {
    case .more:
      keep(body)
      var response = CoAPResponse(.continue)
      response.block1 = block
      return response
    case .complete:
      shard.budget.give(body.bytes.count)
      let payload = request.payload
      request.payload = body.finish(block, payload)
      request.isOverRate = body.isOverRate
      keep(body)
      return nil
    case .repeated:
      keep(body)
      return body.answer ?? .error(.serviceUnavailable, "the answer to this body is still to come")
    case .outOfOrder:
      shard.budget.give(body.bytes.count)
      return .error(.requestEntityIncomplete, "block \(block.number) does not follow; start again")
    case .tooLarge:
      shard.budget.give(body.bytes.count)
      var response = CoAPResponse.error(.requestEntityTooLarge, "a body may have \(shard.limits.bodyBytes) bytes")
      response.size = UInt32(clamping: shard.limits.bodyBytes)
      return response
    }
  }

  /// Stores the response to a request. Its last block gets the same response if it is received again.
  func noteAnswer(_ response: CoAPResponse, to request: CoAPRequest) {
    guard request.block1 != nil, let transfers else { return }
    let key = TransferKey(request)
    guard let index = transfers.incoming.firstIndex(where: { $0.key == key && $0.isComplete }) else { return }
    transfers.incoming[index].answer = response
  }

  private func keep(_ body: IncomingBody) {
    let transfers = transfers ?? BlockTransfers()
    self.transfers = transfers
    if transfers.incoming.count >= max(1, shard.limits.transfersPerSession) { forgetIncoming(transfers.incoming[0].key) }
    // The least recently used transfers come first.
    transfers.incoming.append(body)
    shard.watchTransfers(of: self)
  }

  private func takeIncoming(_ key: TransferKey) -> IncomingBody? {
    guard let index = transfers?.incoming.firstIndex(where: { $0.key == key }) else { return nil }
    return transfers?.incoming.remove(at: index)
  }

  private func forgetIncoming(_ key: TransferKey) {
    if let body = takeIncoming(key) { shard.budget.give(body.bytes.count) }
  }

  /// The largest payload of a message to the peer, in bytes. Over TCP and TLS the peer sets the size of the whole message
  /// (RFC 8323 §5.3.1), by default 1,152 bytes. The options take up to 48 of them.
  var room: Int {
    guard scheme.isStream, let handle else { return shard.limits.datagramPayload }
    return min(coap_session_max_pdu_size(handle), shard.limits.messageBytes) - 48
  }

  /// Returns the first block of `response` and keeps the rest for the peer to fetch, or returns `response` itself when it
  /// fits.
  ///
  /// `exponent` is the block size that the peer requested, if any. Nil when the memory limit of all transfers is reached, and
  /// when the peer has no room for a block of any size.
  func firstBlock(
    of response: CoAPResponse, _ key: @autoclosure () -> TransferKey, exponent: UInt8?, notification: UInt32?
  ) -> CoAPResponse? {
    let room = room
    var limit = min(room, shard.limits.datagramPayload)
    if let exponent { limit = exponent == CoAPBlock.bert ? room : min(room, 16 << Int(exponent)) }
    guard response.payload.count > limit else { return response }
    // The blocks are no larger than the peer has requested and has room for.
    var block = CoAPBlock(number: 0, more: true, exponent: exponent ?? 6)
    while block.size > room {
      guard block.exponent > 0 else { return nil }
      block.exponent -= 1
    }
    let key = key()
    forgetOutgoing { $0.key == key }
    guard shard.budget.take(response.payload.count) else { return nil }
    var whole = response
    whole.etag = EventLoop.monotonic
    var body = OutgoingBody(key, response: whole, notification: notification, touched: EventLoop.monotonic)
    let first = body.block(0, exponent: block.exponent, room: room)
    if let first { _ = body.ask(first) }
    let transfers = transfers ?? BlockTransfers()
    self.transfers = transfers
    if transfers.outgoing.count >= max(1, shard.limits.transfersPerSession) {
      let oldest = transfers.outgoing[0].key
      forgetOutgoing { $0.key == oldest }
    }
    transfers.outgoing.append(body)
    shard.watchTransfers(of: self)
    return first
  }

  /// The message to send for `response`: all of it, its first block, or an error.
  func cutting(_ response: CoAPResponse, for request: CoAPRequest) -> CoAPResponse {
    firstBlock(of: response, TransferKey(request), exponent: request.block2?.exponent, notification: nil)
      ?? .error(.serviceUnavailable, "too many transfers in blocks at once; try again later")
  }

  /// Whether a request continues a block-wise transfer, in either direction.
  func isLaterBlock(_ request: CoAPRequest) -> Bool {
    guard let transfers else { return false }
    if let block = request.block1, block.number > 0 {
      let key = TransferKey(request)
      return transfers.incoming.contains { $0.key == key }
    }
    if let block = request.block2, block.number > 0 {
      let key = TransferKey(request)
      return transfers.outgoing.contains { $0.key == key }
    }
    return false
  }

  /// A later block of a body that the peer is fetching, the notification that it belongs to, and whether the peer has now
  /// requested all blocks.
  func laterBlock(_ block: CoAPBlock, of request: CoAPRequest) -> (CoAPResponse, notification: UInt32?, isWhole: Bool) {
    let key = TransferKey(request)
    guard let transfers, let index = transfers.outgoing.firstIndex(where: { $0.key == key }) else {
      return (.error(.badRequest, "no body to fetch block \(block.number) of"), nil, false)
    }
    guard let slice = transfers.outgoing[index].block(block.number, exponent: block.exponent, room: room) else {
      return (.error(.badRequest, "block \(block.number) is beyond the end"), nil, false)
    }
    var body = transfers.outgoing.remove(at: index)
    body.touched = EventLoop.monotonic
    let isWhole = body.ask(slice)
    // The body stays until it is replaced or forgotten: the answer to this request may get lost.
    transfers.outgoing.append(body)
    return (slice, body.notification, isWhole)
  }

  /// Forgets transfers without progress since `time`. False when none is left.
  @discardableResult
  func forgetTransfers(before time: UInt64 = .max) -> Bool {
    guard let transfers else { return false }
    for body in transfers.incoming where body.touched < time { forgetIncoming(body.key) }
    forgetOutgoing { $0.touched < time }
    if transfers.isEmpty { self.transfers = nil }
    return self.transfers != nil
  }

  private func forgetOutgoing(where isOver: (OutgoingBody) -> Bool) {
    guard let transfers else { return }
    let over = transfers.outgoing.filter(isOver)
    guard !over.isEmpty else { return }
    transfers.outgoing.removeAll(where: isOver)
    for body in over { shard.budget.give(body.response.payload.count) }
    let lost = over.compactMap(\.notification)
    guard !lost.isEmpty else { return }
    loop.atEndOfPass { for number in lost { for observation in self.observations { observation.lostBody(of: number) } } }
  }
}
