import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Calls from devices, which ThingsBoard names client-side RPC.
@Suite struct ThingsBoardRequestTests {
  private struct Broken: Error {}

  @Test("A device calls a function and gets its result, in the format of its request")
  func call() async throws {
    try await withServer(.thingsBoard()) { server, address in
      server.handle("getTime") { request in ["device": .string(request.device), "params": request.params] }
      server.handle("sum", as: [Int].self) { numbers, _ in numbers.reduce(0, +) }
      let device = try ThingsBoardDevice(to: address)
      let answer = try await device.request(device.post(#"{"method":"getTime","params":{"zone":"UTC"}}"#))
      #expect(answer.code == .content && answer.uint(12) == 50)
      #expect(answer.text == #"{"device":"sensor-1","params":{"zone":"UTC"}}"#)
      #expect(try await device.request(device.post(#"{"method":"getTime"}"#)).text.hasSuffix(#""params":null}"#))
      let sum = try await device.request(device.post(#"{"method":"sum","params":[1,2,3]}"#, more: [(12, [0])]))
      #expect(sum.text == "6" && sum.uint(12) == 0)
    }
  }

  @Test("A device is told why it has no result")
  func failures() async throws {
    try await withServer(.thingsBoard()) { server, address in
      server.handle("sum", as: [Int].self) { numbers, _ in numbers.reduce(0, +) }
      server.handle("broken") { _ in throw Broken() }
      server.handle("closed") { _ in throw DeviceRequestError.failed("the shop is closed") }
      let device = try ThingsBoardDevice(to: address)
      func ask(_ payload: String) async throws -> String {
        let answer = try await device.request(device.post(payload))
        return "\(answer.code) \(answer.text)"
      }
      #expect(try await ask(#"{"method":"none"}"#) == #"4.04 this server has no function "none""#)
      #expect(try await ask(#"{"method":"sum","params":"x"}"#) == "4.00 the parameters are not those of the function: they are no Array<Int>")
      #expect(try await ask(#"{"method":"broken"}"#) == #"5.00 the function "broken" has failed"#)
      #expect(try await ask(#"{"method":"closed"}"#) == "5.00 the shop is closed")
      #expect(try await ask(#"{"params":1}"#) == "4.00 a call to the server is an object with method, a text, and params")
      #expect(try await ask("[").hasPrefix("4.00 "))
      #expect(try await ask("").hasPrefix("4.00 "))
    }
  }

  @Test("A function can call the device that has called it, and another one")
  func nested() async throws {
    try await withServer(.thingsBoard()) { server, address in
      server.handle("ask") { request in
        let name = request.params.stringValue ?? request.device
        return try await server.device(name).call("get").detail ?? .null
      }
      let device = try ThingsBoardDevice(to: address)
      let other = try ThingsBoardDevice(to: address, "lamp")
      try await device.observe()
      try await other.observe()
      let request = device.post(#"{"method":"ask","params":"lamp"}"#)
      #expect(try await device.exchange(request).code.rawValue == 0)
      #expect(try await other.reply("[1]", to: try await other.receiveCall()).code == .created)
      let answer = try await device.peer.receiveMessage()
      device.peer.send(answer.acknowledgement)
      #expect(answer.token == request.token && answer.text == "[1]")
    }
  }
}
