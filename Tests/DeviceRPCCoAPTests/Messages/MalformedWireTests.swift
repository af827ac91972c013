import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// What devices get wrong, and what they hear of it.
@Suite struct MalformedWireTests {
  static let badJSON = [
    "", "{", "{\"id\"", "{\"id\":\"f/74e4\"", "{\"id\":\"f/74e4\",\"status\":0", "{\"id\":\"f/74e4\",\"status\":}", "[]", "0", "null",
    "\"OK\"", "{}", "{\"status\":0}", "{\"id\":\"f/74e4\"}", "{\"id\":7,\"status\":0}", "{\"id\":\"f/74e4\",\"status\":\"0\"}",
    "{\"id\":\"f/74e4\",\"status\":0.5}", "{\"id\":\"f/74e4\",\"status\":null}", "{\"id\":\"f/74e4\",\"status\":true}",
    "{\"id\":\"f/74e4\",\"status\":1e30}", "{\"id\":null,\"status\":0}", "{\"id\":\"f/74e4\",\"status\":0}x",
    "{\"id\":\"f/74e4\",\"status\":0,\"detail\":NaN}", "{'id':'f/74e4','status':0}", "{\"id\":\"f/74e4\",\"status\":0,}", "\u{feff}{}",
    "{\"id\":\"f/74e4\",\"status\":0,\"detail\":" + String(repeating: "[", count: 300) + String(repeating: "]", count: 300) + "}",
  ]

  // id is `62 6964 66 662f37346534`, statusCode 0 is `6a 737461747573436f6465 00`.
  static let badCBOR = [
    "", "bf", "a2", "bf 626964 66662f37346534", "bf 626964", "bf 626964 ff", "a2 626964 66662f37346534 6673746174757300 00",
    "a2 626964 66662f37346534", "a2 626964 66662f37346534 66737461747573", "bf 626964 66662f37346534 66737461747573 ff",
    "bf 626964 66662f37346534 6673746174757300", "80", "f6", "00", "a0", "bfff", "a1 626964 66662f37346534", "a1 66737461747573 00",
    "a2 626964 00 66737461747573 00", "a2 626964 46662f37346534 66737461747573 00", "a2 626964 66662f37346534 66737461747573 60",
    "a2 626964 66662f37346534 66737461747573 f93800", "a2 626964 66662f37346534 66737461747573 f97e00",
    "a2 626964 66662f37346534 66737461747573 1bffffffffffffffff", "a2 00 00 626964 66662f37346534",
    "a3 626964 66662f37346534 66737461747573 00 6664657461696c 61ff", "a3 626964 66662f37346534 66737461747573 00 6664657461696c 7f 4161 ff",
    "a3 626964 66662f37346534 66737461747573 00 6664657461696c 1c", "ff", "62 4f4b", "bb ffffffffffffffff", "7b ffffffffffffffff 61",
    "9b 00000000ffffffff", "1f", "a2 626964 66662f37346534 66737461747573 c0", "fc", "f8 00",
    "a3 626964 66662f37346534 66737461747573 00 6664657461696c " + String(repeating: "81", count: 300) + "00",
  ]

  @Test("Malformed results in JSON get 4.00 with a reason, and the call waits on for a good one")
  func malformedJSON() async throws {
    try await expectRefusal(of: Self.badJSON.map { Array($0.utf8) }, format: RawDevice.json)
  }

  @Test("Malformed results in CBOR get 4.00 with a reason, and the call waits on for a good one")
  func malformedCBOR() async throws {
    try await expectRefusal(of: Self.badCBOR.map { [UInt8](hex: $0) }, format: RawDevice.cbor)
  }

