import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Messages that are rejected, and methods that nobody knows (RFC 7252 §3, §4.2, §5.8).
@Suite struct RejectedWireTests {
  static let ignored = [
    // Other versions: GET, an observation, empty, and what is too short for a version.
    "0101424401b42e727063", "8101424401b42e727063", "c101424401 60", "80001234", "00001234", "c0000000", "40", "4000", "400012", "",
    // Requests in acknowledgements and Resets.
    "6101424401b42e727063", "7101424401b42e727063", "6102424401b42e72706306737461747573ff7b7d", "6008424401",
    // Acknowledgements and Resets with more than their head.
    "6000424401", "6100424401", "60004244ff01", "7000424401", "71004244", "70454244ff01", "7f00424400",
    // Codes of reserved classes, and options that are none, in acknowledgements.
    "60204244", "60c04244", "60e14244", "68454244", "69454244010203040506070809", "604542446f", "6045424461", "60454244ff", "60454244d1",
    "6045424464 00000000 00",
  ]

  @Test("Other versions, and acknowledgements and Resets that cannot be ones, are ignored without a word")
  func silence() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      for hex in Self.ignored {
        device.peer.send(hex: hex)
        try await device.expectNothingElse()
        // From somebody who is not known, too.
        let stranger = try RawDevice(to: address)
        stranger.peer.send(hex: hex)
        try await stranger.expectNothingElse()
      }
      #expect(await server.onlineDevices() == 1)
    }
  }

  @Test("An acknowledgement that cannot be one acknowledges nothing")
  func falseAcknowledgement() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let error = failure { try await server.device(device.name).call("f", timeout: .seconds(1)) }
      let call = try await device.peer.receiveMessage()
      let mid = [UInt8(call.messageID >> 8), UInt8(call.messageID & 0xff)]
      device.peer.send([0x61, 0x01] + mid + [0x01])
      device.peer.send([0x60, 0x00] + mid + [0x01])
      device.peer.send([0x70, 0x00] + mid + [0x01])
      guard case .undelivered = await error else {
        Issue.record("the call was acknowledged or rejected")
        return
      }
      device.peer.send(call.acknowledgement)
      async let next: Void = device.serve()
      #expect(try await server.device(device.name).call("g").status == .ok)
      try await next
    }
  }

  @Test("A method that nobody knows gets 4.05, whatever the path")
  func unknownMethods() async throws {
    try await withServer { _, address in
      let device = try RawDevice(to: address)
      for method: UInt8 in [8, 9, 31] {
        for path in [[".rpc"], [".rpc", "status"], [".s", "logs"], [".well-known", "core"], [], ["x"]] {
          for type: UInt8 in [0, 1] {
            var packet = Packet(type: type, code: CoAPCode(0, method), messageID: device.nextMessageID(), token: [9, 8, 7])
            packet.options = path.map { (11, Array($0.utf8)) }
            let answer = try await device.exchange(packet)
            #expect(answer.code == .methodNotAllowed && answer.token == packet.token && !answer.text.isEmpty)
            #expect(type == 0 ? answer.type == 2 && answer.messageID == packet.messageID : answer.type == 1)
          }
        }
      }
    }
  }
}
