import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Devices that come back: over another session, or after a reboot, with message ids and tokens that were there before.
@Suite struct ReturnWireTests {
  @Test("A device that opens a second observation gets what had not left there, in order; what had left counts there too")
  func secondSession() async throws {
    try await withServer { server, address in
      let old = try RawDevice(to: address)
      try await old.observe()
      async let first = server.device(old.name).call("f")
      await server.entered(1, for: old.name)
      async let second = server.device(old.name).call("g")
      await server.entered(2, for: old.name)
      async let third = server.device(old.name).call("h")
      await server.entered(3, for: old.name)
      let one = try await old.peer.receiveMessage()
      // The message was lost or not, the device comes from another port now.
      let new = try RawDevice(to: address, token: [1])
      try await new.observe()
      let two = try await new.receiveCall()
      let three = try await new.receiveCall()
      #expect([one.id, two.id, three.id] == ["f/74e4", "g/74e5", "h/74e6"])
      for call in [three, one, two] {
        #expect(try await new.post(#"{"id":"\#(call.id)","status":0,"detail":"\#(call.id)"}"#).code == .changed)
      }
      #expect(try await first.detail == "f/74e4")
      #expect(try await second.detail == "g/74e5")
      #expect(try await third.detail == "h/74e6")
      // An acknowledgement or a Reset on the old session concerns nobody any more.
      old.peer.send([0x70] + one.acknowledgement.dropFirst())
      try await old.expectNothingElse()
      #expect(await server.onlineDevices() == 1)
    }
  }

  @Test("A device that reboots on the same port with the same message ids is called again, and never runs an old call")
  func reboot() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let first = failure { try await server.device(device.name).call("reboot", timeout: .seconds(5)) }
      await server.entered(1, for: device.name)
      async let second = server.device(device.name).call("g")
      await server.entered(2, for: device.name)
      #expect(try await device.peer.receiveMessage().id == "reboot/74e4")
      // It reboots before it has acknowledged: message id, port and token are those of its first life.
      var packet = device.get(observe: 0)
      packet.messageID = 2
      packet.options.append((60, [1]))
      let answer = try await device.exchange(packet)
      #expect(answer.code == .content && answer.uint(6) != nil)
      let call = try await device.receiveCall()
      #expect(call.id == "g/74e5")
      #expect(try await device.post(#"{"id":"g/74e5","status":0}"#).code == .changed)
      _ = try await second
      guard case .undelivered = await first else {
        Issue.record("not undelivered")
        return
      }
      try await device.expectNothingElse()
    }
  }

  @Test("A rebooted device whose message ids and tokens start over is heard all the same")
  func startingOver() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      let registration = device.get(observe: 0)
      _ = try await device.exchange(registration)
      async let first = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      var post = device.result(Array(#"{"id":"\#(call.id)","status":0}"#.utf8))
      #expect(try await device.exchange(post).code == .changed)
      _ = try await first
      // Rebooted: it does not know its observation, and says so to the next call.
      async let refused = failure { try await server.device(device.name).call("g") }
      let unknown = try await device.peer.receiveMessage()
      device.peer.send([0x70] + unknown.acknowledgement.dropFirst())
      guard case .rejected = await refused else {
        Issue.record("not rejected")
        return
      }
      // Everything as the first time, but for the id in the result.
      let answer = try await device.exchange(registration)
      #expect(answer.code == .content && answer.uint(6) != nil)
      async let second = server.device(device.name).call("h")
      let next = try await device.receiveCall()
      post.payload = Array(#"{"id":"\#(next.id)","status":0,"detail":1}"#.utf8)
      #expect(try await device.exchange(post).code == .changed)
      #expect(try await second.detail == 1)
    }
  }
}
