import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Firmware as Golioth's: it acknowledges a call, and queues a log line and the result; the queue holds ten requests, of which
/// one at a time is under way, and what does not fit is dropped without a word.
struct QueueingFirmware {
  let device: RawDevice
  private let capacity = 10
  private var queue: [Packet] = []
  private var underWay: [UInt8]?
  private(set) var dropped = 0
  private(set) var mostQueued = 0
  var logs = true

  init(_ device: RawDevice) { self.device = device }

  private mutating func enqueue(_ packet: Packet) {
    guard queue.count < capacity else { return dropped += 1 }
    queue.append(packet)
    mostQueued = max(mostQueued, queue.count)
  }

  private mutating func sendNext() {
    guard underWay == nil, !queue.isEmpty else { return }
    let packet = queue.removeFirst()
    underWay = packet.token
    device.peer.send(packet.bytes)
  }

  /// Takes this many calls, and returns when nothing is left to be sent.
  mutating func serve(_ count: Int) async throws {
    var taken = 0
    while taken < count || underWay != nil {
      let message = try await device.peer.receiveMessage()
      if message.token == device.token, message.code == .content {
        taken += 1
        device.peer.send(message.acknowledgement)
        var line = device.result([0xa1, 0x63, 0x6d, 0x73, 0x67, 0x62, 0x68, 0x69], format: RawDevice.cbor)
        line.options = Packet.path(".s", "logs") + [(12, Packet.uint(RawDevice.cbor))]
        if logs { enqueue(line) }
        enqueue(device.result(Array(#"{"id":"\#(message.id)","status":0}"#.utf8)))
      } else if message.token == underWay {
        #expect(message.code == .changed)
        underWay = nil
      }
      sendNext()
    }
  }
}

@Suite(.timeLimit(.minutes(1))) struct BurstWireTests {
  @Test func `200 calls at once to firmware whose queue holds ten requests all come back`() async throws {
    try await withServer { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      let answered = try await withThrowingTaskGroup(of: Bool.self) { group in
        for number in 0..<200 {
          group.addTask { try await server.device("sensor-1").call("count", number, timeout: .seconds(60)).status == .ok }
        }
        var firmware = QueueingFirmware(device)
        try await firmware.serve(200)
        #expect(firmware.dropped == 0)
        #expect(firmware.mostQueued <= 10)
        return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(answered == 200)
    }
  }

  @Test(arguments: [1, 3])
  func `a device has as many calls without a result as its settings say`(window: Int) async throws {
    var configuration = CoAPConfiguration.forTests
    configuration.devices["sensor-1"] = GoliothSettings()
    configuration.devices["sensor-1"]?.unansweredCalls = window
    try await withServer(configuration) { server, address in
      let device = try RawDevice(to: address)
      try await device.observe()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for number in 0..<4 { group.addTask { _ = try await server.device("sensor-1").call("count", number) } }
        var ids: [String] = []
        for _ in 0..<window { ids.append(try await device.receiveCall().id) }
        try await device.expectNothingElse()
        device.peer.send(device.result(Array(#"{"id":"\#(ids[0])","status":0}"#.utf8)).bytes)
        // The answer to the result and the next call, in whichever order.
        var next: RawMessage?
        for _ in 0..<2 {
          let message = try await device.peer.receiveMessage()
          if message.code == .content { next = message }
        }
        device.peer.send(try #require(next).acknowledgement)
        ids.append(try #require(next).id)
        group.cancelAll()
      }
    }
  }
}
