import DeviceRPC
import DeviceRPCTesting
import Testing

/// A device that may have one call without a result, with a second call behind it.
@Suite(.timeLimit(.minutes(1))) struct ServerWindowTests {
  enum End: CaseIterable, Sendable { case result, deadline, cancellation, failure, oneWay, garbled }

  @Test(arguments: End.allCases)
  func `every end of a call that has left lets the next one go`(end: End) async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(unansweredWindow: 1)
      let first = server.launch(Call("first", timeout: .seconds(5), isOneWay: end == .oneWay || end == .garbled))
      let sent = await link.next()
      let second = server.launch(Call("second", timeout: .seconds(60)))
      await until { await server.openCalls() == 2 }
      switch end {
      case .result:
        await link.acknowledge(sent)
        #expect(link.methods == ["first"])
        await link.answer(sent)
      case .deadline:
        await link.acknowledge(sent)
        await transport.advance(by: .seconds(5))
        #expect(await first.value.error == .unanswered(device: "sensor-1", after: .seconds(5)))
      case .cancellation:
        await link.acknowledge(sent)
        first.cancel()
      case .failure: await link.fail(sent, .lost("gone"))
      case .oneWay: await link.acknowledge(sent)
      case .garbled: await link.garble(sent.id, "not a map")
      }
      let next = await link.next()
      #expect(next.message.method == "second")
      await link.answer(next)
      #expect(await second.value.isOK)
      _ = await first.value
    }
  }

  @Test func `a call whose turn does not come because others have no result has certainly not left`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(unansweredWindow: 1)
      let first = server.launch(Call("first", timeout: .seconds(60)))
      let sent = await link.next()
      await link.acknowledge(sent)
      let second = server.launch(Call("second", timeout: .seconds(5)))
      await until { await server.openCalls() == 2 }
      await transport.advance(by: .seconds(5))
      #expect(
        await second.value.error
          == .notSent(device: "sensor-1", reason: "its turn behind other calls did not come within 5 s"))
      await link.answer(sent)
      #expect(await first.value.isOK)
      #expect(link.methods == ["first"])
    }
  }
}
