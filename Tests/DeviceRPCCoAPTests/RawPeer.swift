import CoAP
import Dispatch
import Glibc

/// A UDP socket that plays an exact dialogue with a server: bytes out, bytes in.
final class RawPeer: Sendable {
  struct NothingArrived: Error {}

  private let descriptor: Int32
  private let queue = DispatchQueue(label: "raw-peer")
  let port: UInt16

  /// - Parameter port: the own port; 0 lets the system choose.
  init(to server: CoAPAddress, from host: String = "127.0.0.1", port: UInt16 = 0) throws {
    descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    // A server that never answers must fail the test, not hang it.
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let descriptor = descriptor
    var own = SocketAddress(port, host: host)
    guard own.withPointer({ Glibc.bind(descriptor, $0, $1) }) == 0 else { throw NothingArrived() }
    var remote = SocketAddress(server.port, host: server.host)
    guard remote.withPointer({ Glibc.connect(descriptor, $0, $1) }) == 0 else { throw NothingArrived() }
    own.withPointer { address, count in
      var count = count
      _ = getsockname(descriptor, address, &count)
    }
    self.port = own.port
  }

  deinit { close(descriptor) }

  func send(_ bytes: [UInt8]) {
    _ = Glibc.send(descriptor, bytes, bytes.count, 0)
  }

  /// Sends bytes written in hexadecimal, white space between them as you like.
  func send(hex: String) { send([UInt8](hex: hex)) }

  /// The next datagram, within ten seconds.
  func receive() async throws -> [UInt8] {
    let descriptor = descriptor
    return try await withCheckedThrowingContinuation { continuation in
      queue.async {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        if count < 0 {
          continuation.resume(throwing: NothingArrived())
        } else {
          continuation.resume(returning: Array(bytes[0..<count]))
        }
      }
    }
  }

  /// The next datagram in hexadecimal.
  func receiveHex() async throws -> String { try await receive().hex }
}

/// `sockaddr_in` by its bytes: which module its fields belong to depends on what else is imported.
struct SocketAddress {
  private var bytes: [UInt8]

  init(_ port: UInt16, host: String = "127.0.0.1") {
    let family = UInt16(AF_INET)
    bytes = [UInt8(family & 0xff), UInt8(family >> 8), UInt8(port >> 8), UInt8(port & 0xff)]
    bytes += host.split(separator: ".").compactMap { UInt8($0) } + [UInt8](repeating: 0, count: 8)
  }

  var port: UInt16 { UInt16(bytes[2]) << 8 | UInt16(bytes[3]) }

  mutating func withPointer<Result>(_ body: (UnsafeMutablePointer<sockaddr>?, socklen_t) -> Result) -> Result {
    bytes.withUnsafeMutableBytes {
      body($0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
    }
  }
}

extension [UInt8] {
  init(hex: String) {
    let digits = hex.compactMap(\.hexDigitValue)
    self = stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }

  var hex: String {
    map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
}

/// The parts of a CoAP message that tests look at.
struct RawMessage {
  let bytes: [UInt8]
  let type: UInt8
  let code: CoAPCode
  let messageID: UInt16
  let token: [UInt8]
  let options: [(number: Int, value: [UInt8])]
  let payload: [UInt8]

  init?(_ bytes: [UInt8]) {
    guard bytes.count >= 4, bytes[0] >> 6 == 1 else { return nil }
    self.bytes = bytes
    type = (bytes[0] >> 4) & 3
    code = CoAPCode(rawValue: bytes[1])
    messageID = UInt16(bytes[2]) << 8 | UInt16(bytes[3])
    var rest = bytes[4...]
    token = Array(rest.prefix(Int(bytes[0] & 15)))
    rest = rest.dropFirst(token.count)
    var options: [(Int, [UInt8])] = []
    var number = 0
    while let first = rest.first, first != 0xff {
      rest = rest.dropFirst()
      func extended(_ nibble: UInt8) -> Int {
        switch nibble {
        case 13:
          let value = Int(rest.first ?? 0) + 13
          rest = rest.dropFirst()
          return value
        case 14:
          let value = rest.prefix(2).reduce(0) { $0 << 8 | Int($1) } + 269
          rest = rest.dropFirst(2)
          return value
        default: return Int(nibble)
        }
      }
      number += extended(first >> 4)
      let length = extended(first & 15)
      options.append((number, Array(rest.prefix(length))))
      rest = rest.dropFirst(length)
    }
    self.options = options
    payload = Array(rest.dropFirst())
  }

  func uint(_ number: Int) -> Int? {
    options.first { $0.number == number }?.value.reduce(0) { $0 << 8 | Int($1) }
  }

  var text: String { String(decoding: payload, as: UTF8.self) }

  /// The empty acknowledgement of this message.
  var acknowledgement: [UInt8] { [0x60, 0, UInt8(messageID >> 8), UInt8(messageID & 0xff)] }
}

extension RawPeer {
  /// The next datagram as a message.
  func receiveMessage() async throws -> RawMessage {
    guard let message = RawMessage(try await receive()) else { throw NothingArrived() }
    return message
  }
}
