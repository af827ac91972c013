import DeviceRPC
import DeviceRPCTesting
import Testing

/// Devices that are disabled, removed or given another key in mid call.
@Suite(.timeLimit(.minutes(1))) struct ServerRevocationTests {
  private func revoked(_ delivery: Delivery) -> CallError {
    .revoked(device: "sensor-1", reason: "it was disabled", delivery: delivery)
  }

  @Test(arguments: [Delivery.sentNoAck, .delivered, .unreadable])
  func `a call that has left ends at once, with what is known of its way`(delivery: Delivery) async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m", timeout: .seconds(60), wait: .seconds(60)))
      let sent = await link.next()
      if delivery != .sentNoAck { await link.acknowledge(sent) }
      if delivery == .unreadable { await link.garble(sent.id, "not a map") }
      await transport.revoke("sensor-1", reason: "it was disabled")
      #expect(await call.value.error == revoked(delivery))
      #expect(await server.openCalls() == 0)
      #expect(await transport.stored("pending", "entries") == 0)
      #expect(await server.outcome(Call("m")).error == .offline("sensor-1"))
    }
  }

  @Test func `calls that have not left end too, unless they can wait for the device`() async throws {
    try await withServer { server, transport in
      let old = await transport.scripted()
      let sent = server.launch(Call("sent"))
      _ = await old.next()
      let impatient = server.launch(Call("impatient"))
      let patient = server.launch(Call("patient", wait: .seconds(60)))
      await until { await server.openCalls() == 3 }
      await transport.revoke("sensor-1", reason: "it was disabled")
      #expect(await sent.value.error == revoked(.sentNoAck))
      #expect(await impatient.value.error == revoked(.notSent))
      #expect(await server.openCalls() == 1)
      // It is back with its new key.
      let new = await transport.scripted()
      await new.answer(await new.next())
      #expect(await patient.value.isOK)
      #expect(new.methods == ["patient"])
    }
  }

  @Test func `a device that is out of reach, too, loses its calls, and its old session brings it back no more`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m", timeout: .seconds(60)))
      await link.acknowledge(await link.next())
      await transport.directory?.home(of: "sensor-1").unreachable(link, reason: "silent")
      #expect(await server.openCalls() == 1)
      await transport.revoke("sensor-1", reason: "it was disabled")
      #expect(await call.value.error == revoked(.delivered))
      link.heard()
      await transport.settle()
      #expect(await server.device("sensor-1").info?.isOnline == false)
    }
  }

  @Test func `a device that polls and has no link loses its calls as well`() async throws {
    try await withServer { server, transport in
      let home = try #require(transport.directory).home(of: "sensor-1")
      let call = server.launch(Call("m", wait: .seconds(60)))
      await until { await transport.stored("pending", "entries") == 1 }
      #expect(await home.poll("sensor-1", encode: { (_, id) throws(CallError) in Array(id.utf8) }) != nil)
      await transport.revoke("sensor-1", reason: "it was disabled")
      #expect(await call.value.error == revoked(.sentNoAck))
    }
  }

  @Test func `a device whose session is over loses its calls, by the credential with which it has proved itself`() async throws {
    try await withServer { server, transport in
      let credential = try DeviceCredential.ofDevice("sensor-1")
      let home = try #require(transport.directory).home(of: "sensor-1")
      await home.proved(credential, at: "127.0.0.1:1")
      let link = await transport.scripted()
      let call = server.launch(Call("m", timeout: .seconds(60)))
      _ = await link.next()
      await transport.disconnect("sensor-1")
      await home.endCalls { _, _ in nil }
      #expect(await server.openCalls() == 1)
      await home.endCalls { device, given in device == "sensor-1" && given == credential ? "it was disabled" : nil }
      #expect(await call.value.error == revoked(.sentNoAck))
    }
  }

  @Test func `an old session that ends does not touch the calls of a device that is there with its new key`() async throws {
    try await withServer { server, transport in
      let old = await transport.scripted()
      let new = await transport.scripted()
      let call = server.launch(Call("m"))
      let sent = await new.next()
      let home = try #require(transport.directory).home(of: "sensor-1")
      await home.unobserved(old, reason: "its key was replaced", isRevoked: true)
      await home.endCalls { _, _ in "its key was replaced" }
      await transport.settle()
      await new.answer(sent)
      #expect(await call.value.isOK)
    }
  }

  // With a walk over all calls for each device it would take minutes.
  @Test func `a change that concerns 20,000 devices with calls under way ends them all`() async throws {
    try await withServer { server, transport in
      let home = try #require(transport.directory).loops[0]
      var links: [ScriptedLink] = []
      for number in 0..<20_000 { links.append(await transport.scripted("sensor-\(number)")) }
      let revoked = try await withThrowingTaskGroup(of: Bool.self) { group in
        for link in links {
          group.addTask {
            guard case .revoked(link.name, _, .sentNoAck) = await server.outcome(Call("m"), on: link.name).error
            else { return false }
            return true
          }
        }
        await until { await transport.stored("pending", "entries") == links.count }
        home.run { [links] loop in
          for link in links { loop.unobserved(link, reason: "it was disabled", isRevoked: true) }
          loop.endCalls { _, _ in "it was disabled" }
        }
        return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(revoked == links.count)
    }
  }
}
