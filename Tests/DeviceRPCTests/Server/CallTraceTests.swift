import DeviceRPCTesting
import InMemoryTracing
import Testing
import Tracing

@testable import DeviceRPC

struct CallTraceTests {
  private let tracer = InMemoryTracer()

  private func withTracedServer(_ body: (DeviceRPCServer, InMemoryTransport) async throws -> Void) async throws {
    let transport = InMemoryTransport()
    let server = withTracer(tracer) { DeviceRPCServer(transport: transport, limits: .testing(), log: silentLog) }
    try await server.start()
    try await body(server, transport)
    await server.shutdown()
  }

  private func span(_ name: String) throws -> FinishedInMemorySpan {
    try #require(tracer.finishedSpans.first { $0.operationName == name }, "\(name)")
  }

  private func milliseconds(_ span: FinishedInMemorySpan) -> [UInt64] {
    let begin = tracer.finishedSpans.map { $0.startInstant.nanosecondsSinceEpoch }.min() ?? 0
    return [span.startInstant, span.endInstant].map { ($0.nanosecondsSinceEpoch - begin + 500_000) / 1_000_000 }
  }

  @Test func `a call has a span in its caller's trace, with one for each stage`() async throws {
    try await withTracedServer { server, transport in
      let link = await transport.scripted()
      let before = server.launch(Call("first"))
      let first = await link.next()
      let call = tracer.withSpan("caller") { _ in server.launch(Call("multiply", params: [7, 191])) }
      while await server.openCalls() < 2 { await Task.yield() }
      await transport.advance(by: .milliseconds(100))
      await link.acknowledge(first)
      let sent = await link.next()
      await transport.advance(by: .milliseconds(20))
      await link.acknowledge(sent)
      await transport.advance(by: .milliseconds(30))
      await link.answer(sent)
      #expect(await call.value.isOK)

      let (caller, span) = (try span("caller"), try span("multiply"))
      #expect(span.traceID == caller.traceID)
      #expect(span.parentSpanID == caller.spanID)
      #expect(span.kind == .client)
      #expect(span.attributes.get("rpc.method") == "multiply")
      #expect(span.attributes.get("device_rpc.device") == "sensor-1")
      #expect(span.status == nil)
      #expect(span.events.map(\.name) == ["answered"])
      #expect(milliseconds(span) == [0, 150])
      for (name, times) in [("queued", [0, 100]), ("sent", [100, 120]), ("acknowledged", [120, 150])] as [(String, [UInt64])] {
        let stage = try self.span(name)
        #expect(stage.parentSpanID == span.spanID, "\(name)")
        #expect(milliseconds(stage) == times, "\(name)")
      }
      await link.answer(first)
      _ = await before.value
    }
  }

  @Test func `a call that was begun and failed has the stages that it has reached, and its error`() async throws {
    try await withTracedServer { server, transport in
      let link = await transport.scripted()
      let call = try await server.begin(Call("reboot", timeout: .seconds(3)), on: "sensor-1")
      _ = await link.next()
      #expect(tracer.finishedSpans.isEmpty)
      await transport.advance(by: .seconds(3))
      #expect(await server.info(of: call.id, waiting: nil)?.state == .ended)
      let span = try span("reboot")
      #expect(span.parentSpanID == nil)
      #expect(span.attributes.get("device_rpc.call") == "\(call.id)".toSpanAttribute())
      #expect(span.status?.code == .error)
      #expect(span.status?.message?.contains("no acknowledgement seen") == true)
      #expect(span.events.isEmpty)
      #expect(milliseconds(span) == [0, 3_000])
      #expect(milliseconds(try self.span("sent")) == [0, 3_000])
      #expect(tracer.finishedSpans.count == 3)
    }
  }

  @Test func `a call that is refused at once has a span, too`() async throws {
    try await withTracedServer { server, _ in
      #expect(await server.outcome(Call("reboot"), on: "nobody").error == .unknownDevice("nobody"))
      await #expect(throws: CallError.unknownDevice("nobody")) { try await server.begin(Call("reboot"), on: "nobody") }
      #expect(tracer.finishedSpans.map(\.operationName) == ["reboot", "reboot"])
      for span in tracer.finishedSpans { #expect(span.status?.code == .error) }
    }
  }

  @Test func `without a tracer there are no traces`() async throws {
    #expect(CallTracing().begin(Call("m"), on: "sensor-1") == nil)
    #expect(withTracer(tracer) { CallTracing() }.begin(Call("m"), on: "sensor-1") != nil)
  }
}
