import DeviceRPC
import Testing

/// Calls and results that are longer than a datagram, with libcoap's block-wise transfer (RFC 7959) on the other side.
@Suite(.timeLimit(.minutes(2))) struct CoAPClientBlockTests {
  /// Text in which no two blocks are alike.
  private func text(_ count: Int) -> String {
    String((0..<count / 8).map { String($0 + 10_000_000) }.joined())
  }

  @Test("A long call arrives whole", arguments: [("", 200 << 10), ("1024", 200 << 10), ("64", 8 << 10)])
  func longCall(blockSize: String, count: Int) async throws {
    try await withServer(.roomy) { server, port in
      try await CoAPClient.observing(port, .json, blockSize.isEmpty ? [] : ["-b", blockSize]) { client in
        for id in ["74e4", "74e5"] {
          let text = text(count)
          async let result = server.device("sensor-1").call("store", text)
          let call = try await client.line()
          #expect(call == #"{"id":"store/\#(id)","method":"store","params":["\#(text)"]}"#)
          #expect(try await CoAPClient.post(port, #"{"id":"store/\#(id)","status":0,"detail":\#(count)}"#) == .init())
          #expect(try await result.detail == RPCValue(count))
        }
      }
    }
  }

  @Test("A long result arrives whole", arguments: [("", 256 << 10), ("1024", 256 << 10), ("64", 16 << 10)])
  func longResult(blockSize: String, count: Int) async throws {
    try await withServer { server, port in
      try await CoAPClient.observing(port) { client in
        async let result = server.device("sensor-1").call("read")
        _ = try await client.line()
        let text = text(count)
        let answer = try await CoAPClient.post(
          port, #"{"id":"read/74e4","status":0,"detail":"\#(text)"}"#, .json,
          blockSize.isEmpty ? [] : ["-b", blockSize])
        #expect(answer == .init())
        #expect(try await result.detail == .string(text))
      }
    }
  }

  @Test("A result that is longer than the server takes is refused, and the call goes on")
  func tooLong() async throws {
    try await withServer { server, port in
      try await CoAPClient.observing(port) { client in
        async let result = server.device("sensor-1").call("read")
        _ = try await client.line()
        let tooLong = try await CoAPClient.post(
          port, #"{"id":"read/74e4","status":0,"detail":"\#(text(1 << 20))"}"#, .json, ["-b", "1024"])
        #expect(tooLong == .init(error: "4.13 a body may have 1048576 bytes"))
        #expect(try await CoAPClient.post(port, #"{"id":"read/74e4","status":0,"detail":1}"#) == .init())
        #expect(try await result.detail == 1)
      }
    }
  }
}
