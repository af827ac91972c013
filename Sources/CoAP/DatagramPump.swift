internal import CLibcoap

/// Reads the datagrams of all shards of a loop, many with one call of libcoap.
///
/// `coap_io_do_epoll` reads each event's datagram for the context of the event's own endpoint, and then walks all
/// sessions of the context that it was called for. Called for a context without any, that walk costs nothing, however
/// many peers there are. (libcoap 4.3.1, net.c; the tests of this module watch over it.) What the walk is for, dropping
/// idle sessions and setting libcoap's timer, each shard with traffic gets now and then (`CoAPShard.isDue`).
/// Retransmissions mostly do not need it, since `coap_send` sets the timer itself; but when the next one is due before
/// `coap_io_prepare_epoll` returns, libcoap disarms the timer and leaves it so.
final class DatagramPump {
  private let loop: EventLoop
  private let context: OpaquePointer
  private var cookies: [UInt64] = []
  // Descriptors to take a datagram from and forget it, each before the cookie with this index is used.
  private var discards: [(before: Int, descriptor: Int32)] = []
  private var reading: [CoAPShard] = []
  private var unprepared: [CoAPShard] = []
  private var timer: LoopTimer?
  private var isClosed = false

  /// On the loop's thread.
  init(loop: EventLoop) throws(CoAPSystemError) {
    guard let context = coap_new_context(nil) else { throw CoAPSystemError("coap_new_context") }
    self.loop = loop
    self.context = context
    timer = loop.makeTimer { [unowned self] in self.prepareShards() }
  }

  deinit { assert(isClosed, "a pump was not closed") }

  func close() {
    guard !isClosed else { return }
    isClosed = true
    timer?.cancel()
    timer = nil
    unprepared = []
    coap_free_context(context)
  }

  /// Reads datagrams of `shard` at the end of this pass: say `read(from:)` or `discard(from:)` for each in their order.
  func begin(_ shard: CoAPShard) {
    if reading.isEmpty { loop.atEndOfPass { [unowned self] in self.readAll() } }
    reading.append(shard)
  }

  /// Lets libcoap have the next datagram.
  func read(from socket: AdoptedSocket) { cookies.append(socket.cookie) }

  /// Keeps the next datagram from libcoap.
  func discard(from socket: AdoptedSocket) { discards.append((cookies.count, socket.descriptor)) }

  private func readAll() {
    var start = 0
    for (index, descriptor) in discards {
      readDatagrams(start..<index)
      discard_datagram(descriptor)
      start = index
    }
    readDatagrams(start..<cookies.count)
    cookies.removeAll(keepingCapacity: true)
    discards.removeAll(keepingCapacity: true)
    let shards = reading
    reading.removeAll(keepingCapacity: true)
    for shard in shards { shard.hasRead() }
  }

  private func readDatagrams(_ range: Range<Int>) {
    cookies.withUnsafeBufferPointer {
      guard !range.isEmpty, let base = $0.baseAddress else { return }
      read_datagrams(context, base + range.lowerBound, range.count)
    }
  }

  func noteTraffic(of shard: CoAPShard) {
    guard !shard.isUnprepared else { return }
    shard.isUnprepared = true
    unprepared.append(shard)
    if unprepared.count == 1 { timer?.arm(at: EventLoop.monotonic + 1_000_000_000) }
  }

  // A few at a time: a walk over all sessions of all shards would hold up the calls.
  private func prepareShards() {
    let due = unprepared.filter { $0.isDue(now: loop.passTime) }
    for shard in due.prefix(4) {
      shard.isUnprepared = false
      unprepared.removeAll { $0 === shard }
      shard.prepare()
    }
    if !unprepared.isEmpty {
      timer?.arm(at: loop.passTime + (due.count > 4 ? 100_000_000 : 1_000_000_000))
    }
  }
}
