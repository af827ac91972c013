import CoAP
import Dispatch
import Glibc
import TestSupport
import Testing

/// Peers that open connections and do nothing good with them.
@Suite struct ConnectionTests {
  private static let release: [UInt8] = [0x00, 0xe4]
  private static let ping: [UInt8] = [0x00, 0xe2]

  /// A server of `coap+tcp`; `body` runs on a thread of its own, for it waits.
  func withServer(
    _ change: (inout CoAPLimits) -> Void,
    answer: @escaping (CoAPRequest, CoAPSession) -> CoAPResponse? = { _, _ in CoAPResponse(.content) },
    _ body: @escaping @Sendable (CoAPAddress) throws -> Void
  ) async throws {
    let loop = try EventLoop(name: "test")
    var configuration = CoAPEndpoint.Configuration(
      listeners: [CoAPListener(.coapTCP, try #require(CoAPAddress(host: "127.0.0.1", port: 0)))])
    change(&configuration.limits)
    let endpoint = try await CoAPEndpoint(configuration, loops: [loop], handlers: [TestHandler(answer)])
    let address = endpoint.addresses[0]
    let result = await withCheckedContinuation { continuation in
      DispatchQueue(label: "connections").async {
        continuation.resume(returning: Swift.Result { try body(address) })
      }
    }
    await endpoint.close()
    await loop.stop()
    try result.get()
  }

  @Test func `one connection more than allowed is closed, and there is room when another has gone`() async throws {
    try await withServer { $0.connections = 4 } _: { address in
      let first = try (0..<4).map { _ in try RawConnection(to: address) }
      for connection in first { #expect(try !connection.read().isEmpty) }
      for _ in 0..<20 { #expect(try RawConnection(to: address).read().isEmpty) }
      first[2].write(Self.release)
      #expect(try first[2].read().isEmpty)
      #expect(try !RawConnection(to: address).read().isEmpty)
    }
  }

  @Test func `a method that nobody knows gets 4 05 over TCP, too`() async throws {
    try await withServer { _ in } _: { address in
      let connection = try RawConnection(to: address)
      // A CSM, and 0.08 to /a.
      connection.write([0x00, 0xe1, 0x20, 0x08, 0xb1, 0x61])
      var received: [UInt8] = []
      while !received.contains(0x85) {
        let bytes = try connection.read()
        try #require(!bytes.isEmpty)
        received += bytes
      }
    }
  }

  @Test func `a peer that reads nothing of what it asks for is closed`() async throws {
    try await withServer { _ in } _: { address in
      let connection = try RawConnection(to: address, receiveBuffer: 4_096)
      let pings = [UInt8]((0..<4_096).flatMap { _ in Self.ping })
      var isOpen = true
      var sent = 0
      while isOpen, sent < 64 << 20 {
        isOpen = connection.write(pings)
        sent += pings.count
      }
      #expect(!isOpen)
    }
  }

  @Test func `a peer that goes on after its farewell leaves nothing behind`() async throws {
    try await withServer { _ in } _: { address in
      let before = try Self.descriptors()
      for _ in 0..<400 {
        let connection = try RawConnection(to: address)
        #expect(try !connection.read().isEmpty)
        connection.write([0x00, 0xe1] + Self.release + Self.ping + [0x00, 0x01] + Self.ping)
        while try !connection.read().isEmpty {}
      }
      // The last of them is over when the next one is answered.
      let last = try RawConnection(to: address)
      #expect(try !last.read().isEmpty)
      #expect(try Self.descriptors() < before + 300)
    }
  }

  /// Those of other tests are among them, which may run beside this one.
  private static func descriptors() throws -> Int {
    let folder = try #require(opendir("/proc/self/fd"))
    defer { closedir(folder) }
    var count = 0
    while readdir(folder) != nil { count += 1 }
    return count
  }

  @Test func `a message that says to be longer than allowed ends the connection`() async throws {
    try await withServer { $0.messageBytes = 4_096 } _: { address in
      let connection = try RawConnection(to: address)
      #expect(try !connection.read().isEmpty)
      // Length 65,805 and more (RFC 8323 §3.2).
      connection.write([0xf0, 0x00, 0x00, 0x00, 0x00, 0x02])
      #expect(try connection.read().isEmpty)
    }
  }

  @Test func `a connection on which nobody says a word is closed`() async throws {
    try await withServer { $0.connectionTimeout = 0 } _: { address in
      let connection = try RawConnection(to: address)
      #expect(try !connection.read().isEmpty)
      #expect(try connection.read().isEmpty)
    }
  }
}

/// A TCP connection whose calls wait, for ten seconds at most.
final class RawConnection {
  struct Failed: Error { let code: Int32 }

  private let descriptor: Int32

  init(to server: CoAPAddress, receiveBuffer: Int32? = nil) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    if var receiveBuffer { setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, 4) }
    guard connectToLoopback(descriptor, server.port) == 0 else { throw Failed(code: errno) }
  }

  deinit { close(descriptor) }

  /// False when the connection is no more.
  @discardableResult
  func write(_ bytes: [UInt8]) -> Bool { send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count }

  /// What has come; nothing when the server has closed the connection.
  func read() throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4_096)
    let count = recv(descriptor, &bytes, bytes.count, 0)
    guard count >= 0 || errno == ECONNRESET else { throw Failed(code: errno) }
    return Array(bytes.prefix(max(0, count)))
  }
}
