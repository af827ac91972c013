import Synchronization
import Testing

@testable import DeviceRPCHTTP

/// A shutdown, while requests are on their way.
@Suite(.timeLimit(.minutes(1))) struct ShutdownTests {
  @Test func `a body that does not arrive holds nothing up`() async throws {
    let (reading, began) = AsyncStream.makeStream(of: Void.self)
    let deadline = Deadline(.seconds(86_400))
    async let body = deadline.run {
      began.finish()
      try await Task.sleep(for: .seconds(86_400))
      return [1]
    }
    for await _ in reading {}
    deadline.end()
    #expect(try await body == nil)
    // What has arrived by then is taken, and what begins later is not waited for.
    #expect(try await deadline.run { [2] } == [2])
    #expect(
      try await deadline.run {
        try await Task.sleep(for: .seconds(86_400))
        return [3]
      } == nil)
  }

  @Test func `a client that sends half a request is told, or let go`() async throws {
    try await withServer(EventCaller(), clock: ManualClock()) { url, _, shutDown in
      let socket = try LiveSocket(port: try #require(Int(url.split(separator: ":").last ?? "")))
      try socket.send(
        "POST /v1/devices/sensor-1/calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
      await shutDown()
      let answer = String(decoding: await socket.rest(), as: UTF8.self)
      // When the shutdown is first, the request is not read any more.
      #expect(answer.isEmpty || LiveSocket.answer(answer).status == 503, "\(answer)")
    }
  }
}
