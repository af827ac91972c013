import CoAP
import Dispatch
import Glibc
import Synchronization
import TestSupport

/// A TCP connection to the server; not to be waited on from the cooperative threads.
final class FuzzConnection {
  struct NoConnection: Error { let code: Int32 }

  private let descriptor: Int32

  init(to server: CoAPAddress) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    guard connectToLoopback(descriptor, server.port) == 0 else { throw NoConnection(code: errno) }
  }

  deinit { close(descriptor) }

  /// False when the server has closed it.
  func send(_ bytes: [UInt8]) throws -> Bool {
    if Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count { return true }
    // Nothing taken in ten seconds.
    guard errno != EAGAIN else { throw FuzzSocket.NoAnswer() }
    return false
  }

  /// Reads what has come, and forgets it.
  func drain() {
    var bytes = [UInt8](repeating: 0, count: 16_384)
    while recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT)) > 0 {}
  }

  /// Lets go with a reset instead of a farewell.
  func reset() {
    var abort = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &abort, socklen_t(MemoryLayout<linger>.size))
  }

  /// Says that nothing more will come, and stays.
  func halfClose() { shutdown(descriptor, Int32(SHUT_WR)) }
}

/// The way of a device's datagrams, on which somebody else puts some more.
final class FuzzRelay: Sendable {
  let port: UInt16
  private let near: Int32
  private let far: Int32
  private let isOver = Atomic(false)
  private let heard = Mutex<[UInt8]>([])

  init(to server: CoAPAddress) throws {
    near = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    far = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    guard connectToLoopback(far, server.port) == 0 else { throw FuzzSocket.NoSocket() }
    var family = UInt16(AF_INET)
    var name = withUnsafeBytes(of: &family, Array.init) + [0, 0, 127, 0, 0, 1] + [UInt8](repeating: 0, count: 8)
    var size = socklen_t(name.count)
    let near = near
    let code = name.withUnsafeMutableBytes { bytes in
      let address = bytes.assumingMemoryBound(to: sockaddr.self).baseAddress
      return bind(near, address, size) + getsockname(near, address, &size)
    }
    guard code == 0 else { throw FuzzSocket.NoSocket() }
    port = UInt16(name[2]) << 8 | UInt16(name[3])
    DispatchQueue(label: "fuzz-relay").async { self.run() }
  }

  /// Sends the server a datagram that is not the device's.
  func forge(_ bytes: [UInt8]) { _ = send(far, bytes, bytes.count, 0) }

  /// The last thing that the server has sent; whoever forges may hear it too.
  func overhear() -> [UInt8] { heard.withLock { $0 } }

  func stop() { isOver.store(true, ordering: .relaxed) }

  private func run() {
    var buffer = [UInt8](repeating: 0, count: 4_096)
    var device = [UInt8](repeating: 0, count: 16)
    var isKnown = false
    while !isOver.load(ordering: .relaxed) {
      var waiting = [pollfd(fd: near, events: Int16(POLLIN), revents: 0), pollfd(fd: far, events: Int16(POLLIN), revents: 0)]
      guard poll(&waiting, 2, 20) > 0 else { continue }
      if waiting[0].revents != 0 {
        var size = socklen_t(device.count)
        let count = device.withUnsafeMutableBytes {
          recvfrom(near, &buffer, buffer.count, 0, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, &size)
        }
        isKnown = true
        if count >= 0 { send(far, buffer, count, 0) }
      }
      if waiting[1].revents != 0 {
        let count = recv(far, &buffer, buffer.count, 0)
        guard count >= 0 else { continue }
        heard.withLock { $0 = Array(buffer[0..<count]) }
        guard isKnown else { continue }
        _ = device.withUnsafeMutableBytes {
          sendto(near, buffer, count, 0, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, 16)
        }
      }
    }
    close(near)
    close(far)
  }
}

/// Somebody who has a key of the server's: what is sent to its socket goes out as one record each.
final class KeyedPeer {
  let socket: FuzzSocket
  private let client: OpenSSLClient

  init(to server: CoAPAddress, _ protocolOption: String) throws {
    client = try OpenSSLClient(protocolOption, port: server.port, identity: "fuzzer", key: FuzzServer.key.utf8)
    socket = FuzzSocket(client.descriptor)
  }
}
