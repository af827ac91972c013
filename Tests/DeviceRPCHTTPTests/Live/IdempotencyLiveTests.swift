import DeviceRPC
import DeviceRPCTesting
import Foundation
import Testing

@testable import DeviceRPCHTTP

/// Idempotency keys over connections that break.
@Suite(.timeLimit(.minutes(1))) struct IdempotencyLiveTests {
  private func request(_ body: String) -> String {
    "POST /v1/devices/sensor-1/calls HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
      + "Idempotency-Key: k\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
  }

  @Test func `of 200 equal requests 20 are cut, the device runs one call, and all others get its bytes`() async throws {
    let transport = InMemoryTransport()
    let link = ScriptedLink("sensor-1")
    await transport.connect("sensor-1", link)
    let server = DeviceRPCServer(transport: transport, limits: Limits(), log: silentLog)
    try await server.start()
    try await withServer(server, clock: ManualClock()) { url, _, _ in
      let port = try #require(Int(url.split(separator: ":").last ?? ""))
      let request = request(#"{"method":"add","params":[1]}"#)
      var waiting: [LiveSocket] = []
      var cut: [LiveSocket] = []
      for number in 0..<200 {
        let socket = try LiveSocket(port: port)
        // Every tenth is cut, some of them before the request is complete, and some with a reset.
        let isCut = number % 10 == 0
        try socket.send(isCut && number % 30 == 0 ? String(request.dropLast(5)) : request)
        if isCut, number % 20 == 0 { socket.resetAtClose() }
        if isCut { cut.append(socket) } else { waiting.append(socket) }
      }
      let transmission = await link.next()
      await link.acknowledge(transmission)
      #expect(waiting.count == 180 && cut.count == 20)
      cut = []
      await link.answer(transmission, .ok, ["sum": 1])
      var answers: Set<String> = []
      for socket in waiting {
        let (status, body) = LiveSocket.answer(String(decoding: await socket.rest(), as: UTF8.self))
        #expect(status == 200)
        answers.insert(body)
      }
      #expect(answers.count == 1)
      #expect(answers.first?.contains(#""detail":{"sum":1}"#) == true)
      // Who was cut asks again.
      let again = try await LiveSocket(port: port).answer(to: request)
      #expect(again.status == 200 && again.body == answers.first)
      let other = try await LiveSocket(port: port).answer(to: self.request(#"{"method":"add","params":[2]}"#))
      #expect(other.status == 422)
      #expect(link.transmissions.count == 1)
      #expect(await server.calls().count == 1)
    }
    await server.shutdown()
  }
}
