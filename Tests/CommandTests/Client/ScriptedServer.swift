import Foundation
import Testing

/// An HTTP server of which a test plays each answer, to one client after the other.
// Blocking sockets on threads of their own.
final class ScriptedServer: Sendable {
  private let listener: Int32
  let url: String

  init() throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_addr.s_addr = inet_addr("127.0.0.1")
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let port: UInt16? = withUnsafeMutablePointer(to: &name) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        guard bind(listener, address, length) == 0, listen(listener, 16) == 0, getsockname(listener, address, &length) == 0 else { return nil }
        return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { UInt16(bigEndian: $0.pointee.sin_port) }
      }
    }
    // A test that waits in vain fails, and does not stand still.
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    self.listener = listener
    url = "http://127.0.0.1:\(try #require(port))"
  }

  deinit { close(listener) }

  /// A client that has connected and sent a request without a body.
  struct Client {
    fileprivate let socket: Int32
    /// The request line and the headers.
    let request: [String]

    func send(_ text: String) {
      let bytes = Array(text.utf8)
      #expect(Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    }

    /// Begins a stream of events.
    func open() { send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n") }

    func refuse(_ status: String, _ detail: String, _ headers: String = "") {
      let body = #"{"detail":"\#(detail)"}"#
      send("HTTP/1.1 \(status)\r\nContent-Type: application/problem+json\r\nContent-Length: \(body.utf8.count)\r\nConnection: close\r\n\(headers)\r\n\(body)")
      close()
    }

    func close() { Glibc.close(socket) }
  }

  func client() async -> Client {
    await withCheckedContinuation { continuation in
      Thread {
        let socket = accept(self.listener, nil, nil)
        if socket < 0 { Issue.record("nobody has connected") }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while !bytes.suffix(4).elementsEqual([13, 10, 13, 10]) {
          let count = read(socket, &buffer, buffer.count)
          guard count > 0 else { break }
          bytes += buffer[..<count]
        }
        continuation.resume(returning: Client(socket: socket, request: String(decoding: bytes, as: UTF8.self).split(separator: "\r\n").map(String.init)))
      }.start()
    }
  }
}
