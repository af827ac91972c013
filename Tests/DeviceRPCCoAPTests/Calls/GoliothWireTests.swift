import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// The documented dialogue of stock firmware, byte for byte. Message ids and the first sequence number are the
/// server's choice.
@Suite struct GoliothWireTests {
  @Test("The documented example in CBOR")
  func exampleInCBOR() async throws {
    try await withServer { server, address in
      let device = try RawPeer(to: address)
      device.send(hex: "4801 6578 fcfdfeff7fbf5f2f 60 54 2e727063 61 3c")
      let first = try await device.receiveHex()
      #expect(first == "68456578fcfdfeff7fbf5f2f6102613cff624f4b")

      async let result = server.device("127.0.0.1:\(device.port)").call("multiply", 7, 191)
      let call = try await device.receive()
      let message = try #require(RawMessage(call))
      #expect(
        call.hex
          == "4845" + [UInt8(message.messageID >> 8), UInt8(message.messageID & 0xff)].hex
          + "fcfdfeff7fbf5f2f6103613cffa362"
          + "69646d6d756c7469706c792f37346534666d6574686f64686d756c7469706c7966706172616d73"
          + "82fb401c000000000000fb4067e00000000000")
      device.send(message.acknowledgement)
      device.send(
        hex: """
          4802 6579 0dfefeff7fbf5f2f b4 2e727063 06 737461747573 11 3c ff bf 626964 6d6d756c7469706c792f37346534
          6664657461696c bf 6576616c7565 fb4094e40000000000 ff 6a737461747573436f6465 00 ff
          """)
      #expect(try await device.receiveHex() == "684465790dfefeff7fbf5f2f")
      let answer = try await result
      #expect(answer.id == "multiply/74e4")
      #expect(answer.detail == ["value": .double(1_337)])
    }
  }

  @Test("The documented example in JSON")
  func exampleInJSON() async throws {
    try await withServer { server, address in
      let device = try RawPeer(to: address)
      // GET /.rpc?ep=sensor-1, Observe 0, Accept 50, token 01.
      device.send(hex: "4101 0001 01 60 54 2e727063 4b 65703d73656e736f722d31 21 32")
      let first = try await device.receiveHex()
      #expect(first == "61450001016102" + "6132" + "ff224f4b22")

      async let result = server.device("sensor-1").call("multiply", 7, 191)
      let call = try await device.receiveMessage()
      #expect(call.text == #"{"id":"multiply/74e4","method":"multiply","params":[7,191]}"#)
      #expect(call.token == [1] && call.code == .content && call.type == 0)
      #expect(call.uint(12) == 50 && call.uint(6) == 3)
      device.send(call.acknowledgement)
      let payload = #"{"id":"multiply/74e4","status":0,"detail":{"value":1337}}"#
      device.send([UInt8](hex: "4102 0002 02 b4 2e727063 06 737461747573 11 32 ff") + Array(payload.utf8))
      #expect(try await device.receiveHex() == "6144000202")
      #expect(try await result.detail == ["value": 1_337])
    }
  }
}
