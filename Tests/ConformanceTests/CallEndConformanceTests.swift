import DeviceRPC
import Testing

/// How calls end that get no answer, and how those are kept whose device is away, the same at every door.
@Suite(.timeLimit(.minutes(2))) struct CallEndConformanceTests {
  @Test(arguments: Door.allCases)
  func `a call without an answer ends with its time, as what is known of it, and the next one works`(door: Door) async throws {
    try await withDevice(door) { (server, device) async throws in
      let call = try await server.begin(Call("hang", timeout: door.silence), on: device.name, waiting: .zero)
      await device.letPass(door.silence)
      let ended = try #require(await server.info(of: call.id, waiting: nil))
      guard case .error(let error)? = ended.outcome else {
        Issue.record("\(ended)")
        return
      }
      switch door.acknowledgements {
      case .each, .ping: #expect(error == .unanswered(device: device.name, after: door.silence))
      case .none:
        if case .unconfirmed(let name, _) = error { #expect(name == device.name) } else { Issue.record("\(error)") }
      }
      #expect(error.delivery == door.deliveryOfOneWay)
      let sum = try await server.device(device.name).call("add", 1, 2)
      #expect(sum.detail == ["value": 3] && device.methods == ["hang", "add"])
    }
  }

  @Test(arguments: Door.allCases)
  func `the end of the caller's task ends the call, and the next one works`(door: Door) async throws {
    try await withDevice(door) { (server, device) async throws in
      let sensor = server.device(device.name)
      let call = Task { try await sensor.call("hang") }
      try await device.untilCalls(1)
      call.cancel()
      let error = await #expect(throws: CallError.self) { try await call.value }
      guard case .cancelled(let delivery)? = error else {
        Issue.record("not cancelled")
        return
      }
      #expect(delivery == .sentNoAck || delivery == .delivered)
      let sum = try await sensor.call("add", 1, 2)
      #expect(sum.detail == ["value": 3] && device.methods == ["hang", "add"])
      let info = await sensor.info
      #expect(info?.openCalls == 0)
    }
  }

  @Test(arguments: Door.allCases)
  func `a persistent call waits for its device, and ends as successful`(door: Door) async throws {
    try await withServer([door]) { (conformance) async throws in
      let server = conformance.server
      let name = ConformanceServer.names[0]
      let kept = try await server.device(name).submit(Call("echo", params: ["kept"]))
      #expect(kept.state == .queued && kept.persistence?.state == .queued)
      try await conformance.withDevice(name, through: door) { (device) async throws in
        let ended = try #require(await server.info(of: kept.id, waiting: nil))
        #expect(ended.persistence?.state == .successful && ended.persistence?.attempt == 1)
        guard case .result(let result)? = ended.outcome else {
          Issue.record("\(ended)")
          return
        }
        #expect(result.status == .ok && result.detail == ["value": "kept"])
        #expect(device.calls == [ReceivedCall(method: "echo", params: ["kept"])])
      }
    }
  }

  @Test(arguments: Door.allCases)
  func `a shutdown ends the call that is under way`(door: Door) async throws {
    try await withDevice(door) { (server, device) async throws in
      let sensor = server.device(device.name)
      let call = Task { try await sensor.call("hang") }
      try await device.untilCalls(1)
      await server.shutdown()
      let error = await #expect(throws: CallError.self) { try await call.value }
      guard case .shuttingDown(let delivery)? = error else {
        Issue.record("not ended by the shutdown")
        return
      }
      #expect(delivery == .sentNoAck || delivery == .delivered)
      #expect(device.methods == ["hang"])
    }
  }
}
