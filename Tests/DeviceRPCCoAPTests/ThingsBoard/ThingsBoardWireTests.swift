import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// ThingsBoard's RPC on the wire: codes, types, Observe numbers and payloads as its servers send them.
@Suite struct ThingsBoardWireTests {
  @Test("A call and its result, byte for byte")
  func call() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try RawPeer(to: address)
      // GET /api/v1/A1/rpc, Observe 0, token 01.
      device.send(hex: "4101 0001 01 60 53 617069 02 7631 02 4131 03 727063")
      #expect(try await device.receiveHex() == "6143000101" + "60")

      async let result = server.perform(Call("setGpio", params: ["pin": "26", "value": 1]), on: "A1")
      let call = try await device.receiveMessage()
      #expect(call.type == 0 && call.code == .content && call.token == [1])
      #expect(call.uint(6) == 1 && call.uint(12) == 50 && call.options.count == 2)
      // 0x74e4, the number of the call.
      #expect(call.text == #"{"id":29924,"method":"setGpio","params":{"pin":"26","value":1}}"#)
      device.send(call.acknowledgement)
      // POST /api/v1/A1/rpc/29924 without a Content-Format.
      device.send([UInt8](hex: "4102 0002 02 b3 617069 02 7631 02 4131 03 727063 05 3239393234 ff") + Array(#"{"value":1337}"#.utf8))
      #expect(try await device.receiveHex() == "6141000202")
      let answer = try await result
      #expect(answer.status == .ok && answer.detail == ["value": 1_337])
    }
  }

