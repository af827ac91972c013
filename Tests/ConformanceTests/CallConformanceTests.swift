import DeviceRPC
import Testing

/// What a call does for its caller, the same at every door: values, order, one-way calls, refusals, and devices of their own.
@Suite(.timeLimit(.minutes(2))) struct CallConformanceTests {
  private static let values: [RPCValue] = [
    nil, true, false, "", "on", 0, -7, 4_294_967_296, -7.5, 1e300, [], [[], nil, "a"], [:],
    ["pin": 26, "deep": ["a": [1, ["b": "c"]], "none": nil]],
  ]

  @Test(arguments: Door.allCases)
  func `a call returns its result`(door: Door) async throws {
    try await withDevice(door) { (server, device) async throws in
      let sensor = server.device(device.name)
      for value in Self.values {
        let result = try await sensor.call("echo", value)
        let expected: RPCValue = ["value": value]
        #expect(result.status == .ok && result.detail == expected && result.evidence.delivery == .delivered)
      }
      let several = try await sensor.call("echo", "a", 7, RPCValue.array([true]))
      #expect(several.detail == ["value": ["a", 7, [true]]])
      let none = try await sensor.call("echo")
      #expect(none.detail == ["value": []])
      let sum = try await sensor.call("add", 7, 191)
      #expect(sum.detail == ["value": 198])
      #expect(device.calls.count == Self.values.count + 3)
      let info = await sensor.info
      #expect(info?.isOnline == true && info?.dialect == door.dialect)
    }
  }

  @Test(arguments: Door.allCases)
  func `long texts and all of Unicode arrive and come back byte for byte`(door: Door) async throws {
    let mixed = "Grüße, 水と火, 🚰, e\u{301}, \"\\/\n\t\u{1}\u{7f}"
    // 3,000 bytes, which CoAP sends in blocks.
    let long = String(repeating: "ü", count: 1_500)
    try await withDevice(door) { (server, device) async throws in
      for text in [mixed, long, long + mixed] {
        let result = try await server.device(device.name).call("echo", text)
        let returned = result.detail?["value"]?.stringValue ?? ""
        let arrived = device.calls.last?.params.first?.stringValue ?? ""
        // Bytes, since Swift's strings are equal when people read the same.
        #expect(Array(returned.utf8) == Array(text.utf8) && Array(arrived.utf8) == Array(text.utf8))
      }
      #expect(device.calls.count == 3)
    }
  }

  @Test(arguments: Door.allCases)
  func `in a burst each call arrives once, and each caller gets its own result`(door: Door) async throws {
    try await withDevice(door) { (server, device) async throws in
      let sensor = server.device(device.name)
      try await withThrowingTaskGroup(of: (Int, RPCValue?).self) { group in
        for number in 0..<100 {
          group.addTask { (number, try await sensor.call("echo", number).detail) }
        }
        for try await (number, detail) in group { #expect(detail?["value"]?.intValue == number) }
      }
      #expect(device.numbers.sorted() == Array(0..<100) && device.calls.count == 100)
    }
  }

  @Test(arguments: Door.allCases)
  func `calls arrive in the order in which they were begun`(door: Door) async throws {
    try await withDevice(door) { (server, device) async throws in
      var begun: [CallInfo] = []
      for number in 0..<30 {
        let params: RPCValue = [.integer(Int64(number))]
        begun.append(try await server.begin(Call("echo", params: params), on: device.name, waiting: .zero))
      }
      for (number, call) in begun.enumerated() {
        let ended = try #require(await server.info(of: call.id, waiting: nil))
        guard case .result(let result)? = ended.outcome else {
          Issue.record("\(ended)")
          continue
        }
        #expect(result.detail?["value"]?.intValue == number)
      }
      #expect(device.numbers == Array(0..<30))
    }
  }

  @Test(arguments: Door.allCases)
  func `a one-way call succeeds without a result, and arrives once`(door: Door) async throws {
    try await withDevice(door) { (server, device) async throws in
      // No answer comes that could stand for an acknowledgement.
      let sent = try await server.perform(Call("hang", params: [1], isOneWay: true), on: device.name)
      #expect(sent.status == .ok && sent.detail == .none && sent.evidence.delivery == door.deliveryOfOneWay)
      #expect((sent.evidence.acknowledgedAfter == nil) == (door.acknowledgements == .none))
      try await server.device(device.name).call("echo", 2)
      #expect(device.methods == ["hang", "echo"] && device.numbers == [1, 2])
    }
  }

  @Test(arguments: Door.allCases)
  func `a function that fails tells the caller as well as the door can`(door: Door) async throws {
    try await withDevice(door) { (server, device) async throws in
      let sensor = server.device(device.name)
      if door.hasStatuses {
        let error = await #expect(throws: CallError.self) { try await sensor.call("fail", 9, "out of paper") }
        guard case .refused(let result)? = error else {
          Issue.record("not refused")
          return
        }
        #expect(result.status == .failedPrecondition && result.detail == ["error": "out of paper"])
        #expect(result.evidence.delivery == .refused)
      } else {
        let result = try await sensor.call("fail", 9, "out of paper")
        #expect(result.status == .ok && result.detail == ["error": "out of paper", "status": 9])
      }
      let sum = try await sensor.call("add", 1, 2)
      #expect(sum.detail == ["value": 3] && device.methods == ["fail", "add"])
    }
  }

  @Test(arguments: Door.allCases)
  func `each device gets its own calls only`(door: Door) async throws {
    try await withServer([door]) { (conformance) async throws in
      let server = conformance.server
      try await conformance.withDevice(ConformanceServer.names[0], through: door) { (first) async throws in
        try await conformance.withDevice(ConformanceServer.names[1], through: door) { (second) async throws in
          for number in 0..<10 {
            async let one = server.device(first.name).call("echo", number)
            async let other = server.device(second.name).call("echo", 100 + number)
            let (its, others) = try await (one, other)
            #expect(its.device == first.name && its.detail?["value"]?.intValue == number)
            #expect(others.device == second.name && others.detail?["value"]?.intValue == 100 + number)
          }
          #expect(first.numbers == Array(0..<10) && second.numbers == Array(100..<110))
        }
      }
    }
  }
}
