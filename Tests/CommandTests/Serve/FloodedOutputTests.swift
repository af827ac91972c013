import Foundation
import TestSupport
import Testing

/// What strangers can have `serve` print.
@Suite(.timeLimit(.minutes(1))) struct FloodedOutputTests {
  /// A socket that is connected to the server, and waits ten seconds for what it reads.
  private func connected(_ kind: __socket_type, port: UInt16) -> Int32 {
    let descriptor = socket(AF_INET, Int32(kind.rawValue), 0)
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    _ = connectToLoopback(descriptor, port)
    return descriptor
  }

  /// A message to the server, from a port that nothing else has, which waits for its answer.
  private func exchange(_ bytes: [UInt8], port: UInt16) {
    let descriptor = connected(SOCK_DGRAM, port: port)
    defer { close(descriptor) }
    _ = send(descriptor, bytes, bytes.count, 0)
    var answer = [UInt8](repeating: 0, count: 2_048)
    #expect(recv(descriptor, &answer, answer.count, 0) >= 4)
  }

  /// POST /.rpc/status
  private func result(_ payload: String) -> [UInt8] {
    [0x40, 0x02, 0x12, 0x34, 0xb4] + Array(".rpc".utf8) + [0x06] + Array("status".utf8) + [0x11, 50, 0xff] + Array(payload.utf8)
  }

  /// GET /.rpc?ep=NAME with Observe
  private func observation(_ name: String) -> [UInt8] {
    let query = Array("ep=\(name)".utf8)
    return [0x40, 0x01, 0x12, 0x34, 0x60, 0x54] + Array(".rpc".utf8) + [0x4d, UInt8(query.count - 13)] + query
  }

  @Test("Whatever strangers send, serve prints some lines of it, short ones, and how many more there were")
  func flood() async throws {
    try await withServe { serve, port in
      let port = try #require(UInt16(port))
      let long = String(repeating: "x", count: 1_300)
      for number in 0..<150 {
        exchange(result(#"{"id":"\#(long)","status":0}"#), port: port)
        exchange(result(#"{"id":"\#(long)","status":}"#), port: port)
        exchange(observation("device-\(number)" + long.prefix(200)), port: port)
      }
      let summary = try await serve.line(with: "not shown")
      #expect(summary.contains(" more "))
      serve.send(SIGINT)
      let lines = await serve.rest() + serve.rest(.error)
      #expect(lines.count < 200)
      #expect(lines.allSatisfy { $0.utf8.count < 700 })
      #expect(await serve.exitCode() == 0)
    }
  }

  @Test func `a peer that has room for nothing costs a few lines, however many requests it sends`() async throws {
    let serve = try RunningCommand(["serve", "--listen", "coap+tcp://127.0.0.1:0"])
    defer { serve.send(SIGKILL) }
    let port = try #require(try await serve.line(with: "listening on").split(separator: ":").last)
    let descriptor = connected(SOCK_STREAM, port: try #require(UInt16(port)))
    defer { close(descriptor) }
    // A CSM with Max-Message-Size 1 (RFC 8323 §5.3.1), and GET /.rpc again and again.
    let request: [UInt8] = [0x51, 1, 7, 0xb4] + Array(".rpc".utf8)
    let bytes = [0x20, 0xe1, 0x21, 1] + Array(repeatElement(request, count: 5_000).joined())
    #expect(send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    // The server has read all of it when it closes the connection in turn.
    shutdown(descriptor, Int32(SHUT_WR))
    var answer = [UInt8](repeating: 0, count: 65_536)
    while recv(descriptor, &answer, answer.count, 0) > 0 {}
    serve.send(SIGINT)
    let lines = await serve.rest() + serve.rest(.error)
    #expect(lines.count < 20, "\(lines.prefix(20))")
    #expect(await serve.exitCode() == 0)
  }
}
