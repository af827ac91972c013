import CoAP
import Glibc
import Synchronization

/// The way of datagrams between one client at a time and a server: to the server they all come from one address, as from
/// a device whose port is fixed, or from behind a NAT.
final class Relay: Sendable {
  struct Failed: Error { let code: Int32 }

  private struct State {
    var client: sockaddr_in?
    var isOpen = true
    var isOver = false
  }

  /// Where the client sends to.
  let address: CoAPAddress
  private let near: Int32
  private let far: Int32
  private let state = Mutex(State())
  // Of the client's records.
  private let isLost: (@Sendable ([UInt8]) -> Bool)?
  private let ended = AsyncStream.makeStream(of: Void.self)

  /// With `isLost` each record of the client's is sent in a datagram of its own, unless it is lost.
  init(to server: CoAPAddress, losing isLost: (@Sendable ([UInt8]) -> Bool)? = nil) throws {
    self.isLost = isLost
    let near = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    let far = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    guard near >= 0, far >= 0 else { throw Failed(code: errno) }
    var name = Self.name(0)
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    guard Self.with(&name, { bind(near, $0, size) }) == 0,
      Self.with(&name, { getsockname(near, $0, &size) }) == 0
    else { throw Failed(code: errno) }
    var target = Self.name(server.port)
    guard Self.with(&target, { connect(far, $0, size) }) == 0,
      let address = CoAPAddress(host: "127.0.0.1", port: UInt16(bigEndian: name.sin_port))
    else { throw Failed(code: errno) }
    (self.near, self.far, self.address) = (near, far, address)
    var thread = pthread_t()
    let retained = Unmanaged.passRetained(self)
    pthread_create(
      &thread, nil,
      { argument in
        if let argument { Unmanaged<Relay>.fromOpaque(argument).takeRetainedValue().run() }
        return nil
      }, retained.toOpaque())
    pthread_detach(thread)
  }

  /// Nothing passes from now on, as when the device's power is cut.
  func cut() { state.withLock { $0.isOpen = false } }
  func mend() { state.withLock { $0.isOpen = true } }

  /// Sends the server a datagram that is not the client's.
  func forge(_ bytes: [UInt8]) { send(far, bytes, bytes.count, 0) }

  func close() async {
    state.withLock { $0.isOver = true }
    for await _ in ended.stream {}
    Glibc.close(near)
    Glibc.close(far)
  }

  private func run() {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while !state.withLock(\.isOver) {
      var waiting = [pollfd(fd: near, events: Int16(POLLIN), revents: 0), pollfd(fd: far, events: Int16(POLLIN), revents: 0)]
      guard poll(&waiting, 2, 20) > 0 else { continue }
      if waiting[0].revents != 0 {
        var from = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let count = Self.with(&from) { recvfrom(near, &buffer, buffer.count, 0, $0, &size) }
        let isOpen = state.withLock { state in
          if state.isOpen { state.client = from }
          return state.isOpen
        }
        guard count >= 0, isOpen else { continue }
        guard let isLost else {
          send(far, buffer, count, 0)
          continue
        }
        for record in Self.records(of: buffer[0..<count]) where !isLost(record) { forge(record) }
      }
      if waiting[1].revents != 0 {
        let count = recv(far, &buffer, buffer.count, 0)
        let target = state.withLock { $0.isOpen ? $0.client : nil }
        if count >= 0, var target {
          _ = Self.with(&target) { sendto(near, buffer, count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
      }
    }
    ended.continuation.finish()
  }

  private static func records(of datagram: ArraySlice<UInt8>) -> [[UInt8]] {
    var rest = datagram
    var records: [[UInt8]] = []
    while rest.count >= 13 {
      let size = 13 + Int(rest[rest.startIndex + 11]) << 8 + Int(rest[rest.startIndex + 12])
      records.append(Array(rest.prefix(size)))
      rest = rest.dropFirst(size)
    }
    return records
  }

  private static func name(_ port: UInt16) -> sockaddr_in {
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return name
  }

  private static func with<Result>(
    _ name: inout sockaddr_in, _ body: (UnsafeMutablePointer<sockaddr>) -> Result
  ) -> Result {
    withUnsafeMutablePointer(to: &name) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0) } }
  }

  /// A ClientHello of DTLS 1.2 without a cookie, with one PSK suite (RFC 6347 §4.2.1, RFC 6655).
  static let clientHello: [UInt8] = {
    let body: [UInt8] =
      [0xfe, 0xfd] + [UInt8](repeating: 0x5a, count: 32) + [0, 0] + [0, 2, 0xc0, 0xa8] + [1, 0]
    let length = UInt8(body.count)
    let handshake: [UInt8] = [1, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, length] + body
    return [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, UInt8(handshake.count)] + handshake
  }()
}
