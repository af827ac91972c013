import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Two threads: the one that the kernel gives a device's packets to is often not the one that keeps its calls.
@Suite struct TwoLoopTests {
  static var configuration: CoAPConfiguration {
    var configuration = CoAPConfiguration.forTests
    configuration.loops = 2
    configuration.shards = 2
    return configuration
  }

  @Test("Forty devices observe, are called several times at once, and answer over whichever socket")
  func manyDevices() async throws {
    try await withServer(Self.configuration) { server, address in
      let devices = try (0..<40).map {
        try RawDevice(to: address, name: "sensor-\($0)", format: $0 % 2 == 0 ? RawDevice.json : RawDevice.cbor)
      }
      for device in devices { #expect(try await device.observe().payload.count >= 3) }
      #expect(await server.onlineDevices() == 40)
      try await withThrowingTaskGroup(of: Bool.self) { group in
        for device in devices {
          for number in 0..<3 {
            group.addTask {
              try await server.device(device.name).call("f", number).detail == .string(device.name)
            }
          }
        }
        for device in devices { try await device.serve(3) { _ in #""\#(device.name)""# } }
        for try await isRight in group { #expect(isRight) }
      }
      #expect(await server.devices().allSatisfy { $0.openCalls == 0 })
    }
  }

  @Test("The first answer to an observation comes in the acknowledgement, and a call that waits comes behind it")
  func firstAnswer() async throws {
    try await withServer(Self.configuration) { server, address in
      for number in 0..<32 {
        let device = try RawDevice(to: address, name: "d\(number)")
        async let result = server.device(device.name).call("f", wait: .seconds(10))
        await server.entered(1, for: device.name)
        let packet = device.get(observe: 0)
        let answer = try await device.exchange(packet)
        #expect(answer.type == 2 && answer.messageID == packet.messageID && answer.text == "\"OK\"" && answer.uint(6) == 2)
        try await device.serve()
        _ = try await result
      }
    }
  }

  @Test("Where there is no room for a device it hears 5.03, at once or as the end of its observation")
  func noRoom() async throws {
    var limits = Limits.forTests
    limits.devices = 1
    try await withServer(Self.configuration, limits: limits) { server, address in
      var seen: Set<Bool> = []
      for number in 0..<64 where seen.count < 2 {
        let device = try RawDevice(to: address, name: "d\(number)")
        var answer = try await device.exchange(device.get(observe: 0))
        guard await server.device(device.name).info?.isOnline != true else { continue }
        let isAtOnce = answer.code == .serviceUnavailable
        if !isAtOnce {
          #expect(answer.code == .content && answer.type == 2)
          answer = try await device.peer.receiveMessage()
          #expect(answer.code == .serviceUnavailable && answer.token == device.token && (answer.uint(14) ?? 0) > 0)
        }
        seen.insert(isAtOnce)
        try await device.expectNothingElse()
      }
      #expect(seen.count == 2)
      #expect(await server.onlineDevices() <= 2)
    }
  }

  @Test("Observe numbers of a device go on from wherever it registers, on whichever loop")
  func observeNumbers() async throws {
    try await withServer(Self.configuration) { server, address in
      for name in ["a", "b", "c"] {
        var last = 1
        for round in 0..<12 {
          let device = try RawDevice(to: address, name: name, token: [UInt8(round % 3)])
          let first = try #require(try await device.observe().uint(6))
          #expect(round == 0 ? first == 2 : first > last && first - last < 1 << 23)
          async let result = server.device(name).call("f")
          let call = try await device.receiveCall()
          last = try #require(call.uint(6))
          #expect(last == first + 1)
          _ = try await device.post(#"{"id":"\#(call.id)","status":0}"#)
          _ = try await result
          if round % 4 == 3 { _ = try await device.request(device.get(observe: 1)) }
        }
      }
    }
  }

  @Test("Results of strangers find the loop of the call by its id")
  func strangers() async throws {
    try await withServer(Self.configuration) { server, address in
      let strangers = try (0..<8).map { _ in try RawDevice(to: address) }
      for number in 0..<8 {
        let device = try RawDevice(to: address, name: "d\(number)")
        try await device.observe()
        async let result = server.device(device.name).call("f")
        let call = try await device.receiveCall()
        for other in 0..<8 where other != number {
          _ = try await strangers[other].post(#"{"id":"f/ffff","status":1}"#)
        }
        #expect(try await strangers[number].post(#"{"id":"\#(call.id)","status":0,"detail":8}"#).code == .changed)
        #expect(try await result.detail == 8)
      }
    }
  }

  @Test("Devices that poll get their answers, at once or separately, and a repeated poll gets the same call")
  func polling() async throws {
    try await withServer(Self.configuration) { server, address in
      for number in 0..<16 {
        let device = try RawDevice(to: address, name: "d\(number)")
        async let result = server.device(device.name).call("f", wait: .seconds(10))
        await server.entered(1, for: device.name)
        let poll = device.get(observe: nil)
        let call = try await device.request(poll)
        #expect(call.id.hasPrefix("f/"))
        #expect(try await device.request(poll).payload == call.payload)
        #expect(try await device.request(device.get(observe: nil, type: 1)).text.contains("OK"))
        _ = try await device.post(#"{"id":"\#(call.id)","status":0}"#)
        _ = try await result
      }
    }
  }

  @Test("Devices that come back on another loop, renew and leave")
  func reconnecting() async throws {
    try await withServer(Self.configuration) { server, address in
      var old: RawDevice?
      for _ in 0..<12 {
        let device = try RawDevice(to: address)
        try await device.observe()
        try await device.observe()
        async let first = server.device(device.name).call("f")
        try await device.serve()
        _ = try await first
        // Nobody listens to the old socket's goodbye any more.
        if let old { _ = try await old.request(old.get(observe: 1)) }
        async let second = server.device(device.name).call("g")
        try await device.serve()
        _ = try await second
        old = device
      }
      #expect(await server.onlineDevices() == 1)
      if let old { _ = try await old.request(old.get(observe: 1)) }
      // The home loop hears of it after the device has its answer, and before anything that comes later.
      var events = server.events().makeAsyncIterator()
      if await server.onlineDevices() > 0 {
        while let event = await events.next() {
          if case .offline = event { break }
        }
      }
      #expect(await server.onlineDevices() == 0)
    }
  }

  @Test("Separate responses that are not acknowledged do not pile up")
  func unacknowledgedResponses() async throws {
    try await withServer(Self.configuration) { _, address in
      // A name whose home is another loop than the one of this socket.
      var found: RawDevice?
      for number in 0..<64 where found == nil {
        let device = try RawDevice(to: address, name: "d\(number)")
        let answer = try await device.exchange(device.get(observe: nil))
        guard answer.code.rawValue == 0 else { continue }
        _ = try await device.peer.receiveMessage()
        found = device
      }
      let device = try #require(found)
      for _ in 0..<20 {
        var missing: Set<[UInt8]> = []
        for _ in 0..<10 {
          let token = Packet.uint(Int(device.nextMessageID()))
          missing.insert(token)
          device.peer.send(device.get(observe: nil, token: token).bytes)
        }
        while !missing.isEmpty {
          let message = try await device.peer.receiveMessage()
          if message.code == .content { missing.remove(message.token) }
        }
      }
    }
  }
}
