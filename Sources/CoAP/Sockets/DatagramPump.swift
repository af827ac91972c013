internal import CLibcoap

/// Reads the datagrams of all shards of a loop, many with one call of libcoap.
///
/// `coap_io_do_epoll` reads each event's datagram for the context of the event's own endpoint, and then walks all
/// sessions of the context that it was called for. Called for a context without any, that walk costs nothing, however
/// many peers there are. (libcoap 4.3.1, net.c; the tests of this module watch over it.)
///
/// What the walk is for, sending again and dropping idle sessions, each shard gets when it is due by our own clock.
/// libcoap's timer is not listened to: `coap_wait_ack` sets it by a message's distance from the one before it in the
/// queue, so that under load it fires, and walks, every few milliseconds.
final class DatagramPump {
  private let loop: EventLoop
  private let context: OpaquePointer
  let retransmissions: Retransmissions
  let feed: TLSFeed
  private let peeked = UnsafeMutablePointer<peeked_datagram>.allocate(capacity: Int(PEEK_BATCH))
  private let peekedBytes = UnsafeMutablePointer<UInt8>.allocate(capacity: Int(PEEK_BATCH * PEEK_BYTES))
  private let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: 64)
  private var cookies: [UInt64] = []
  // What is read of established sessions over DTLS, by the index of its cookie.
  private var records: [(index: Int, socket: AdoptedSocket, session: CoAPSession, bytes: UnsafeBufferPointer<UInt8>)] = []
  private var hasSecure = false
  // Datagrams that libcoap does not get, each taken before the cookie with this index is used.
  private var exceptions: [(before: Int, socket: AdoptedSocket, what: Exception)] = []
  private var reading: [CoAPShard] = []
  private var shards: [CoAPShard] = []
  private var nextDue = UInt64.max
  private var turn = 0
  // Sessions that libcoap has freed since memory was given back, and when that was.
  private var freed = 0
  private var trimmedAt: UInt64 = 0
  private var timer: LoopTimer?
  private var isClosed = false

  private enum Exception {
    case ignored
    case answered([UInt8])
    case served([UInt8], PeerKey, CoAPShard)
  }

  /// On the loop's thread.
  init(loop: EventLoop) throws(CoAPSystemError) {
    guard let context = coap_new_context(nil) else { throw CoAPSystemError("coap_new_context") }
    self.loop = loop
    self.context = context
    retransmissions = Retransmissions(loop: loop)
    feed = try TLSFeed()
    // Of plain CoAP not all fields are filled in, and Swift takes a Bool that is neither true nor false for nil: a loop over
    // the datagrams would end there, and leave them to be read unseen.
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

  /// Looks at the datagrams that wait in a socket, without taking them; valid until the next look. They are copied into
  /// `buffer`, which has PEEK_BYTES for each of PEEK_BATCH.
  func peek(_ socket: AdoptedSocket, into buffer: UnsafeMutablePointer<UInt8>? = nil) -> UnsafeBufferPointer<peeked_datagram> {
    UnsafeBufferPointer(
      start: peeked, count: Int(peek_datagrams(socket.descriptor, peeked, buffer ?? peekedBytes, socket.isSecure)))
  }

  /// Reads datagrams of `shard` at the end of this pass: say `read(from:)` or `discard(from:)` for each in their order.
  func begin(_ shard: CoAPShard) {
    if reading.isEmpty { loop.atEndOfPass { [unowned self] in self.readAll() } }
    reading.append(shard)
  }

  /// Lets libcoap have the next datagram, or the connection that waits.
  func read(from socket: AdoptedSocket) {
    if socket.isSecure { hasSecure = true }
    cookies.append(socket.cookie)
  }

  /// The same, for `bytes` of an established DTLS session, which stay where they are until the end of the pass.
  func read(from socket: AdoptedSocket, _ bytes: UnsafeBufferPointer<UInt8>, of session: CoAPSession) {
    records.append((cookies.count, socket, session, bytes))
    read(from: socket)
  }

  /// Handles what waits on the connections of a context. False when its timer is due, too.
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

  /// Keeps the next datagram from libcoap, and answers it with another one.
  func discard(from socket: AdoptedSocket, answer: [UInt8]? = nil) {
    exceptions.append((cookies.count, socket, answer.map(Exception.answered) ?? .ignored))
  }

  /// Keeps the next datagram from libcoap, and has `shard` serve the request in it.
  func serve(_ message: [UInt8], of peer: PeerKey, from socket: AdoptedSocket, by shard: CoAPShard) {
    exceptions.append((cookies.count, socket, .served(message, peer, shard)))
  }

  /// Has libcoap read the next datagram now.
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

  /// What a flood or a fleet that has left took, malloc keeps. Giving it back takes milliseconds, so not often.
  private func trim(at now: UInt64) {
    guard freed >= 8_192, now >= trimmedAt + 60_000_000_000 else { return }
    (freed, trimmedAt) = (0, now)
    malloc_trim(0)
  }

  /// Gives `shard` its `prepare` when its time has come, which is `due` or an earlier one said before.
  func note(_ shard: CoAPShard, due: UInt64) {
    guard due < shard.due else { return }
    shard.due = due
    if due < nextDue { schedule(due) }
  }

  private func schedule(_ due: UInt64) {
    nextDue = due
    if due == .max { timer?.disarm() } else { timer?.arm(at: due) }
  }

  // A few at a time: a walk over all sessions of all shards would hold up the calls.
  private func prepareShards() {
    let now = loop.passTime
    var left = 4
    nextDue = .max
    // On from where the last turn ended, or the first ones would have all of them.
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
