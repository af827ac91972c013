import DeviceRPC
import DeviceRPCTesting
import Testing

@Suite(.timeLimit(.minutes(1))) struct ServerCancellationTests {
  @Test func `a call of a cancelled task does not leave`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = Task {
        while !Task.isCancelled { await Task.yield() }
        return await server.outcome(Call("m"))
      }
      call.cancel()
      #expect(await call.value.error == .cancelled(.notSent))
      #expect(link.transmissions.isEmpty)
    }
  }

  @Test func `a waiting call that is cancelled does not leave, and the next one does`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let first = server.launch(Call("first"))
      let sent = await link.next()
      let second = server.launch(Call("second"))
      await until { await server.openCalls() == 2 }
      let third = server.launch(Call("third"))
      await until { await server.openCalls() == 3 }
      second.cancel()
      #expect(await second.value.error == .cancelled(.notSent))
      await link.answer(sent)
      await link.answer(await link.next())
      #expect(await first.value.isOK)
      #expect(await third.value.isOK)
      #expect(link.methods == ["first", "third"])
    }
  }

  @Test func `cancelling a call that has left says how far it has come`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m"))
      let sent = await link.next()
      call.cancel()
      #expect(await call.value.error == .cancelled(.sentNoAck))

      let other = server.launch(Call("n"))
      await until { await server.openCalls() == 1 }
      // The first message is still under way.
      #expect(link.methods == ["m"])
      await link.acknowledge(sent)
      let next = await link.next()
      await link.acknowledge(next)
      other.cancel()
      #expect(await other.value.error == .cancelled(.delivered))
      await link.answer(next)
      await link.answer(sent)
    }
  }

  @Test func `a call to an absent device can be cancelled`() async throws {
    try await withServer { server, transport in
      let call = server.launch(Call("m", wait: .seconds(60)), on: "absent")
      await until { await transport.stored("pending", "entries") == 1 }
      call.cancel()
      #expect(await call.value.error == .cancelled(.notSent))
      #expect(await transport.stored("devices") == 0)
    }
  }

  @Test func `cancelling at any moment neither hangs nor ends a call twice`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(window: 8)
      let answering = Task {
        for _ in 0..<2_000 {
          let sent = await link.next()
          if sent.message.method == "stop" { return }
          // Cancelled or not, the message has arrived.
          await link.acknowledge(sent)
          await link.answer(sent)
        }
      }
      await withTaskGroup { group in
        for number in 0..<500 {
          group.addTask {
            let call = server.launch(Call("m"))
            for _ in 0..<number % 17 { await Task.yield() }
            call.cancel()
            switch await call.value {
            case .success: break
            case .failure(.cancelled): break
            case .failure(let error): Issue.record(error)
            }
          }
        }
      }
      let stop = server.launch(Call("stop"))
      await answering.value
      stop.cancel()
      #expect(await stop.value.error == .cancelled(.sentNoAck))
      #expect(await transport.stored("pending", "entries") == 0)
    }
  }
}
