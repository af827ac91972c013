import CoAP
import Glibc

/// A UDP socket on loopback, connected to the server; not to be waited on from the cooperative threads.
final class FuzzSocket {
  struct NoSocket: Error {}
  struct NoAnswer: Error {}

  private let descriptor: Int32
  private var barriers: UInt32 = 0

  init(to server: CoAPAddress) throws {
    descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    // Written by hand: the module that the fields of sockaddr_in belong to depends on what else is imported.
    var family = UInt16(AF_INET)
    let head = withUnsafeBytes(of: &family, Array.init)
    var address = head + [UInt8(server.port >> 8), UInt8(server.port & 0xff), 127, 0, 0, 1] + [UInt8](repeating: 0, count: 8)
    let code = address.withUnsafeMutableBytes {
      connect(descriptor, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
    }
    guard code == 0 else { throw NoSocket() }
    bePatient()
  }

  /// Takes a socket that keeps messages apart.
  init(_ descriptor: Int32) {
    self.descriptor = descriptor
    bePatient()
  }

  private func bePatient() {
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  /// False when it could not be sent.
  @discardableResult
  func send(_ bytes: [UInt8]) -> Bool {
    Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
  }

  /// What has come, if anything has.
  func received() -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 2_048)
    let count = recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
    return count < 0 ? nil : Array(bytes[0..<count])
  }

  /// The next datagram, within ten seconds.
  func receive() throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 2_048)
    let count = recv(descriptor, &bytes, bytes.count, 0)
    guard count > 0 else { throw NoAnswer() }
    return Array(bytes[0..<count])
  }

  /// Sends a keep-alive and reads up to its answer: the server has read all that was sent before. `body` gets the
  /// datagrams on the way.
  func barrier(_ body: ([UInt8]) -> Void = { _ in }) throws {
    barriers += 1
    let number = barriers
    let token = [0xba, 0xaa] + (0..<4).map { UInt8(truncatingIfNeeded: number >> (8 * UInt32($0))) }
    send([0x46, 4, token[3], token[2]] + token)
    while true {
      let bytes = try receive()
      if bytes.count >= 10, bytes[0] == 0x66, bytes[1] == 0x42, Array(bytes[4..<10]) == token { return }
      body(bytes)
    }
  }
}

/// Bytes of memory that the process has in use (statm, proc(5)).
func residentBytes() -> Int {
  guard let file = fopen("/proc/self/statm", "r") else { return 0 }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 256)
  guard fgets(&line, Int32(line.count), file) != nil else { return 0 }
  let text = String(decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  return (Int(text.split(separator: " ").dropFirst().first ?? "") ?? 0) * Int(sysconf(Int32(_SC_PAGESIZE)))
}
