import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Options that are repeated, have a length that they cannot have, or are not served (RFC 7252 §5.4).
@Suite struct OptionWireTests {
  typealias Option = (number: Int, value: [UInt8])

  /// A value of each option that may not be repeated, with nothing in it that changes what happens.
  static let criticalOnce: [Option] = [
    (3, [0x61]), (7, [0x16, 0x33]), (17, [60]), (23, [6]), (27, [6]),
  ]
  static let electiveOnce: [Option] = [
    (6, []), (12, [60]), (14, [9]), (16, [5]), (28, []), (60, []), (252, [1]), (258, []),
  ]
  static let repeatable: [Option] = [(4, [1]), (8, [0x61]), (15, [0x61]), (20, [0x61]), (292, [1])]

  /// Lengths that RFC 7252 §5.10, RFC 7641, RFC 7959, RFC 7967, RFC 8768 and RFC 9175 do not allow.
  static let wrongCritical: [(number: Int, lengths: [Int])] = [
    (1, [9]), (3, [0, 256]), (5, [1]), (7, [3]), (11, [256]), (15, [256]), (17, [3, 300]), (23, [4]), (27, [4]), (35, [0, 1_035]), (39, [0, 256]),
  ]
  static let wrongElective: [(number: Int, lengths: [Int])] = [
    (4, [0, 9]), (6, [4]), (8, [256]), (12, [3]), (14, [5]), (16, [0, 2]), (20, [256]), (28, [5]), (60, [5]), (252, [0, 41]), (258, [2]),
    (292, [9]),
  ]

  /// GET /.well-known/core with these options, from a device of its own or the one that is given, has to get this code.
  private func expect(
    _ code: CoAPCode, for options: [Option], type: UInt8 = 0, _ address: CoAPAddress, from device: RawDevice? = nil
  ) async throws {
    let device = try device ?? RawDevice(to: address)
    var packet = Packet(type: type, code: .get, messageID: device.nextMessageID(), token: [7, device.token[0]])
    packet.options = Packet.path(".well-known", "core") + options
    let answer = try await device.exchange(packet)
    #expect(answer.code == code && answer.type != 3 && answer.token == packet.token, "\(options)")
  }

  @Test("An option that may be there once: a critical one that is repeated gets 4.02, of others the first counts")
  func repeated() async throws {
    try await withServer { server, address in
      for option in Self.criticalOnce { try await expect(.badOption, for: [option, option], address) }
      for option in Self.electiveOnce + Self.repeatable {
        try await expect(.content, for: [option, option, option], address)
      }
      let device = try RawDevice(to: address)
      #expect(try await device.exchange(device.get(observe: nil, more: [(6, []), (6, [1])])).uint(6) == 2)
      #expect(await server.onlineDevices() == 1)
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      var packet = device.result(Array(#"{"id":"\#(call.id)","status":0}"#.utf8))
      packet.options.append((12, [60]))
      #expect(try await device.exchange(packet).code == .changed)
      #expect(try await result.status == .ok)
    }
  }

  @Test("A condition that is not served is no result: If-Match and If-None-Match get 4.02")
  func conditions() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      async let result = server.device(device.name).call("f")
      let call = try await device.receiveCall()
      for condition: Option in [(1, []), (1, [1, 2]), (5, [])] {
        var packet = device.result(Array(#"{"id":"\#(call.id)","status":1}"#.utf8))
        packet.options.append(condition)
        #expect(try await device.exchange(packet).code == .badOption)
        packet.type = 1
        packet.messageID = device.nextMessageID()
        device.peer.send(packet.bytes)
      }
      try await device.expectNothingElse()
      _ = try await device.post(#"{"id":"\#(call.id)","status":0}"#)
      #expect(try await result.status == .ok)
    }
  }

  @Test("A critical option of a wrong length gets 4.02, from whomever it comes, and one that is not critical is ignored")
  func wrongLengths() async throws {
    try await withServer { _, address in
      let known = try RawDevice(to: address)
      try await known.observe()
      for device in [nil, known] {
        for (number, lengths) in Self.wrongCritical {
          for length in lengths {
            let value = [UInt8](repeating: 0x61, count: length)
            try await expect(.badOption, for: [(number, value)], address, from: device)
          }
        }
        for (number, lengths) in Self.wrongElective {
          for length in lengths {
            let value = [UInt8](repeating: 0x61, count: length)
            try await expect(.content, for: [(number, value)], address, from: device)
            try await expect(.content, for: [(number, value)], type: 1, address, from: device)
            try await expect(.badOption, for: [(number, value), (65_001, [])], address, from: device)
          }
        }
        // An item of the query may be empty.
        try await expect(.content, for: [(15, [])], address, from: device)
      }
      // What is not confirmable is ignored.
      for (number, lengths) in Self.wrongCritical {
        var packet = known.get(observe: 0, type: 1)
        packet.options.append((number, [UInt8](repeating: 0x61, count: lengths[0])))
        known.peer.send(packet.bytes)
      }
      try await known.expectNothingElse()
    }
  }

  @Test("A device whose first message has options to be ignored observes and is called")
  func ignoredAtFirst() async throws {
    try await withServer { server, address in
      for (number, more) in [(14, [UInt8](repeating: 0, count: 5)), (16, [1]), (60, [1, 2, 3, 4, 5])].enumerated() {
        let device = try RawDevice(to: address, name: "d\(number)")
        let packet = device.get(observe: 0, more: [more])
        for _ in 0..<2 {
          let answer = try await device.exchange(packet)
          #expect(answer.type == 2 && answer.messageID == packet.messageID && answer.uint(6) == 2 && answer.text == "\"OK\"")
        }
        async let result = server.device(device.name).call("f")
        try await device.serve()
        #expect(try await result.status == .ok)
      }
    }
  }

  @Test("At its origin a request may have come as far as it can: Hop-Limit 1 is served, 0 is an error")
  func hopLimit() async throws {
    try await withServer { _, address in
      for hops: UInt8 in [1, 2, 255] { try await expect(.content, for: [(16, [hops])], address) }
      try await expect(.badRequest, for: [(16, [0])], address)
    }
  }

  @Test("Requests for a proxy get 5.05, also with options to be ignored; host and port may be there")
  func proxies() async throws {
    try await withServer { _, address in
      for option: Option in [(35, Array("coap://a/b".utf8)), (39, Array("coap".utf8))] {
        try await expect(.proxyingNotSupported, for: [option], address)
        try await expect(.proxyingNotSupported, for: [option, (14, [1, 2, 3, 4, 5])], address)
      }
      try await expect(.content, for: [(3, [0x61]), (7, [0x16, 0x33])], address)
    }
  }
}
