import DeviceRPCTesting
import Foundation
import Metrics
import MetricsTestKit
import Testing

@testable import DeviceRPC

struct MetricsTests {
  private let metrics = TestMetrics()

  private func server(_ transport: InMemoryTransport, limits: Limits = .testing()) async throws -> DeviceRPCServer {
    let server = withMetricsFactory(metrics) { DeviceRPCServer(transport: transport, limits: limits, log: silentLog) }
    try await server.start()
    return server
  }

  private func ended(_ outcome: String) throws -> Int64 {
    try metrics.expectCounter("device_rpc_calls_total", [("outcome", outcome)]).totalValue
  }

  private func devices(_ state: String) throws -> Double? {
    try metrics.expectMeter("device_rpc_devices", [("state", state)]).lastValue
  }

  private func openCalls(_ state: String) throws -> Double? {
    try metrics.expectMeter("device_rpc_open_calls", [("state", state)]).lastValue
  }

  @Test func `calls are counted by how they ended, refused ones and those that were only begun too`() async throws {
    let transport = InMemoryTransport(loops: 3)
    let server = try await server(transport)
    let answering = await transport.scripted("0")
    let failing = await transport.scripted("1")
    let answered = server.launch(Call("m"), on: "0")
    let sent = await answering.next()
    await transport.advance(by: .milliseconds(20))
    await answering.answer(sent)
    await answering.answer(sent)
    #expect(await answered.value.isOK)
    let failed = server.launch(Call("m"), on: "1")
    await failing.fail(await failing.next(), .lost("gone"))
    #expect(await failed.value.error != nil)
    #expect(await server.outcome(Call("m"), on: "nobody").error == .unknownDevice("nobody"))
    await #expect(throws: CallError.unknownDevice("nobody")) { try await server.begin(Call("m"), on: "nobody") }
    let begun = try await server.begin(Call("m"), on: "0")
    _ = await answering.next()
    await server.cancel(begun.id)

    #expect(try metrics.expectCounter("device_rpc_calls_sent_total").totalValue == 3)
    #expect(try ended("ok") == 1)
    #expect(try ended("undelivered") == 1)
    #expect(try ended("unknown_device") == 2)
    #expect(try ended("cancelled") == 1)
    #expect(try ended("shutting_down") == 0)
    #expect(try metrics.expectCounter("device_rpc_stray_results_total").totalValue == 1)
    #expect(try metrics.expectTimer("device_rpc_round_trip_seconds").values == [20_000_000])
    await server.shutdown()
  }

  @Test func `devices are counted by state, on all loops`() async throws {
    let transport = InMemoryTransport(loops: 3)
    let server = try await server(transport)
    // Of names that have never connected nothing is known, and when such a device connects it is one like others.
    let typos = ["typo-1", "typo-2", "8"].map { server.launch(Call("m", wait: .seconds(600)), on: $0) }
    for name in ["typo-1", "typo-2", "8"] { while await server.directory.home(of: name).unseen(name) == nil { await Task.yield() } }
    for number in 0..<9 { _ = await transport.scripted("\(number)") }
    let silent = await transport.scripted("silent", answersProbes: false)
    func expect(observing: Double, quiet: Double, offline: Double, _ place: SourceLocation = #_sourceLocation) async throws {
      await server.recordMetrics()
      let counted = [try devices("observing"), try devices("quiet"), try devices("offline")]
      #expect(counted == [observing, quiet, offline], sourceLocation: place)
      // What is listed is the truth.
      let listed = await server.devices()
      let states = DeviceInfo.State.allCases.map { state in Double(listed.count { $0.state == state }) }
      #expect(counted == states, sourceLocation: place)
    }
    try await expect(observing: 10, quiet: 0, offline: 0)
    // Replaced links are the same device.
    _ = await transport.scripted("0")
    for number in 0..<4 { await transport.disconnect("\(number)") }
    try await expect(observing: 6, quiet: 0, offline: 4)
    await transport.advance(by: .seconds(31))
    await transport.advance(by: .seconds(31))
    try await expect(observing: 5, quiet: 1, offline: 4)
    silent.heard()
    try await expect(observing: 6, quiet: 0, offline: 4)
    await transport.advance(by: .seconds(31))
    await transport.advance(by: .seconds(31))
    try await expect(observing: 5, quiet: 1, offline: 4)
    // A quiet device that connects anew is not quiet, and neither is one that has gone.
    _ = await transport.scripted("silent", answersProbes: false)
    try await expect(observing: 6, quiet: 0, offline: 4)
    await transport.advance(by: .seconds(31))
    await transport.advance(by: .seconds(31))
    try await expect(observing: 5, quiet: 1, offline: 4)
    await transport.disconnect("silent")
    try await expect(observing: 5, quiet: 0, offline: 5)
    for call in typos { call.cancel() }
    for call in typos { _ = await call.value }
    try await expect(observing: 5, quiet: 0, offline: 5)
    await server.shutdown()
  }

  @Test func `open calls are counted, and those who wait for them`() async throws {
    let transport = InMemoryTransport(loops: 2)
    let server = try await server(transport)
    let link = await transport.scripted()
    _ = try await server.begin(Call("a"), on: "sensor-1")
    let sent = await link.next()
    let second = try await server.begin(Call("b"), on: "sensor-1")
    let away = server.launch(Call("c", wait: .seconds(60)), on: "away")
    while await server.openCalls(of: "away") == 0 { await Task.yield() }
    let waiting = Task { await server.info(of: second.id, waiting: nil) }
    while await transport.stored("waiters", "waiters") == 0 { await Task.yield() }
    await server.recordMetrics()
    #expect(try openCalls("sent") == 1)
    #expect(try openCalls("queued") == 2)
    #expect(try metrics.expectMeter("device_rpc_call_waiters").lastValue == 1)
    await link.answer(sent)
    await link.answer(await link.next())
    #expect(await waiting.value?.state == .ended)
    away.cancel()
    _ = await away.value
    await server.recordMetrics()
    #expect(try openCalls("sent") == 0)
    #expect(try openCalls("queued") == 0)
    #expect(try metrics.expectMeter("device_rpc_call_waiters").lastValue == 0)
    await server.shutdown()
  }

  @Test func `the page Operating lists all metrics`() throws {
    let tests = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    let page = try String(
      contentsOf: tests.deletingLastPathComponent().appending(path: "Sources/DeviceRPC/DeviceRPC.docc/Operating.md"), encoding: .utf8)
    for name in metricDescriptions.keys { #expect(page.contains("| `\(name)`"), "\(name)") }
    let transport = InMemoryTransport()
    _ = withMetricsFactory(metrics) { DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog) }
    let made = metrics.counters.map(\.label) + metrics.timers.map(\.label) + metrics.meters.map(\.label)
    #expect(made.count > 10)
    for label in Set(made) { #expect(metricDescriptions[label] != nil, "\(label)") }
  }
}

extension DeviceLoop {
  /// A name for which calls wait; nil when there is none.
  fileprivate func unseen(_ name: String) -> String? { devices[name]?.device.name }
}
