internal import CLibcoap

/// Reads the datagrams of all shards of a loop, many with one call to libcoap.
///
/// `coap_io_do_epoll` reads the datagram of each event for the context of the event's own endpoint, and then walks all
/// sessions of the context that it was called with. If that context has no sessions, the walk costs nothing, however many
/// peers there are (libcoap 4.3.1, net.c). The tests of this module check this.
///
/// The purpose of the walk, retransmission and dropping idle sessions, is served by `prepare` of each shard when it is due.
/// libcoap's timer is ignored: `coap_wait_ack` sets it by a message's distance from the one before it in the queue, so that
/// under load it fires, and causes a walk, every few milliseconds.
final class DatagramPump {
  private let loop: EventLoop
  private let context: OpaquePointer
  let retransmissions: Retransmissions
  let feed: TLSFeed
  private let peeked = UnsafeMutablePointer<peeked_datagram>.allocate(capacity: Int(PEEK_BATCH))
  private let peekedBytes = UnsafeMutablePointer<UInt8>.allocate(capacity: Int(PEEK_BATCH * PEEK_BYTES))
  private let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: 64)
  private var cookies: [UInt64] = []
  // Records of established DTLS sessions to be read, with the index of their cookie.
  private var records: [(index: Int, socket: AdoptedSocket, session: CoAPSession, bytes: UnsafeBufferPointer<UInt8>)] = []
  private var hasSecure = false
  // Datagrams that libcoap does not get. Each is taken before the cookie with this index is used.
  private var exceptions: [(before: Int, socket: AdoptedSocket, what: Exception)] = []
  private var reading: [CoAPShard] = []
  private var shards: [CoAPShard] = []
  private var nextDue = UInt64.max
  private var turn = 0
  // The number of sessions that libcoap has freed since memory was last returned to the system, and the time of that.
  private var freed = 0
  private var trimmedAt: UInt64 = 0
  private var timer: LoopTimer?
  private var isClosed = false

  private enum Exception {
    case ignored
    case answered([UInt8])
    case served([UInt8], PeerKey, CoAPShard)
  }

  /// Must be called on the loop's thread.
  init(loop: EventLoop) throws(CoAPSystemError) {
    guard let context = coap_new_context(nil) else { throw CoAPSystemError("coap_new_context") }
    self.loop = loop
    self.context = context
    retransmissions = Retransmissions(loop: loop)
    feed = try TLSFeed()
    // For plain CoAP not all fields are set, and Swift takes a Bool that is neither true nor false for nil: a loop over the
    // datagrams would end there, and the others would be read without being checked.
    peeked.initialize(repeating: peeked_datagram(), count: Int(PEEK_BATCH))
    timer = loop.makeTimer { [unowned self] in self.prepareShards() }
  }

  deinit {
    assert(isClosed, "a pump was not closed")
    peeked.deallocate()
    peekedBytes.deallocate()
    events.deallocate()
  }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    timer?.cancel()
    timer = nil
    retransmissions.close()
    shards = []
    coap_free_context(context)
  }

  func add(_ shard: CoAPShard) { shards.append(shard) }

  /// Peeks at the datagrams that wait in a socket. The result is valid until the next call. The datagrams are copied into
  /// `buffer`, which has PEEK_BYTES for each of PEEK_BATCH.
  func peek(_ socket: AdoptedSocket, into buffer: UnsafeMutablePointer<UInt8>? = nil) -> UnsafeBufferPointer<peeked_datagram> {
    let count = Int(peek_datagrams(socket.descriptor, peeked, buffer ?? peekedBytes, socket.isSecure))
    loop.counts.packetsReceived &+= UInt64(max(1, count))
    return UnsafeBufferPointer(start: peeked, count: count)
  }

  /// Reads datagrams of `shard` at the end of this pass. Call `read`, `discard` or `serve` for each of them, in their order.
  func begin(_ shard: CoAPShard) {
    if reading.isEmpty { loop.atEndOfPass { [unowned self] in self.readAll() } }
    reading.append(shard)
  }

  /// Lets libcoap read the next datagram, or accept the connection that waits.
  func read(from socket: AdoptedSocket) {
    if socket.isSecure { hasSecure = true }
    cookies.append(socket.cookie)
  }

  /// The same, for `bytes` of an established DTLS session, which must stay valid until the end of the pass.
  func read(from socket: AdoptedSocket, _ bytes: UnsafeBufferPointer<UInt8>, of session: CoAPSession) {
    records.append((cookies.count, socket, session, bytes))
    read(from: socket)
  }

  /// Handles the events of the connections of a context. False when the context's timer is due, too.
  func readStreams(of other: OpaquePointer, _ connections: Connections) -> Bool {
    var hasTimer = false
    let count = Int(wait_for_streams(other, events))
    for index in 0..<max(0, count) {
      guard let socket = events[index].data.ptr else {
        hasTimer = true
        continue
      }
      connections.watch(UInt(bitPattern: socket)) { read_stream(context, events[index]) }
    }
    return !hasTimer
  }

  /// Takes the next datagram without passing it to libcoap, and sends `answer` to its sender.
  func discard(from socket: AdoptedSocket, answer: [UInt8]? = nil) {
    exceptions.append((cookies.count, socket, answer.map(Exception.answered) ?? .ignored))
  }

  /// Has `shard` serve the request in the next datagram, instead of libcoap.
  func serve(_ message: [UInt8], of peer: PeerKey, from socket: AdoptedSocket, by shard: CoAPShard) {
    exceptions.append((cookies.count, socket, .served(message, peer, shard)))
  }

  /// Lets libcoap read the next datagram now.
  func readNow(from socket: AdoptedSocket) {
    withUnsafePointer(to: socket.cookie) { read_datagrams(context, $0, 1, false) }
  }

  private func readAll() {
    var start = 0
    for (index, socket, what) in exceptions {
      readDatagrams(start..<index)
      switch what {
      case .ignored: discard_datagram(socket.descriptor)
      case .answered(let answer): answer_datagram(socket.descriptor, answer, answer.count)
      case .served(let message, let peer, let shard): shard.serve(message, of: peer, from: socket)
      }
      start = index
    }
    readDatagrams(start..<cookies.count)
    cookies.removeAll(keepingCapacity: true)
    records.removeAll(keepingCapacity: true)
    hasSecure = false
    exceptions.removeAll(keepingCapacity: true)
    // None of them begins to read again before the next pass.
    for shard in reading { shard.hasRead() }
    reading.removeAll(keepingCapacity: true)
  }

  private func readDatagrams(_ range: Range<Int>) {
    cookies.withUnsafeBufferPointer {
      guard !range.isEmpty, let base = $0.baseAddress else { return }
      guard hasSecure else { return read_datagrams(context, base + range.lowerBound, range.count, false) }
      var start = range.lowerBound
      for (index, socket, session, bytes) in records where range.contains(index) {
        read_datagrams(context, base + start, index - start, true)
        start = index
        guard !session.shard.mayRead(bytes, of: session) else { continue }
        discard_datagram(socket.descriptor)
        start += 1
      }
      read_datagrams(context, base + start, range.upperBound - start, true)
    }
  }

  func hasFreedSession() { freed += 1 }

  /// malloc keeps the memory of freed sessions, for example after a flood. Returning it to the system takes milliseconds, so
  /// this is done rarely.
  private func trim(at now: UInt64) {
    guard freed >= 8_192, now >= trimmedAt + 60_000_000_000 else { return }
    (freed, trimmedAt) = (0, now)
    malloc_trim(0)
  }

  /// Calls `prepare` of `shard` at `due`, or at an earlier time that was noted before.
  func note(_ shard: CoAPShard, due: UInt64) {
    guard due < shard.due else { return }
    shard.due = due
    if due < nextDue { schedule(due) }
  }

  private func schedule(_ due: UInt64) {
    nextDue = due
    if due == .max { timer?.disarm() } else { timer?.arm(at: due) }
  }

  // A few shards at a time: a walk over all sessions of all shards would delay the calls.
  private func prepareShards() {
    let now = loop.passTime
    var left = 4
    nextDue = .max
    // Continues where the last call has ended. Otherwise the first shards would always be served first.
    let first = turn
    for offset in shards.indices {
      let number = (first + offset) % shards.count
      guard shards[number].due <= now else { continue }
      guard left > 0 else {
        turn = number
        return schedule(now + 1_000_000)
      }
      left -= 1
      shards[number].due = .max
      shards[number].prepare()
    }
    schedule(shards.lazy.map(\.due).min() ?? .max)
    trim(at: now)
  }
}