  private func expectRefusal(of payloads: [[UInt8]], format: Int) async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address, format: format)
      try await device.observe()
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      #expect(call.id == "f/74e4")
      for payload in payloads {
        let answer = try await device.post(payload)
        #expect(answer.code == .badRequest, "\(payload.hex)")
        #expect(answer.uint(12) == nil && answer.text.utf8.count >= 10, "\(payload.hex)")
      }
      _ = try await device.post(#"{"id":"f/74e4","status":0,"detail":"good"}"#)
      #expect(try await result.detail == "good")
    }
  }

  /// What was sent, and the call that it answers as far as can be told.
  static let torn: [(payload: String, format: Int, id: String?)] = [
    (#"{"id":"f/74e4","status":}"#, RawDevice.json, "f/74e4"), (#" { "x" : [1, {"id":"no"}, "]"], "id" : "f/74e4" "#, RawDevice.json, "f/74e4"),
    (#"{"detail":{"id":"no"},"sta"#, RawDevice.json, nil), (#"{"id":"f/74e"#, RawDevice.json, nil), (#"{"id":7,"status":0}"#, RawDevice.json, nil),
    (#"{"a\"b":"id","id":"\u0066/74e4",}"#, RawDevice.json, nil), (#"{"status":0,"id":"f/74e4"}}"#, RawDevice.json, "f/74e4"),
    ("[]", RawDevice.json, nil), ("", RawDevice.json, nil),
    ("bf 626964 66662f37346534 66737461747573", RawDevice.cbor, "f/74e4"), ("a1 626964 66662f37346534", RawDevice.cbor, "f/74e4"),
    ("bf 6664657461696c a1 626964 00 626964 6666", RawDevice.cbor, nil), ("a2 626964 66662f373465", RawDevice.cbor, nil),
    ("{}", 42, nil),
  ]

  @Test("Of a result that cannot be read the call is recovered where that is certain, and told to whoever watches")
  func tornResults() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      var events = server.events().makeAsyncIterator()
      for (payload, format, id) in Self.torn {
        let bytes = format == RawDevice.cbor ? [UInt8](hex: payload) : Array(payload.utf8)
        #expect(try await device.post(bytes, format: format).code.codeClass == 4)
        while let event = await events.next() {
          guard case .unreadableResult(let told, let name, let reason) = event else { continue }
          #expect(told == id && name == device.name && !reason.isEmpty, "\(payload)")
          break
        }
      }
    }
  }

  @Test("A call that is answered with nothing readable says so in the end, though it was never acknowledged")
  func garbled() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let error = failure { try await server.device(device.name).call("f", timeout: .seconds(1)) }
      let call = try await device.peer.receiveMessage()
      #expect(try await device.post(#"{"id":"\#(call.id)","status":"fine"}"#).code == .badRequest)
      #expect(await error == .garbled(device: device.name, reason: "status is not a whole number"))
      device.peer.send(call.acknowledgement)
      async let next: Void = device.serve()
      #expect(try await server.device(device.name).call("g").status == .ok)
      try await next
    }
  }

  @Test("Formats, paths and methods that are not served get the code that says so")
  func refusedRequests() async throws {
    try await withServer { _, address in
      let device = try RawDevice(to: address)
      func code(_ method: CoAPCode, _ path: [String], _ options: [(number: Int, value: [UInt8])] = []) async throws -> String {
        var packet = Packet(code: method, messageID: device.nextMessageID(), token: [1, 2])
        // Without a Content-Format libcoap refuses FETCH itself, from 4.3.2 on (RFC 8132 §2.3.1).
        packet.options = path.map { (11, Array($0.utf8)) } + options + (method == .fetch ? [(12, [50])] : [])
        packet.payload = method == .post ? Array("{}".utf8) : []
        let answer = try await device.exchange(packet)
        #expect(answer.token == [1, 2] && answer.type == 2 && answer.messageID == packet.messageID)
        #expect(answer.code.isSuccess || !answer.text.isEmpty, "a reason in words")
        return answer.code.description
      }
      for format in [0, 42, 61, 65_535] {
        #expect(try await code(.post, [".rpc", "status"], [(12, Packet.uint(format))]) == "4.15")
        #expect(try await code(.get, [".rpc"], [(6, []), (17, Packet.uint(format))]) == "4.06")
        #expect(try await code(.get, [".rpc"], [(17, Packet.uint(format))]) == "4.06")
      }
      for path in [["rpc"], [".rpc", "status", "x"], [".rpc", ""], [".rpc/status"], [".rpc%2Fstatus"], [".RPC"], ["", ".rpc"]] {
        #expect(try await code(.get, path) == "4.04", "\(path)")
        #expect(try await code(.post, path) == "4.04", "\(path)")
      }
      for method in [CoAPCode.post, .put, .delete, .fetch, .patch, .iPatch] {
        #expect(try await code(method, [".rpc"]) == "4.05")
      }
      for method in [CoAPCode.get, .put, .delete, .fetch, .patch, .iPatch] {
        #expect(try await code(method, [".rpc", "status"]) == "4.05")
      }
      // A critical option that nobody knows (RFC 7252 §5.4.1).
      #expect(try await code(.get, [".rpc"], [(65_001, [])]) == "4.02")
      // Observe 0 without a name that can be shown.
      #expect(try await code(.get, [".rpc"], [(6, []), (15, Array("ep=".utf8))]) == "4.00")
      #expect(try await code(.get, [".rpc"], [(6, []), (15, Array("ep=a\nb".utf8))]) == "4.00")
      #expect(try await code(.get, [".rpc"], [(6, []), (15, [0x65, 0x70, 0x3d, 0xff])]) == "4.00")
    }
  }

  @Test("A name may begin with a combining character")
  func combiningName() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address, name: "\u{301}x")
      try await device.observe()
      #expect(await server.devices().map(\.name) == ["\u{301}x"])
    }
  }

  @Test("A datagram longer than can be read gets 4.13, and the next ones are read as ever")
  func oversizeDatagram() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      for length in [1_473, 1_474, 2_000, 9_000, 65_000] {
        var packet = device.result(Array(#"{"id":"\#(call.id)","status":0,"detail":""#.utf8))
        packet.payload += [UInt8](repeating: UInt8(ascii: "x"), count: length - 2 - packet.bytes.count)
        packet.payload += Array("\"}".utf8)
        #expect(packet.bytes.count == length)
        let answer = try await device.exchange(packet)
        #expect(answer.code == .requestEntityTooLarge && answer.messageID == packet.messageID, "\(length)")
        try await device.expectNothingElse()
      }
      // The largest that can be read.
      var packet = device.result(Array(#"{"id":"\#(call.id)","status":0,"detail":""#.utf8))
      packet.payload += [UInt8](repeating: UInt8(ascii: "x"), count: 1_470 - packet.bytes.count) + Array("\"}".utf8)
      #expect(try await device.exchange(packet).code == .changed)
      #expect(try await result.detail?.stringValue?.utf8.count ?? 0 > 1_000)
    }
  }

  @Test("A body in blocks beyond the limit gets 4.13")
  func oversizeBody() async throws {
    var configuration = CoAPConfiguration.forTests
    configuration.maximumResult = 4_096
    try await withServer(configuration) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      for number in 0..<4 {
        var packet = device.result([UInt8](repeating: 0x20, count: 1_024))
        packet.options.append((27, Packet.block(number, more: true, exponent: 6)))
        #expect(try await device.exchange(packet).code == .continue)
      }
      var packet = device.result([0x20])
      packet.options.append((27, Packet.block(4, more: false, exponent: 6)))
      let answer = try await device.exchange(packet)
      #expect(answer.code == .requestEntityTooLarge && answer.uint(60) == 4_096)
    }
  }

  @Test("Keep-alives are answered: DELETE without a path, an empty message, the firmware's very bytes")
  func keepAlives() async throws {
    try await withServer { _, address in
      let peer = try RawPeer(to: address)
      peer.send(hex: "4804 6577 0000000000000000")
      #expect(try await peer.receiveHex() == "684265770000000000000000")
      // CoAP ping: an empty confirmable message is answered with a Reset (RFC 7252 §4.3). libcoap answers one in 250 ms,
      // and none in the first 250 ms of a process, so the peer sends it again as it would on a lossy network.
      let clock = ContinuousClock()
      let end = clock.now + .seconds(10)
      var answer = ""
      while answer != "70001234" {
        try #require(clock.now < end)
        peer.send(hex: "4000 1234")
        peer.send(hex: "4804 6578 0000000000000002")
        answer = try await peer.receiveHex()
      }
      #expect(try await peer.receiveHex() == "684265780000000000000002")
      // Zephyr's is non-confirmable, and nobody has to answer it.
      peer.send(hex: "5000 1235")
      peer.send(hex: "4804 6579 0000000000000001")
      answer = try await peer.receiveHex()
      if answer == "70001235" { answer = try await peer.receiveHex() }
      #expect(answer == "684265790000000000000001")
    }
  }

  @Test("Log lines get 2.04 whatever is in them, for an error would be logged and sent again")
  func deviceLogs() async throws {
    try await withServer { _, address in
      let device = try RawDevice(to: address)
      let line = "a3 656c6576656c 646e6f6e65 666d6f64756c65 6161 636d7367 6162"
      for (payload, format) in [(line, 60), ("", 60), ("ff", 60), ("7b7d", 50), ("00", 0), ("bf", 60)] {
        var packet = Packet(code: .post, messageID: device.nextMessageID(), token: [5], payload: [UInt8](hex: payload))
        packet.options = Packet.path(".s", "logs") + [(12, Packet.uint(format))]
        let answer = try await device.exchange(packet)
        #expect(answer.code == .changed && answer.payload.isEmpty)
      }
    }
  }

  @Test("The resources can be discovered")
  func discovery() async throws {
    try await withServer { _, address in
      let device = try RawDevice(to: address)
      var packet = Packet(code: .get, messageID: device.nextMessageID(), token: [5])
      packet.options = Packet.path(".well-known", "core")
      let answer = try await device.exchange(packet)
      #expect(answer.code == .content && answer.uint(12) == 40 && answer.text.contains("</.rpc>"))
      packet.code = .post
      packet.messageID = device.nextMessageID()
      #expect(try await device.exchange(packet).code == .methodNotAllowed)
    }
  }
}
