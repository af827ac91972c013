import DeviceRPC
import DeviceRPCTesting
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1))) struct InMemoryDevicesTests {
  @Test func `an embedder's example works`() async throws {
    let devices = InMemoryDevices()
    let server = DeviceRPCServer(devices)
    // Before the start, too.
    await devices.connect("sensor-1") { method, params in
      guard method == "multiply", let left = params[0]?.intValue, let right = params[1]?.intValue else {
        return .result(.notFound)
      }
      return .ok(RPCValue(left * right))
    }
    try await server.start()
    #expect(server.addresses == ["memory:"])
    #expect(try await server.device("sensor-1").call("multiply", 7, 191).detail == 1337)
    await #expect(throws: CallError.self) { try await server.device("sensor-1").call("divide", 7, 191) }
    try await server.device("sensor-1").callOneWay("multiply", 7, 191)
    await devices.disconnect("sensor-1")
    await devices.disconnect("sensor-1")
    #expect(await server.outcome(Call("m")).error == .offline("sensor-1"))
    await server.shutdown()
    #expect(await devices.connect("sensor-2") { _, _ in .ok() } == false)
  }

  @Test func `a silent device is delivered to, a lost message is not`() async throws {
    let devices = InMemoryDevices(loops: 2)
    let server = DeviceRPCServer(devices, logger: silentLog)
    try await server.start()
    await devices.connect("silent") { _, _ in .silence }
    await devices.connect("lost") { _, _ in .lost }
    try await server.device("silent").callOneWay("m")
    let calls = ["silent", "lost"].map { server.launch(Call("m"), on: $0) }
    for name in ["silent", "lost"] { await until { await server.openCalls(of: name) == 1 } }
    await devices.advance(by: .seconds(9))
    for name in ["silent", "lost"] { #expect(await server.openCalls(of: name) == 1) }
    await devices.advance(by: .seconds(1))
    #expect(await calls[0].value.error == .unanswered(device: "silent", after: .seconds(10)))
    #expect(await calls[1].value.error?.delivery == .sentNoAck)
    await server.shutdown()
  }

  @Test func `what JSON cannot carry is refused`() async throws {
    let devices = InMemoryDevices()
    let server = DeviceRPCServer(devices, logger: silentLog)
    try await server.start()
    await devices.connect("sensor-1") { _, params in .ok(params) }
    for params in [RPCValue.double(.nan), .bytes([1, 2, 3]), (0..<100).reduce(1) { value, _ in .array([value]) }] {
      guard case .invalidCall = await server.outcome(Call("m", params: params)).error else {
        Issue.record("\(params) was sent")
        continue
      }
    }
    await server.shutdown()
  }

  @Test func `alarms fire in order, each at its own time, and what is overdue at once`() async throws {
    let loop = ManualLoop(start: .seconds(5))
    let fired = Mutex<[String]>([])
    await onLoop(loop) {
      for (name, deadline) in [("c", 9), ("a", 7), ("b", 8), ("z", 20), ("now", 5), ("past", 1)] {
        loop.makeAlarm { fired.withLock { $0.append("\(name) \(loop.now.components.seconds)") } }
          .set(.seconds(deadline))
      }
    }
    await loop.settle()
    #expect(fired.withLock { $0 } == ["past 5", "now 5"])
    await loop.advance(by: .seconds(10))
    #expect(fired.withLock { Array($0.dropFirst(2)) } == ["a 7", "b 8", "c 9"])
    #expect(loop.now == .seconds(15))
    await loop.advance(by: .seconds(-10))
    #expect(loop.now == .seconds(15))
  }

  @Test func `an alarm can be moved, taken back and cancelled`() async throws {
    let loop = ManualLoop()
    let fired = Mutex<[String]>([])
    await onLoop(loop) {
      for (name, change) in [("moved", Change.move), ("kept", .none), ("back", .takeBack), ("gone", .cancel)] {
        let alarm = loop.makeAlarm { fired.withLock { $0.append(name) } }
        alarm.set(loop.now + .seconds(1))
        switch change {
        case .move: alarm.set(loop.now + .seconds(2))
        case .takeBack: alarm.set(nil)
        case .cancel: alarm.cancel()
        case .none: break
        }
      }
    }
    await loop.advance(by: .seconds(3))
    #expect(fired.withLock { $0 } == ["kept", "moved"])
    #expect(await loop.alarmCount == 0)
  }

  private enum Change { case move, none, takeBack, cancel }

  @Test func `a loop knows its own jobs`() async throws {
    let (loop, other) = (ManualLoop(), ManualLoop())
    #expect(!loop.isCurrent)
    await onLoop(loop) {
      #expect(loop.isCurrent && loop.isIsolatingCurrentContext() == true)
      #expect(!other.isCurrent && other.isIsolatingCurrentContext() == false)
    }
  }

  private func onLoop(_ loop: ManualLoop, _ body: @escaping @Sendable () -> Void) async {
    await withCheckedContinuation { continuation in
      loop.execute {
        body()
        continuation.resume()
      }
    }
  }
}
