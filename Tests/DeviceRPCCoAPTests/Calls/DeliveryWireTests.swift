import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// What becomes of calls when messages are lost, repeated or refused, and when devices go in the middle.
@Suite struct DeliveryWireTests {
  /// The least that libcoap takes: one retransmission after 1 s, given up 2 s later. 0 counts as 1.
  static let impatient = CoAPTransmission(ackTimeout: 0, ackRandomFactor: 0, maxRetransmit: 0)

  @Test("A device that never acknowledges: undelivered, offline, and nobody behind it waits on")
  func vanished() async throws {
    try await withServer(transmission: Self.impatient) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      var events = server.events().makeAsyncIterator()
      async let first = failure { try await server.device(device.name).call("f") }
      await server.entered(1, for: device.name)
      async let second = failure { try await server.device(device.name).call("g") }
      await server.entered(2, for: device.name)
      async let third = failure { try await server.device(device.name).call("h", wait: .milliseconds(300)) }
      // The call and its retransmission are one message.
      let call = try await device.peer.receive()
      #expect(try await device.peer.receive() == call)
      guard case .undelivered(device.name, let reason) = await first else {
        Issue.record("not undelivered")
        return
      }
      #expect(reason.contains("not acknowledged"))
      #expect(await second == .offline(device.name))
      #expect(await third == .offline(device.name))
      #expect(await server.onlineDevices() == 0)
      while let event = await events.next() {
        guard case .offline(let info, let reason) = event else { continue }
        #expect(info.name == device.name && reason.contains("not acknowledged"))
        break
      }
      // It is back with the next registration.
      try await device.observe()
      async let result = server.device(device.name).call("f")
      try await device.serve()
      _ = try await result
    }
  }

  @Test("A result says that its call has arrived: nothing of it is sent again, and the next call leaves at once")
  func resultWithoutAcknowledgement() async throws {
    // One retransmission each second, for seconds.
    try await withServer(transmission: CoAPTransmission(ackTimeout: 1, ackRandomFactor: 1, maxRetransmit: 6)) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let first = server.device(device.name).call("one")
      let one = try await device.peer.receiveMessage()
      #expect(try await device.post(#"{"id":"\#(one.id)","status":0}"#).code == .changed)
      #expect(try await first.evidence.acknowledgedAfter == nil)
      // An answer that cannot be read says as much.
      async let second = server.device(device.name).call("two")
      let two = try await device.peer.receiveMessage()
      #expect(two.id == "two/74e5")
      #expect(try await device.post(#"{"id":"\#(two.id)"}"#).code == .badRequest)
      async let third = failure { try await server.device(device.name).call("three", timeout: .seconds(2)) }
      let three = try await device.peer.receiveMessage()
      #expect(three.id == "three/74e6")
      // A second later it is the third that comes again, and a late acknowledgement of the first says nothing of it.
      device.peer.send(one.acknowledgement)
      #expect(try await device.peer.receiveMessage().messageID == three.messageID)
      #expect(try await device.post(#"{"id":"\#(two.id)","status":0}"#).code == .changed)
      _ = try await second
      guard case .undelivered = await third else {
        Issue.record("not undelivered")
        return
      }
      #expect(await server.device(device.name).info?.isOnline == true)
    }
  }

  @Test("A call whose turn does not come is not sent, and never leaves after its caller was told")
  func neverLater() async throws {
    try await withServer(transmission: CoAPTransmission(ackTimeout: 1, ackRandomFactor: 1, maxRetransmit: 6)) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let first = failure { try await server.device(device.name).call("one", timeout: .seconds(1)) }
      let one = try await device.peer.receiveMessage()
      let error = await failure { try await server.device(device.name).call("two", timeout: .milliseconds(500)) }
      #expect(error?.delivery == .notSent)
      #expect(await first?.delivery == .sentNoAck)
      // The first is still under way, and the only one; what comes behind it is a third.
      #expect(try await device.peer.receive() == one.bytes)
      async let third = server.device(device.name).call("three")
      await server.entered(1, for: device.name)
      device.peer.send(one.acknowledgement)
      var three = try await device.peer.receiveMessage()
      while three.messageID == one.messageID { three = try await device.peer.receiveMessage() }
      #expect(three.id == "three/74e6")
      device.peer.send(three.acknowledgement)
      _ = try await device.post(#"{"id":"\#(three.id)","status":0}"#)
      _ = try await third
    }
  }

  @Test("A Reset to a call: refused and offline at once")
  func reset() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let first = failure { try await server.device(device.name).call("f") }
      await server.entered(1, for: device.name)
      async let second = failure { try await server.device(device.name).call("g") }
      await server.entered(2, for: device.name)
      let call = try await device.peer.receiveMessage()
      device.peer.send([0x70] + call.acknowledgement.dropFirst())
      #expect(await first == .rejected(device: device.name, reason: "rejected with a Reset"))
      #expect(await second == .offline(device.name))
      #expect(await failure { try await server.device(device.name).call("f") } == .offline(device.name))
      try await device.expectNothingElse()
    }
  }

  @Test("Each step of a call is seen and told in its order")
  func evidence() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      var events = server.events().makeAsyncIterator()
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      while let event = await events.next() {
        guard case .callAcknowledged(let info) = event else { continue }
        let evidence = info.evidence
        #expect(info.wireID == call.id && info.device == device.name && evidence.delivery == .delivered && evidence.resultAfter == nil)
        break
      }
      _ = try await device.post(#"{"id":"\#(call.id)","status":0}"#)
      let evidence = try await result.evidence
      let times = try [#require(evidence.sentAfter), #require(evidence.acknowledgedAfter), #require(evidence.resultAfter)]
      #expect(evidence.delivery == .delivered && times == times.sorted())
      #expect(try await result.roundTrip == times[2] - times[0])
    }
  }

  @Test("The second call leaves when the first is acknowledged, not before")
  func oneAtATime() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let first = server.device(device.name).call("f")
      await server.entered(1, for: device.name)
      async let second = server.device(device.name).call("g")
      await server.entered(2, for: device.name)
      let one = try await device.peer.receiveMessage()
      #expect(one.id == "f/74e4")
      try await device.expectNothingElse()
      // Acknowledgements of something else change nothing.
      device.peer.send([0x60, 0, UInt8((one.messageID &+ 1) >> 8), UInt8((one.messageID &+ 1) & 0xff)])
      try await device.expectNothingElse()
      device.peer.send(one.acknowledgement)
      let two = try await device.receiveCall()
      #expect(two.id == "g/74e5" && two.messageID != one.messageID)
      _ = try await device.post(#"{"id":"g/74e5","status":0}"#)
      _ = try await device.post(#"{"id":"f/74e4","status":0}"#)
      _ = try await (first, second)
    }
  }

  @Test("200 calls at once to one device arrive one by one in order, and each gets its own result")
  func burst() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 0..<200 {
          group.addTask {
            try await server.device(device.name).call("f", number).detail == RPCValue(number)
          }
        }
        var last = ""
        try await device.serve(200) { call in
          #expect(call.id > last)
          last = call.id
          return String(try #require(call.text.split(separator: "[").last?.dropLast(2)))
        }
        for try await isRight in group { #expect(isRight) }
      }
      try await device.expectNothingElse()
    }
  }

  @Test("A repeated request is answered from memory and counted once")
  func retransmittedRequest() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      let registration = device.get(observe: 0)
      let first = try await device.exchange(registration)
      let again = try await device.exchange(registration)
      #expect(first.uint(6) == 2 && again.uint(6) == 2 && again.payload == first.payload)
      var events = server.events().makeAsyncIterator()
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      let post = device.result(Array(#"{"id":"\#(call.id)","status":0,"detail":1}"#.utf8))
      for _ in 0..<3 { #expect(try await device.exchange(post).code == .changed) }
      #expect(try await result.detail == 1)
      // The same message id with another token is another request (RFC 7252 §4.5 takes the endpoint's word for it).
      var other = post
      other.token = [0x77]
      #expect(try await device.exchange(other).token == [0x77])
      // An error is remembered like a success.
      let bad = device.result([0xff])
      let refusal = try await device.exchange(bad)
      #expect(try await device.exchange(bad).text == refusal.text)
      var strays = 0
      _ = try await device.post(#"{"id":"end/0000","status":0}"#)
      while let event = await events.next() {
        guard case .strayResult(let id, _, _) = event else { continue }
        if id == "end/0000" { break }
        strays += 1
      }
      #expect(strays == 1)
    }
  }

  @Test("A result that comes before the acknowledgement of its call ends the call, and the next one waits for neither")
  func resultFirst() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      for _ in 0..<3 {
        async let result = server.device(device.name).call("f")
        let call = try await device.peer.receiveMessage()
        _ = try await device.post(#"{"id":"\#(call.id)","status":0}"#)
        _ = try await result
        device.peer.send(call.acknowledgement)
      }
    }
  }

  @Test("A result that carries the message id of its call in a non-confirmable message does not hold up the next call")
  func sameMessageID() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      for _ in 0..<3 {
        async let result = server.device(device.name).call("f")
        let call = try await device.peer.receiveMessage()
        var post = device.result(Array(#"{"id":"\#(call.id)","status":0}"#.utf8), type: 1)
        post.messageID = call.messageID
        #expect(try await device.exchange(post).code == .changed)
        _ = try await result
      }
      #expect(await server.onlineDevices() == 1)
    }
  }

  @Test("A non-confirmable message that happens to have the message id of a call is no acknowledgement of it")
  func strayMessageID() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let first: Void = server.device(device.name).callOneWay("f")
      await server.entered(1, for: device.name)
      async let second: Void = server.device(device.name).callOneWay("g")
      await server.entered(2, for: device.name)
      let call = try await device.peer.receiveMessage()
      let id = [UInt8(call.messageID >> 8), UInt8(call.messageID & 0xff)]
      device.peer.send([0x50, 0] + id)
      #expect(try await device.peer.receive() == [0x70, 0] + id)
      try await device.expectNothingElse()
      // It is still under way, and the next one leaves behind it.
      device.peer.send(call.acknowledgement)
      try await first
      _ = try await device.receiveCall()
      try await second
    }
  }

  @Test("A device that answers a call with a response gets a Reset for it, and the next call")
  func responseToNotification() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      for _ in 0..<3 {
        async let result = server.device(device.name).call("f")
        let call = try await device.peer.receiveMessage()
        let mid = device.nextMessageID()
        device.peer.send(Packet(code: .changed, messageID: mid, token: device.token).bytes)
        #expect(try await device.peer.receive() == [0x70, 0, UInt8(mid >> 8), UInt8(mid & 0xff)])
        _ = try await device.post(#"{"id":"\#(call.id)","status":0}"#)
        _ = try await result
      }
      // A response to nothing at all is refused too (RFC 7252 §4.2).
      device.peer.send(hex: "6145 4444 aa")
      device.peer.send(hex: "4145 4445 aa")
      #expect(try await device.peer.receiveHex() == "70004445")
    }
  }

  @Test("Signalling, which is for CoAP over TCP, is ignored: nothing is answered, no size is changed, calls go on")
  func signalling() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      // CSM with a Max-Message-Size, ping, pong, release, abort (RFC 8323 §5).
      for code in UInt8(1)...5 {
        for type in UInt8(0)...3 {
          for value in [[], [1], [4], [0xff, 0xff, 0xff, 0xff]] as [[UInt8]] {
            var packet = Packet(
              type: type, code: CoAPCode(7, code), messageID: device.nextMessageID(), token: device.token)
            packet.options = [(2, value)]
            device.peer.send(packet.bytes)
          }
        }
      }
      try await device.expectNothingElse()
      async let result = server.device(device.name).call("f")
      try await device.serve()
      _ = try await result
    }
  }
}
