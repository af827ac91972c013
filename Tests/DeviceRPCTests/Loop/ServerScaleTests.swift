import DeviceRPC
import DeviceRPCTesting
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(2))) struct ServerScaleTests {
  @Test func `devices are spread over the loops by their names, always the same way`() async throws {
    try await withServer(loops: 2) { _, transport in
      let directory = try #require(transport.directory)
      var counts = [0, 0]
      for number in 0..<1_000 {
        let home = directory.home(of: "sensor-\(number)")
        #expect(home === directory.home(of: "sensor-\(number)"))
        counts[try #require(directory.loops.firstIndex { $0 === home })] += 1
      }
      #expect(counts.allSatisfy { $0 > 400 })
      // Equal names, of which the second has its tilde apart.
      for number in 0..<20 {
        #expect(directory.home(of: "ma\u{f1}ana-\(number)") === directory.home(of: "man\u{303}ana-\(number)"))
      }
    }
  }

  @Test(arguments: 1...4)
  func `a result of an unknown sender finds the loop of its call by its id`(loops: Int) async throws {
    try await withServer(loops: loops) { server, transport in
      let directory = try #require(transport.directory)
      for number in 0..<20 {
        let link = await transport.scripted("sensor-\(number)")
        let call = server.launch(Call("m"), on: link.name)
        let sent = await link.next()
        let loop = try #require(directory.loop(ofCall: sent.id))
        #expect(loop === directory.home(of: link.name))
        await loop.received(id: sent.id, status: .ok, detail: RPCValue(number), from: nil)
        #expect(await call.value.detail == RPCValue(number))
      }
      #expect(directory.loop(ofCall: "nonsense") == nil)
    }
  }

  @Test func `10,000 concurrent calls all end exactly once`() async throws {
    let devices = InMemoryDevices(loops: 2)
    let server = DeviceRPCServer(devices, logger: silentLog)
    try await server.start()
    let runs = Mutex([Int](repeating: 0, count: 10_000))
    for number in 0..<100 {
      await devices.connect("sensor-\(number)") { _, params in
        guard let index = params[0]?.intValue else { return .result(.invalidArgument) }
        runs.withLock { $0[index] += 1 }
        return .ok(params[0])
      }
    }
    let events = server.events()
    let mistakes = await withTaskGroup(of: Bool.self) { group in
      for number in 0..<10_000 {
        group.addTask {
          let call = Call("echo", params: [RPCValue(number)])
          return await server.outcome(call, on: "sensor-\(number % 100)").detail != RPCValue(number)
        }
      }
      return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
    }
    #expect(mistakes == 0)
    #expect(runs.withLock { $0.allSatisfy { $0 == 1 } })
    #expect(await server.devices().allSatisfy { $0.openCalls == 0 })
    await server.shutdown()
    for await _ in events {}
  }
}