  @Test("A path in a single option, in another case, with a Content-Format that is echoed")
  func variants() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      for path in ["/api/v1/sensor-1/rpc", "api/v1/sensor-1/RPC"] {
        var packet = device.get(observe: 0)
        packet.options = [(6, []), (11, Array(path.utf8)), (12, [42])]
        #expect(try await device.request(packet).code == .valid)
      }
      async let result = server.perform(Call("x", params: .null), on: "sensor-1")
      let call = try await device.receiveCall()
      #expect(call.uint(12) == 42 && call.text.hasSuffix(#","method":"x","params":null}"#))
      #expect(try await device.reply("[1,true]", to: call).code == .created)
      #expect(try await result.detail == [1, true])
    }
  }

  @Test("Any JSON is a result, and nothing is none", arguments: [
    (#"{"a":[1]}"#, #"{"a":[1]}"#), ("7", "7"), ("\"on\"", "\"on\""), ("null", "null"), ("", nil),
  ])
  func results(payload: String, detail: String?) async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      try await device.observe()
      async let result = server.device("sensor-1").call("get")
      let answer = try await device.reply(payload, to: try await device.receiveCall())
      #expect(answer.code == .created && answer.payload == [] && answer.type == 2)
      let text = try await result.detail?.description
      #expect(text == detail)
    }
  }

  @Test("A result that is not JSON is refused with what is wrong, and the next one taken")
  func malformed() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      try await device.observe()
      async let result = server.device("sensor-1").call("get")
      let call = try await device.receiveCall()
      let refused = try await device.reply("{", to: call)
      #expect(refused.code == .badRequest && !refused.text.isEmpty)
      let wrongID = try await device.exchange(device.post("{}", id: "abc"))
      #expect(wrongID.code == .badRequest && wrongID.text == "the id of a call is a whole number")
      #expect(try await device.reply("{}", to: call).code == .created)
      #expect(try await result.detail == [:])
    }
  }

  @Test("Results to no call, to a call that has ended, and of a one-way call are taken and ignored")
  func strays() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      // Without an observation.
      #expect(try await device.exchange(device.post("{}", id: "5")).code == .created)
      #expect(try await device.exchange(device.post("{}", id: "4294967296")).code == .badRequest)
      try await device.observe()
      async let oneWay: Void = server.device("sensor-1").callOneWay("off")
      let call = try await device.receiveCall()
      try await oneWay
      #expect(try await device.reply("{}", to: call).code == .created)
      async let result = server.device("sensor-1").call("get")
      let second = try await device.receiveCall()
      #expect(try await device.reply("1", to: second).code == .created)
      #expect(try await result.detail == 1)
      #expect(try await device.reply("2", to: second).code == .created)
    }
  }

  @Test("A result may come from another address with the token")
  func otherAddress() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      let other = try ThingsBoardDevice(to: address)
      try await device.observe()
      async let result = server.device("sensor-1").call("get")
      let call = try await device.receiveCall()
      #expect(try await other.reply("1", to: call).code == .created)
      #expect(try await result.detail == 1)
    }
  }

  @Test("Calls to a non-confirmable observer are not confirmable, and a one-way call ends when it is sent")
  func nonConfirmable() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      let first = try await device.observe(type: 1)
      #expect(first.type == 1 && first.uint(6) == 0)
      let sent = try await server.perform(Call("off", isOneWay: true), on: "sensor-1")
      #expect(sent.status == .ok && sent.evidence.delivery == .sentNoAck && sent.evidence.acknowledgedAfter == nil)
      let push = try await device.receiveCall()
      #expect(push.type == 1 && push.uint(6) == 1)
      // Two at once: nothing is acknowledged that could be waited for.
      async let one = server.device("sensor-1").call("one")
      async let two = server.device("sensor-1").call("two")
      let calls = [try await device.receiveCall(), try await device.receiveCall()]
      #expect(calls.map(\.type) == [1, 1] && calls.map { $0.uint(6) } == [2, 3])
      for call in calls {
        let reply = try await device.request(device.post(call.text.contains("one") ? "1" : "2", id: call.number, type: 1))
        #expect(reply.code == .created && reply.type == 1)
      }
      #expect(try await one.detail == 1)
      #expect(try await two.detail == 2)
    }
  }

  @Test("A call that does not fit one message is not sent to a non-confirmable observer")
  func longNonConfirmable() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      try await device.observe(type: 1)
      let long = Call("m", params: .string(String(repeating: "x", count: 2_000)))
      let error = await failure { try await server.perform(long, on: "sensor-1") }
      #expect(error?.delivery == .notSent && "\(error!)".contains("and the device takes 1024"))
    }
  }

  @Test("After a call that is not confirmable, the answer to a call of the device is confirmable")
  func answerAfterNonConfirmable() async throws {
    try await withServer(.thingsBoard()) { server, address in
      server.handle("getTime") { _ in 1 }
      let device = try ThingsBoardDevice(to: address)
      try await device.observe(type: 1)
      _ = try await server.perform(Call("off", isOneWay: true), on: "sensor-1")
      _ = try await device.receiveCall()
      let request = device.post(#"{"method":"getTime"}"#)
      #expect(try await device.exchange(request).code.rawValue == 0)
      let answer = try await device.peer.receiveMessage()
      #expect(answer.type == 0 && answer.text == "1")
    }
  }

  @Test("A Reset in answer to a non-confirmable call ends the observation")
  func nonConfirmableReset() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      try await device.observe(type: 1)
      async let failed = failure { try await server.device("sensor-1").call("get") }
      let call = try await device.receiveCall()
      device.peer.send([0x70, 0, call.bytes[2], call.bytes[3]])
      let error = await failed
      #expect(error == .rejected(device: "sensor-1", reason: "rejected with a Reset"))
      #expect(await failure { try await server.device("sensor-1").call("get") } == .offline("sensor-1"))
    }
  }

  @Test("A second subscriber takes over, and the first one gets 2.02; each begins with Observe 0")
  func takeover() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let first = try ThingsBoardDevice(to: address)
      let second = try ThingsBoardDevice(to: address, token: [2])
      try await first.observe()
      async let one = server.device("sensor-1").call("one")
      #expect(try await first.reply("1", to: try await first.receiveCall()).code == .created)
      _ = try await one
      #expect(try await second.observe().uint(6) == 0)
      let end = try await first.peer.receiveMessage()
      #expect(end.code == .deleted && end.token == [1] && end.payload == [] && end.uint(6) == nil)
      async let two = server.device("sensor-1").call("two")
      let call = try await second.receiveCall()
      #expect(call.uint(6) == 1)
      #expect(try await second.reply("2", to: call).code == .created)
      #expect(try await two.detail == 2)
    }
  }

  @Test("A second observation from the same address replaces the first, which gets 2.02 on its own token")
  func sameAddress() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      try await device.observe()
      let again = device.get(observe: 0, token: [9])
      device.peer.send(again.bytes)
      let answers = [try await device.peer.receiveMessage(), try await device.peer.receiveMessage()]
      #expect(answers.contains { $0.code == .valid && $0.token == [9] && $0.uint(6) == 0 })
      #expect(answers.contains { $0.code == .deleted && $0.token == [1] })
    }
  }

  @Test("With the same token of CoAP the Observe numbers go on, which a client could otherwise take for old ones")
  func again() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      #expect(try await device.observe().uint(6) == 0)
      async let one = server.device("sensor-1").call("one")
      #expect(try await device.reply("1", to: try await device.receiveCall()).code == .created)
      _ = try await one
      #expect(try await device.observe().uint(6) == 2)
    }
  }

  @Test("Observe 1 ends the observation with 2.02")
  func unsubscribe() async throws {
    try await withServer(.thingsBoard()) { server, address in
      let device = try ThingsBoardDevice(to: address)
      try await device.observe()
      #expect(try await device.request(device.get(observe: 1)).code == .deleted)
      #expect(await failure { try await server.device("sensor-1").call("get") } == .offline("sensor-1"))
      #expect(try await device.request(device.get(observe: 1)).code == .deleted)
    }
  }

  @Test("Requests that make no sense are answered with what is wrong")
  func refusals() async throws {
    try await withServer(.thingsBoard()) { _, address in
      let device = try ThingsBoardDevice(to: address)
      let asked = try await device.request(device.get(observe: nil))
      #expect(asked.code == .badRequest && asked.text == "GET with Observe, 0 for calls, 1 for no more")
      var put = device.get(observe: nil)
      put.code = .put
      #expect(try await device.request(put).code == .methodNotAllowed)
      var telemetry = device.post("{}")
      telemetry.options = Packet.path("api", "v1", "sensor-1", "telemetry")
      let other = try await device.request(telemetry)
      #expect(other.code == .notFound && other.text == "this server has rpc only, not telemetry")
      var proved = device.get(observe: 0)
      proved.options = [(6, [])] + Packet.path("api", "v1", "rpc")
      #expect(try await device.request(proved).code == .unauthorized)
      var root = device.get(observe: 0)
      root.options = [(6, [])] + Packet.path("api", "v1")
      #expect(try await device.request(root).code == .notFound)
      var core = device.get(observe: nil)
      core.options = Packet.path(".well-known", "core")
      #expect(try await device.request(core).text.contains("</api/v1/rpc>;ct=50;obs"))
    }
  }

  @Test("Without the setting, the paths are not there")
  func off() async throws {
    try await withServer { _, address in
      let device = try ThingsBoardDevice(to: address)
      #expect(try await device.request(device.get(observe: 0)).code == .notFound)
    }
  }

  @Test("Of a burst of 500 calls each arrives once, in order")
  func burst() async throws {
    var limits = Limits.forTests
    limits.callsPerDevice = 500
    try await withServer(.thingsBoard(), limits: limits) { server, address in
      let device = try ThingsBoardDevice(to: address)
      try await device.observe()
      let calls = Task {
        try await withThrowingTaskGroup(of: RPCValue?.self) { group in
          for number in 0..<500 {
            group.addTask { try await server.device("sensor-1").call("n", number, timeout: .seconds(60)).detail }
          }
          return try await group.reduce(into: []) { $0.append($1) }
        }
      }
      await server.entered(500, for: "sensor-1")
      var ids: [Int] = []
      var answered = 0
      while answered < 500 {
        let message = try await device.peer.receiveMessage()
        guard message.code == .content else {
          #expect(message.code == .created)
          answered += 1
          continue
        }
        device.peer.send(message.acknowledgement)
        ids.append(try #require(Int(message.number)))
        #expect(message.uint(6) == ids.count)
        device.peer.send(device.post("\(ids.count)", id: message.number).bytes)
      }
      #expect(ids == ids.sorted() && Set(ids).count == 500)
      #expect(try await calls.value.compactMap(\.?.intValue).sorted() == Array(1...500))
    }
  }
}
