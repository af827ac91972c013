import CoAP
import Dispatch
import Glibc
import Synchronization
import TestSupport

/// Stands between peers and a server, and loses, doubles and reorders datagrams by a seeded generator.
final class LossyProxy: Sendable {
  struct NoSocket: Error {}

  let address: CoAPAddress
  /// Datagrams seen and datagrams lost, both directions.
  let seen = Atomic(0)
  let lost = Atomic(0)
  private let isStopping = Atomic(false)
  private let running = DispatchGroup()

  /// - Parameters:
  ///   - loss: percent of datagrams lost, each way.
  ///   - mischief: percent that are doubled, and as many that change places with the next one.
  init(to server: CoAPAddress, loss: Int, mischief: Int, seed: UInt64) throws {
    let front = try Self.socket()
    guard let address = CoAPAddress(host: "127.0.0.1", port: Self.port(of: front)) else { throw NoSocket() }
    self.address = address
    running.enter()
    DispatchQueue(label: "lossy-proxy").async { [self] in
      var relay = Relay(front: front, server: server.port, loss: loss, mischief: mischief, seed: seed)
      while !isStopping.load(ordering: .relaxed) {
        let (seen, lost) = relay.turn()
        self.seen.add(seen, ordering: .relaxed)
        self.lost.add(lost, ordering: .relaxed)
      }
      relay.close()
      running.leave()
    }
  }

  /// Returns when the thread has ended; may be called twice.
  func stop() {
    isStopping.store(true, ordering: .relaxed)
    running.wait()
  }

  static func socket() throws -> Int32 {
    let descriptor = Glibc.socket(AF_INET, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
    var any = SocketAddress(0)
    guard any.withPointer({ bind(descriptor, $0, $1) }) == 0 else { throw NoSocket() }
    return descriptor
  }

  static func port(of descriptor: Int32) -> UInt16 {
    var own = SocketAddress(0)
    own.withPointer { address, count in
      var count = count
      _ = getsockname(descriptor, address, &count)
    }
    return own.port
  }

  static func send(_ bytes: [UInt8], over descriptor: Int32, to port: UInt16) {
    var remote = SocketAddress(port)
    remote.withPointer { _ = sendto(descriptor, bytes, bytes.count, 0, $0, $1) }
  }

  static func receive(_ descriptor: Int32) -> ([UInt8], UInt16)? {
    var bytes = [UInt8](repeating: 0, count: 2_048)
    var remote = SocketAddress(0)
    let count = remote.withPointer { address, count in
      var size = count
      return recvfrom(descriptor, &bytes, bytes.count, 0, address, &size)
    }
    return count < 0 ? nil : (Array(bytes[0..<count]), remote.port)
  }
}

/// The proxy's thread: one socket in front, one towards the server for each peer.
private struct Relay {
  private struct Held {
    let bytes: [UInt8]
    let descriptor: Int32
    let port: UInt16
  }

  let front: Int32
  let server: UInt16
  let loss: Int
  let mischief: Int
  private var generator: SeededGenerator
  private var backs: [UInt16: Int32] = [:]
  private var peers: [Int32: UInt16] = [:]
  private var held: Held?

  init(front: Int32, server: UInt16, loss: Int, mischief: Int, seed: UInt64) {
    self.front = front
    self.server = server
    self.loss = loss
    self.mischief = mischief
    generator = SeededGenerator(state: seed)
  }

  /// Waits up to 10 ms for datagrams and relays them; returns how many it saw and lost.
  mutating func turn() -> (Int, Int) {
    var waiting = ([front] + peers.keys).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    let count = poll(&waiting, nfds_t(waiting.count), 10)
    if count <= 0 { release() }
    var seen = 0
    var lost = 0
    for entry in waiting where entry.revents != 0 {
      while let (bytes, port) = LossyProxy.receive(entry.fd) {
        seen += 1
        if Int.random(in: 0..<100, using: &generator) < loss {
          lost += 1
        } else if entry.fd != front, let peer = peers[entry.fd] {
          relay(Held(bytes: bytes, descriptor: front, port: peer))
        } else if entry.fd == front, let back = back(for: port) {
          relay(Held(bytes: bytes, descriptor: back, port: server))
        }
      }
    }
    return (seen, lost)
  }

  private mutating func relay(_ datagram: Held) {
    switch Int.random(in: 0..<100, using: &generator) {
    case ..<mischief where held == nil: held = datagram
    case ..<(2 * mischief):
      LossyProxy.send(datagram.bytes, over: datagram.descriptor, to: datagram.port)
      fallthrough
    default:
      LossyProxy.send(datagram.bytes, over: datagram.descriptor, to: datagram.port)
      release()
    }
  }

  private mutating func release() {
    if let held { LossyProxy.send(held.bytes, over: held.descriptor, to: held.port) }
    held = nil
  }

  private mutating func back(for port: UInt16) -> Int32? {
    if let back = backs[port] { return back }
    guard let back = try? LossyProxy.socket() else { return nil }
    backs[port] = back
    peers[back] = port
    return back
  }

  func close() {
    Glibc.close(front)
    for back in backs.values { Glibc.close(back) }
  }
}
