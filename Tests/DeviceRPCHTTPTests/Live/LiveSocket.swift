import Foundation
import TestSupport

/// A TCP connection to 127.0.0.1 whose bytes a test writes. Its reads block for twenty seconds at most.
final class LiveSocket: Sendable {
  private let descriptor: Int32

  init(port: Int) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var patience = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    guard connectToLoopback(descriptor, UInt16(port)) == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .ECONNREFUSED) }
  }

  deinit { close(descriptor) }

  func send(_ text: String) throws {
    let bytes = Array(text.utf8)
    guard Foundation.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else { throw POSIXError(.EPIPE) }
  }

  /// Whoever closes it next sends a reset.
  func resetAtClose() {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  /// What comes until the other end closes the connection or resets it.
  func rest() async -> [UInt8] {
    await withCheckedContinuation { continuation in
      Thread {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while true {
          let count = recv(self.descriptor, &buffer, buffer.count, 0)
          guard count > 0 else { break }
          bytes += buffer[..<count]
        }
        continuation.resume(returning: bytes)
      }.start()
    }
  }

  /// Sends a request that asks for the end of the connection, and returns the status and the body of the answer.
  func answer(to request: String) async throws -> (status: Int, body: String) {
    try send(request)
    return Self.answer(String(decoding: await rest(), as: UTF8.self))
  }

  static func answer(_ text: String) -> (status: Int, body: String) {
    let parts = text.components(separatedBy: "\r\n\r\n")
    let words = parts[0].split(separator: " ")
    return (words.count > 1 ? Int(words[1]) ?? 0 : 0, parts.dropFirst().joined(separator: "\r\n\r\n"))
  }
}
