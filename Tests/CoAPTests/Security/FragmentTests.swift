import CoAP
import Glibc
import Synchronization
import TestSupport
import Testing

/// A ClientHello that comes in several datagrams (RFC 6347 §4.2.3).
@Suite(.timeLimit(.minutes(1))) struct FragmentTests {
  /// A fragment of a ClientHello: how long it says to be, and where this part of it is.
  private static func fragment(of bytes: Int, at offset: Int, _ part: [UInt8], sequence: UInt8) -> [UInt8] {
    func three(_ number: Int) -> [UInt8] { [UInt8(number >> 16 & 0xff), UInt8(number >> 8 & 0xff), UInt8(number & 0xff)] }
    let message = [1] + three(bytes) + [0, 0] + three(offset) + three(part.count) + part
    return [22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, sequence] + three(message.count).dropFirst() + message
  }

  /// The beginning of one: version, random bytes, an empty session id, the cookie.
  private static func beginning(cookie: [UInt8] = []) -> [UInt8] {
    [0xfe, 0xfd] + [UInt8](repeating: 0x5a, count: 32) + [0, UInt8(cookie.count)] + cookie
  }

  /// Whether a record is the first fragment of a ClientHello with a cookie.
  private static let isFirst = { @Sendable (record: [UInt8]) in
    record.count > 60 && record[0] == 22 && record[13] == 1 && record[19...21] == [0, 0, 0] && record[60] > 0
  }

  @Test(arguments: [0, 1])
  func `a device whose ClientHello comes in fragments is let in`(lost: Int) async throws {
    try await SecureEndpointTests().withSecured { secured in
      let seen = Mutex(0)
      let isLost = { @Sendable (record: [UInt8]) in
        Self.isFirst(record)
          && seen.withLock { seen in
            seen += 1
            return seen <= lost
          }
      }
      let relay = try Relay(to: try #require(secured.address(.coaps)), losing: isLost)
      let peer = try KeyedPeer(
        to: relay.address, identity: "sensor-1", key: Array("first-key".utf8), options: ["-mtu", "256"])
      try await peer.observe(token: 0x78)
      #expect(seen.withLock { $0 } == lost + 1)
      await relay.close()
    }
  }

  @Test func `a fragment without the first one is not answered, and the first one is`() async throws {
    try await SecureEndpointTests().withSecured { secured in
      let peer = try DatagramPeer(to: try #require(secured.address(.coaps)))
      peer.send(Self.fragment(of: 300, at: 100, [UInt8](repeating: 1, count: 100), sequence: 1))
      peer.send(Self.fragment(of: 300, at: 0, [UInt8](repeating: 1, count: 30), sequence: 2))
      peer.send(Self.fragment(of: 300, at: 0, Self.beginning(), sequence: 3))
      let answer = try #require(peer.receive())
      // A HelloVerifyRequest, which repeats the number of the record.
      #expect(answer[0] == 22 && answer[13] == 3)
      #expect(answer[10] == 3)
    }
  }

  @Test func `a ClientHello that says to be longer than it may is refused by a word in the log`() async throws {
    try await SecureEndpointTests().withSecured { secured in
      let peer = try DatagramPeer(to: try #require(secured.address(.coaps)))
      peer.send(Self.fragment(of: 4_097, at: 0, Self.beginning(), sequence: 0))
      let cookie = Array(try #require(peer.receive()).dropFirst(28))
      peer.send(Self.fragment(of: 4_097, at: 0, Self.beginning(cookie: cookie), sequence: 1))
      var failures = secured.authority.failures.stream.makeAsyncIterator()
      #expect(await failures.next() == "nobody: its ClientHello is longer than 4096 bytes")
    }
  }
}

/// A socket that sends what it is told to.
private final class DatagramPeer {
  private let descriptor: Int32

  init(to server: CoAPAddress) throws {
    descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    guard connectToLoopback(descriptor, server.port) == 0 else { throw Relay.Failed(code: errno) }
  }

  deinit { close(descriptor) }

  func send(_ bytes: [UInt8]) { _ = Glibc.send(descriptor, bytes, bytes.count, 0) }

  /// The next datagram, within ten seconds.
  func receive() -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 2_048)
    let count = recv(descriptor, &bytes, bytes.count, 0)
    return count > 0 ? Array(bytes[0..<count]) : nil
  }
}
