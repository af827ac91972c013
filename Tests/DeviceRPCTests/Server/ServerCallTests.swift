import DeviceRPC
import DeviceRPCTesting
import Testing

@Suite(.timeLimit(.minutes(1))) struct ServerCallTests {
  @Test func `multiply 7 191 is 1337`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("multiply", params: [7, 191]))
      let sent = await link.next()
      #expect(sent.id == "multiply/74e4")
      #expect(sent.message.params == [7, 191])
      await transport.advance(by: .milliseconds(80))
      await link.acknowledge(sent)
      await transport.advance(by: .milliseconds(5))
      await link.answer(sent, .ok, 1337)
      let result = try await call.value.get()
      #expect(
        result
          == CallResult(
            id: "multiply/74e4", device: "sensor-1", method: "multiply", status: .ok, detail: 1337,
            evidence: CallEvidence(
              .delivered, sentAfter: .zero, acknowledgedAfter: .milliseconds(80), resultAfter: .milliseconds(85))))
      #expect(result.roundTrip == .milliseconds(85))
    }
  }

  @Test func `a result is decoded as the caller's own type`() async throws {
    struct Reading: Decodable, Equatable {
      let celsius: Double
      let sensors: [Int]
    }
    let devices = InMemoryDevices()
    let server = DeviceRPCServer(devices, logger: silentLog)
    try await server.start()
    await devices.connect("sensor-1") { _, _ in .ok(["celsius": 21.5, "sensors": [1, 2]]) }
    let device = server.device("sensor-1")
    let reading = try await device.call("read", as: Reading.self)
    #expect(reading == Reading(celsius: 21.5, sensors: [1, 2]))
    #expect(try await device.call("read", as: RPCValue.self)["celsius"] == 21.5)
    await server.shutdown()
  }

  @Test func `a detail that is not what was asked for is unreadable, and still shown`() async throws {
    let devices = InMemoryDevices()
    let server = DeviceRPCServer(devices, logger: silentLog)
    try await server.start()
    await devices.connect("sensor-1") { _, _ in .ok("a lot") }
    await devices.connect("sensor-2") { _, _ in .ok() }
    do throws(CallError) {
      _ = try await server.device("sensor-1").call("count", as: Int.self)
      Issue.record("it was read")
    } catch {
      guard case .unreadableResult(let result, _) = error else { throw error }
      #expect(result.detail == "a lot")
      #expect(error.delivery == .unreadable)
      #expect(error.description.contains("a lot"))
    }
    do throws(CallError) {
      _ = try await server.device("sensor-2").call("count", as: Int.self)
      Issue.record("it was read")
    } catch {
      guard case .unreadableResult = error else { throw error }
    }
    #expect(try await server.device("sensor-2").call("count", as: Int?.self) == nil)
    await server.shutdown()
  }

  @Test func `a status other than OK is an error of the handle, and a result of the server`() async throws {
    let devices = InMemoryDevices()
    let server = DeviceRPCServer(devices, logger: silentLog)
    try await server.start()
    await devices.connect("sensor-1") { _, _ in .result(.invalidArgument, "not a number") }
    do throws(CallError) {
      try await server.device("sensor-1").call("multiply", "a")
      Issue.record("it was not refused")
    } catch {
      guard case .refused(let result) = error else { throw error }
      #expect(result.status == .invalidArgument)
      #expect(result.detail == "not a number")
      #expect(error.delivery == .refused && result.evidence.delivery == .refused)
    }
    let result = try await server.perform(Call("multiply", params: ["a"]), on: "sensor-1")
    #expect(result.status == .invalidArgument)
    await server.shutdown()
  }

  @Test func `a status without a name is passed on`() async throws {
    let devices = InMemoryDevices()
    let server = DeviceRPCServer(devices, logger: silentLog)
    try await server.start()
    await devices.connect("sensor-1") { _, _ in .result(RPCStatus(rawValue: -99)) }
    #expect(try await server.perform(Call("m"), on: "sensor-1").status.rawValue == -99)
    await server.shutdown()
  }

  @Test func `Swift's own types are parameters, in order`() async throws {
    let devices = InMemoryDevices()
    let server = DeviceRPCServer(devices, logger: silentLog)
    try await server.start()
    await devices.connect("sensor-1") { _, params in .ok(params) }
    let echo = try await server.device("sensor-1").call(
      "echo", 7, "text", 1.5, true, [1, 2], ["b": 2, "a": 1], Int?.none, UInt64.max, RPCValue.null)
    #expect(echo.detail == [7, "text", 1.5, true, [1, 2], ["a": 1, "b": 2], nil, .unsigned(.max), nil])
    await server.shutdown()
  }

  @Test func `a device that never connected is unknown, one that has gone is offline`() async throws {
    try await withServer { server, transport in
      #expect(await server.outcome(Call("m")).error == .unknownDevice("sensor-1"))
      _ = await transport.scripted()
      await transport.disconnect("sensor-1")
      #expect(await server.outcome(Call("m")).error == .offline("sensor-1"))
      #expect(await server.outcome(Call("m"), on: "Sensor-1").error == .unknownDevice("Sensor-1"))
    }
  }

  @Test func `what the device could not read is refused before it waits for its turn`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted { $0.method == "bad" ? "it has no such thing" : nil }
      let first = server.launch(Call("good"))
      let sent = await link.next()
      let error = await server.outcome(Call("bad")).error
      #expect(error == .invalidCall("it has no such thing"))
      #expect(error?.delivery == .notSent)
      await link.answer(sent)
      #expect(await first.value.isOK)
      #expect(link.methods == ["good"])
    }
  }

  @Test func `a one-way call ends when it is acknowledged`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("reboot", isOneWay: true))
      let sent = await link.next()
      await transport.advance(by: .seconds(1))
      await link.acknowledge(sent)
      let result = try await call.value.get()
      #expect(result.status == .ok && result.detail == nil && result.roundTrip == .seconds(1))
      // The device answers all the same.
      await link.answer(sent, .internalError)
      #expect(await server.openCalls() == 0)
    }
  }

  @Test func `a one-way call whose result overtakes its acknowledgement has been delivered, whatever the result`()
    async throws
  {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("reboot", isOneWay: true))
      await link.answer(await link.next(), .internalError, "busy")
      let result = try await call.value.get()
      #expect(result.status == .ok)
      #expect(result.detail == nil)
    }
  }

  @Test func `calls to one device leave in order, each after the last is acknowledged`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      var calls: [Task<Outcome, Never>] = []
      for number in 0..<4 {
        calls.append(server.launch(Call("m\(number)")))
        await until { await server.openCalls() == number + 1 }
      }
      #expect(link.methods == ["m0"])
      var sent: [ScriptedLink.Transmission] = []
      for number in 0..<4 {
        sent.append(await link.next())
        #expect(link.methods.count == number + 1)
        await link.acknowledge(sent[number])
      }
      #expect(link.methods == ["m0", "m1", "m2", "m3"])
      // Results may come in any order.
      for number in [2, 0, 3, 1] { await link.answer(sent[number], .ok, RPCValue(number)) }
      for number in 0..<4 { #expect(await calls[number].value.detail == RPCValue(number)) }
    }
  }

  @Test func `a link with a larger window has several messages under way`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(window: 2)
      let calls = (0..<3).map { _ in server.launch(Call("m")) }
      let (first, second) = (await link.next(), await link.next())
      await until { await server.openCalls() == 3 }
      #expect(link.transmissions.count == 2)
      await link.answer(second)
      let third = await link.next()
      await link.answer(first)
      await link.answer(third)
      for call in calls { #expect(await call.value.isOK) }
    }
  }

  @Test func `a call is encoded once when it waits on the same link`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let calls = (0..<2).map { _ in server.launch(Call("m")) }
      for _ in 0..<2 { await link.answer(await link.next()) }
      for call in calls { #expect(await call.value.isOK) }
      #expect(link.encodings == 2)
    }
  }
}
