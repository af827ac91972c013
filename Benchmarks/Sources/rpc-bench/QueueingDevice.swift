internal import Glibc
internal import Synchronization

/// A device with a bounded queue of requests, over a network that delays each message.
final class QueueingDevice: Sendable {
  /// Requests that did not fit.
  let dropped = Atomic(0)
  private let isStopping = Atomic(false)
  private let descriptor: Int32
  private let capacity: Int
  private let delay: UInt64

  /// Nil when there is no socket to be had. `delay` is in nanoseconds, each way.
  init?(port: UInt16, capacity: Int, delay: UInt64) {
    self.capacity = capacity
    self.delay = delay
    descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let isConnected = withUnsafePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
    guard isConnected else { return nil }
  }

  deinit { close(descriptor) }

  func stop() { isStopping.store(true, ordering: .relaxed) }

  /// Observes `/.rpc` as d0 and answers calls until `stop()`. Blocks its thread.
  func run() {
    var arriving: [(due: UInt64, bytes: [UInt8])] = []
    var leaving: [(due: UInt64, bytes: [UInt8])] = []
    var queue: [[UInt8]] = []
    // The message id of the request that is not answered yet.
    var underWay: UInt16?
    var lastID: UInt16 = 1
    func send(_ bytes: [UInt8]) { leaving.append((monotonic() + delay, bytes)) }
    func enqueue(_ path: [String], payload: [UInt8]) {
      guard queue.count < capacity else {
        dropped.add(1, ordering: .relaxed)
        return
      }
      lastID &+= 1
      queue.append(Self.request(2, lastID, path, contentFormat: 50, payload: payload))
    }
    send(Self.request(1, lastID, [".rpc"]))
    while !isStopping.load(ordering: .relaxed) {
      var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      poll(&waiting, 1, 1)
      var buffer = [UInt8](repeating: 0, count: 2_048)
      while case let count = recv(descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT)), count >= 4 {
        arriving.append((monotonic() + delay, Array(buffer[..<count])))
      }
      let now = monotonic()
      while let message = arriving.first, message.due <= now {
        let bytes = arriving.removeFirst().bytes
        let isAcknowledgement = bytes[0] & 0x30 == 0x20
        if isAcknowledgement {
          if UInt16(bytes[2]) << 8 | UInt16(bytes[3]) == underWay { underWay = nil }
        } else if let id = Self.callID(in: bytes) {
          send([0x60, 0, bytes[2], bytes[3]])
          enqueue([".s", "logs"], payload: Array(#"{"level":"info","msg":"a call"}"#.utf8))
          enqueue([".rpc", "status"], payload: Array(#"{"id":"\#(id)","status":0}"#.utf8))
        }
      }
      if underWay == nil, !queue.isEmpty {
        let request = queue.removeFirst()
        underWay = UInt16(request[2]) << 8 | UInt16(request[3])
        send(request)
      }
      while let message = leaving.first, message.due <= now {
        _ = Glibc.send(descriptor, leaving.removeFirst().bytes, message.bytes.count, 0)
      }
    }
  }

  /// A confirmable request of the device d0, without a token. A GET is an observation.
  private static func request(
    _ method: UInt8, _ id: UInt16, _ path: [String], contentFormat: UInt8? = nil, payload: [UInt8] = []
  ) -> [UInt8] {
    var bytes: [UInt8] = [0x40, method, UInt8(id >> 8), UInt8(truncatingIfNeeded: id)]
    var last: UInt8 = 0
    func option(_ number: UInt8, _ value: [UInt8]) {
      bytes += [(number - last) << 4 | UInt8(value.count)] + value
      last = number
    }
    if method == 1 { option(6, []) }
    for segment in path { option(11, Array(segment.utf8)) }
    if let contentFormat { option(12, [contentFormat]) }
    option(15, Array("ep=d0".utf8))
    return payload.isEmpty ? bytes : bytes + [0xff] + payload
  }

  /// The id of the call in a notification; nil when the message is none.
  private static func callID(in bytes: [UInt8]) -> String? {
    let text = String(decoding: bytes, as: UTF8.self)
    guard let start = text.firstRange(of: #""id":""#)?.upperBound, let end = text[start...].firstIndex(of: "\"") else { return nil }
    return String(text[start..<end])
  }
}
