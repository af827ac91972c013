import DeviceRPC
import DeviceRPCTesting
import Testing

/// What a call's end says of its way: never more than is certain.
@Suite(.timeLimit(.minutes(1))) struct ServerEvidenceTests {
  @Test func `evidence counts from the moment of the call, waiting included`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let first = server.launch(Call("first"))
      let sent = await link.next()
      let second = server.launch(Call("second"))
      await until { await server.openCalls() == 2 }
      await transport.advance(by: .seconds(1))
      await link.acknowledge(sent)
      let other = await link.next()
      await transport.advance(by: .seconds(2))
      // The result overtakes the acknowledgement.
      await link.answer(other)
      await link.acknowledge(other)
      let result = try await second.value.get()
      #expect(
        result.evidence == CallEvidence(.delivered, sentAfter: .seconds(1), resultAfter: .seconds(3)))
      #expect(result.roundTrip == .seconds(2))
      #expect(result.evidence.description == "sent after 1 s, result after 3 s")
      await link.answer(sent)
      #expect(await first.value.isOK)
    }
  }

  @Test func `a message that never left is not sent, one that was rejected is refused`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let events = server.events()
      for (failure, error, delivery) in [
        (LinkFailure.notSent("closed"), CallError.notSent(device: "sensor-1", reason: "closed"), Delivery.notSent),
        (.lost("no answer"), .undelivered(device: "sensor-1", reason: "no answer"), .sentNoAck),
        (.rejected("a Reset"), .rejected(device: "sensor-1", reason: "a Reset"), .refused),
      ] {
        let call = server.launch(Call("m"))
        await link.fail(await link.next(), failure)
        #expect(await call.value.error == error)
        #expect(error.delivery == delivery)
      }
      await server.shutdown()
      var sent: [Duration?] = []
      for await event in events {
        if case .callEnded(let info) = event { sent.append(info.evidence.sentAfter) }
      }
      #expect(sent == [nil, .zero, .zero])
    }
  }

  @Test func `a loss that is told after the acknowledgement changes nothing`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m"))
      let sent = await link.next()
      await link.acknowledge(sent)
      await link.fail(sent, .lost("late"))
      #expect(await server.openCalls() == 1)
      await link.answer(sent)
      #expect(await call.value.isOK)
    }
  }

  // MARK: Answers that cannot be read

  @Test func `an unreadable answer ends no call, and a good one after it counts`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let events = server.events()
      let call = server.launch(Call("m"))
      let sent = await link.next()
      await link.garble(sent.id, "it is torn")
      await link.garble(nil, "empty payload")
      #expect(await server.openCalls() == 1)
      await link.answer(sent, .ok, 1)
      let result = try await call.value.get()
      #expect(result.detail == 1 && result.evidence.delivery == .delivered)
      await server.shutdown()
      var told: [DeviceEvent] = []
      for await event in events { if case .unreadableResult = event { told.append(event) } }
      #expect(
        told == [
          .unreadableResult(id: sent.id, device: "sensor-1", reason: "it is torn"),
          .unreadableResult(id: nil, device: "sensor-1", reason: "empty payload"),
        ])
    }
  }

  @Test func `a call whose answer could not be read says so at its deadline`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m"))
      let sent = await link.next()
      await transport.advance(by: .seconds(1))
      await link.garble(sent.id, "it is torn")
      // A copy of the message that is rejected later, by a device that has restarted, does not take that back.
      await link.fail(sent, .rejected("a Reset"))
      await transport.advance(by: .seconds(9))
      let error = await call.value.error
      #expect(error == .garbled(device: "sensor-1", reason: "it is torn"))
      #expect(error?.delivery == .unreadable)
    }
  }

  @Test func `an unreadable answer without an id says nothing of a call`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let call = server.launch(Call("m"))
      _ = await link.next()
      await link.garble(nil, "empty payload")
      await link.garble("m/0001", "it is torn")
      await transport.advance(by: .seconds(10))
      #expect(await call.value.error?.delivery == .sentNoAck)
    }
  }

  @Test func `an unreadable answer makes room for the next call, and is enough for a one-way call`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let first = server.launch(Call("first"))
      let sent = await link.next()
      let second = server.launch(Call("second", isOneWay: true))
      await until { await server.openCalls() == 2 }
      await link.garble(sent.id, "it is torn")
      await link.garble(await link.next().id, "it is torn")
      #expect(await second.value.isOK)
      first.cancel()
      #expect(await first.value.error == .cancelled(.unreadable))
    }
  }

  @Test func `another device cannot spoil a call`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted()
      let other = await transport.scripted("other")
      let call = server.launch(Call("m"))
      let sent = await link.next()
      await other.garble(sent.id, "it is torn")
      let home = try #require(transport.directory).home(of: "stranger")
      await home.unreadable(id: sent.id, reason: "it is torn", from: "stranger")
      call.cancel()
      #expect(await call.value.error == .cancelled(.sentNoAck))
    }
  }

  // MARK: Links that see no acknowledgements

  @Test(arguments: [Acknowledgement.ping, .none])
  func `over a link without acknowledgements nobody is said not to have acknowledged`(_ kind: Acknowledgement) async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(acknowledgement: kind)
      let calls = (0..<3).map { _ in server.launch(Call("m")) }
      // Nothing would make room for the next one.
      let sent = [await link.next(), await link.next(), await link.next()]
      await link.answer(sent[0])
      await transport.advance(by: .seconds(10))
      var errors: [CallError] = []
      for call in calls { if let error = await call.value.error { errors.append(error) } }
      #expect(errors == Array(repeating: .unconfirmed(device: "sensor-1", after: .seconds(10)), count: 2))
      #expect(errors[0].delivery == .sentNoAck)
      // In time for an answer, and not of what has been answered.
      #expect(link.confirmed.sorted() == (kind == .ping ? sent.dropFirst().map(\.serial) : []))
    }
  }

  @Test func `over a link without acknowledgements a ping can tell that a call has arrived`() async throws {
    try await withServer { server, transport in
      let link = await transport.scripted(acknowledgement: .ping)
      let oneWay = server.launch(Call("reboot", isOneWay: true))
      let first = await link.next()
      await transport.settle()
      #expect(link.confirmed == [first.serial])
      await link.acknowledge(first)
      let result = try await oneWay.value.get()
      #expect(result.evidence.delivery == .delivered)
      let call = server.launch(Call("m"))
      let sent = await link.next()
      await transport.advance(by: .milliseconds(7_500))
      #expect(link.confirmed == [first.serial, sent.serial])
      await link.acknowledge(sent)
      await transport.advance(by: .milliseconds(2_500))
      #expect(await call.value.error == .unanswered(device: "sensor-1", after: .seconds(10)))
    }
  }

  @Test func `of a message that left over an earlier link the new one is not asked`() async throws {
    try await withServer { server, transport in
      let old = await transport.scripted(acknowledgement: .ping)
      let call = server.launch(Call("m"))
      _ = await old.next()
      let new = await transport.scripted(acknowledgement: .ping)
      await transport.advance(by: .seconds(10))
      #expect(old.confirmed.isEmpty && new.confirmed.isEmpty)
      #expect(await call.value.error?.delivery == .sentNoAck)
    }
  }

  // MARK: Words

  @Test func `each error is one line that says who gave up, how far the call was, and whether to try again`() {
    let result = CallResult(
      id: "m/74e4", device: "d", method: "m", status: .notFound, detail: ["why": "no"],
      evidence: CallEvidence(.refused, sentAfter: .zero, resultAfter: .zero))
    let errors: [(CallError, Delivery)] = [
      (.unknownDevice("d"), .notSent), (.offline("d"), .notSent), (.invalidCall("too long"), .notSent),
      (.limitExceeded("too many"), .notSent), (.notSent(device: "d", reason: "busy"), .notSent),
      (.undelivered(device: "d", reason: "silence"), .sentNoAck), (.unconfirmed(device: "d", after: .seconds(1)), .sentNoAck),
      (.unanswered(device: "d", after: .seconds(1)), .delivered), (.rejected(device: "d", reason: "a Reset"), .refused),
      (.refused(result), .refused), (.unreadableResult(result, reason: "not a number"), .unreadable),
      (.garbled(device: "d", reason: "torn"), .unreadable),
    ]
    let anywhere = Delivery.allCases.flatMap { [(CallError.cancelled($0), $0), (.shuttingDown($0), $0)] }
    for (error, delivery) in errors + anywhere {
      let text = error.description
      #expect(error.delivery == delivery)
      #expect(!text.contains("\n") && text.hasSuffix(")"), "\(text)")
      #expect(["the server", "the caller", "d "].contains { text.hasPrefix($0) }, "\(text)")
      #expect(delivery.isSafeToRepeat == text.contains("(not sent; it is safe to try again"), "\(text)")
      if [.sentNoAck, .delivered].contains(delivery) { #expect(text.contains("may run it twice"), "\(text)") }
    }
  }
}
