import DeviceRPC
import Glibc
import Testing

/// Calls to a device that shares no line with this package: Python, aiocoap and cbor2.
@Suite(.timeLimit(.minutes(2))) struct AioCoAPTests {
  @Test("A call is answered", arguments: Format.allCases)
  func call(_ format: Format) async throws {
    try await withServer { server, port in
      try await AioCoAPDevice.observing(port, format) { device in
        let result = try await server.device("sensor-1").call("multiply", 7, 191)
        #expect(result.id == "multiply/74e4")
        #expect(result.detail == ["value": format == .json ? 1_337 : .double(1_337)])
        #expect(try await device.line() == "called multiply/74e4")
        #expect(try await device.line() == "answered multiply/74e4 2.04 Changed")
      }
    }
  }

  @Test("Values of all kinds come back as they went out", arguments: Format.allCases)
  func values(_ format: Format) async throws {
    try await withServer { server, port in
      try await AioCoAPDevice.observing(port, format) { _ in
        let value: RPCValue = [
          "text": "ü \u{1f44d} \u{0} \"\\", "none": nil, "yes": true, "half": 0.5, "tiny": 1.5e-300,
          "list": [[], [:], "a"],
        ]
        let result = try await server.device("sensor-1").call("echo", value)
        #expect(result.detail == ["value": value])
      }
    }
  }

  @Test("A device that refuses tells its status and detail", arguments: Format.allCases)
  func refusal(_ format: Format) async throws {
    try await withServer { server, port in
      try await AioCoAPDevice.observing(port, format) { _ in
        let refused = try await server.perform(Call("fail", params: [9, "paper"]), on: "sensor-1")
        #expect(refused.status == .failedPrecondition && refused.detail == ["error": "paper"])
        let unknown = try await server.perform(Call("unheard_of"), on: "sensor-1")
        #expect(unknown.status == .notFound && unknown.detail == nil)
      }
    }
  }

  @Test("Fifty calls at once to one device are each answered", arguments: Format.allCases)
  func fifty(_ format: Format) async throws {
    try await withServer { server, port in
      try await AioCoAPDevice.observing(port, format) { _ in
        try await withThrowingTaskGroup(of: (Int, RPCValue?).self) { group in
          for number in 0..<50 {
            group.addTask { (number, try await server.device("sensor-1").call("echo", "call \(number)").detail) }
          }
          for try await (number, detail) in group { #expect(detail == ["value": .string("call \(number)")]) }
        }
      }
    }
  }

  @Test("Long parameters and details go block-wise", arguments: Format.allCases)
  func long(_ format: Format) async throws {
    try await withServer(.roomy) { server, port in
      try await AioCoAPDevice.observing(port, format) { _ in
        let text = (0..<200 << 7).map { String($0 + 10_000_000) }.joined()
        async let other = server.device("sensor-1").call("multiply", 7, 191)
        #expect(try await server.device("sensor-1").call("echo", text).detail == ["value": .string(text)])
        let product = try await other.detail
        #expect(product == ["value": format == .json ? 1_337 : .double(1_337)])
      }
    }
  }

  @Test("A call that is cancelled on the way leaves a late result, and room for the next")
  func cancellation() async throws {
    try await withServer { server, port in
      try await AioCoAPDevice.observing(port) { device in
        let events = server.events()
        let sleep = Task { try await server.device("sensor-1").call("sleep", 3_600) }
        _ = try await device.line(with: "called sleep/74e4")
        sleep.cancel()
        let error = await #expect(throws: CallError.self) { try await sleep.value }
        #expect(error == .cancelled(.sentNoAck) || error == .cancelled(.delivered))
        #expect(try await server.device("sensor-1").call("multiply", 7, 191).detail == ["value": .double(1_337)])
        device.type("wake")
        #expect(try await device.line(with: "answered sleep") == "answered sleep/74e4 2.04 Changed")
        let stray = await events.first { if case .strayResult = $0 { true } else { false } }
        #expect(stray == .strayResult(id: "sleep/74e4", device: "sensor-1", isLate: true))
      }
    }
  }

  @Test("A slow call holds up no other")
  func slow() async throws {
    try await withServer { server, port in
      try await AioCoAPDevice.observing(port) { device in
        async let slow = server.device("sensor-1").call("sleep", 3_600)
        _ = try await device.line(with: "called sleep/74e4")
        #expect(try await server.device("sensor-1").call("multiply", 7, 191).detail == ["value": .double(1_337)])
        device.type("wake")
        #expect(try await slow.detail == ["slept": .double(3_600)])
      }
    }
  }

  @Test("A device that has forgotten its observation resets a call, and is offline then")
  func reset() async throws {
    try await withServer { server, port in
      let events = server.events()
      try await AioCoAPDevice.observing(port) { device in
        device.type("forget")
        _ = try await device.line(with: "not observing")
        // aiocoap still acknowledges one notification; that is when it notices.
        try await server.device("sensor-1").callOneWay("f")
        let reason = "rejected with a Reset"
        await #expect(throws: CallError.rejected(device: "sensor-1", reason: reason)) {
          try await server.device("sensor-1").call("f")
        }
        #expect(try await events.reasonForLeaving(of: "sensor-1") == reason)
      }
    }
  }

  @Test("A device that was killed fails the call to it, and is welcome again")
  func killed() async throws {
    try await withServer(transmission: .impatient) { server, port in
      let events = server.events()
      try await AioCoAPDevice.observing(port) { device in
        let lost = Task { try await server.device("sensor-1").call("sleep", 3_600, timeout: .seconds(2)) }
        _ = try await device.line(with: "called sleep/74e4")
        device.send(SIGKILL)
        #expect(await device.exitCode() == -SIGKILL)
        let reason = "not acknowledged after all retransmissions"
        await #expect(throws: CallError.undelivered(device: "sensor-1", reason: reason)) {
          try await server.device("sensor-1").call("f")
        }
        #expect(try await events.reasonForLeaving(of: "sensor-1") == reason)
        await #expect(throws: CallError.unanswered(device: "sensor-1", after: .seconds(2))) { try await lost.value }
      }
      let early = Task { try await server.device("sensor-1").call("multiply", 7, 191, wait: .seconds(40)) }
      try await AioCoAPDevice.observing(port) { _ in
        let result = try await early.value
        #expect(result.detail == ["value": .double(1_337)])
      }
    }
  }

  @Test("A device that restarts takes the place of its former self at once")
  func restart() async throws {
    try await withServer { server, port in
      try await AioCoAPDevice.observing(port) { former in
        former.send(SIGKILL)
        #expect(await former.exitCode() == -SIGKILL)
        try await AioCoAPDevice.observing(port, .json) { _ in
          let result = try await server.device("sensor-1").call("multiply", 7, 191)
          #expect(result.detail == ["value": 1_337])
          #expect(await server.onlineDevices() == 1)
        }
      }
    }
  }

  @Test("A call is answered over DTLS, with tinydtls on the other side", arguments: Format.allCases)
  func secure(_ format: Format) async throws {
    try await withSecureServer { server in
      let options = ["--identity", "sensor-1@lab", "--key", "first-key"]
      try await AioCoAPDevice.observing(at: server.uri(.dtls), options, format) { device in
        for id in ["74e4", "74e5"] {
          let result = try await server.server.device("sensor-1").call("multiply", 7, 191)
          #expect(result.detail == ["value": format == .json ? 1_337 : .double(1_337)])
          #expect(try await device.line() == "called multiply/\(id)")
          #expect(try await device.line() == "answered multiply/\(id) 2.04 Changed")
        }
      }
      #expect(server.log.lines == [])
    }
  }
}
