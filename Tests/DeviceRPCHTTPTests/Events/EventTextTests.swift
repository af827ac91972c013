import DeviceRPC
import Foundation
import Testing

@testable import DeviceRPCHTTP

@Suite struct EventTextTests {
  private func text(_ event: DeviceEvent, _ number: Int = 1_042) -> String {
    String(buffer: NumberedEvent(.event(event), number: number, time: eventTime).text(origin: "k3v9"))
  }

  @Test func `an event is an id, a name and one line of JSON`() {
    #expect(
      text(.strayResult(id: "m/74e4", device: "sensor-1", isLate: true)) == """
        id: k3v9-1042
        event: result.stray
        data: {"time":"2026-09-21T14:13:20.000Z","result":{"wireId":"m/74e4","device":"sensor-1","late":true}}


        """)
  }

  @Test(arguments: [
    (.online(.test("a")), "device.online", ["device"]),
    (.offline(.test("a"), reason: "gone"), "device.offline", ["device", "reason"]),
    (.quiet(.test("a")), "device.quiet", ["device"]), (.heardAgain(.test("a")), "device.heard", ["device"]),
    (.ended("a"), "call.ended", ["call"]),
    (.unreadableResult(id: nil, device: nil, reason: "no JSON\r\nat all"), "result.unreadable", ["result"]),
    (.forbiddenResult(id: "m/1", device: nil), "result.forbidden", ["result"]),
    (.strayResult(id: "m/1", device: "a", isLate: false), "result.stray", ["result"]),
  ] as [(DeviceEvent, String, [String])])
  func `each event has its name and its members`(_ event: DeviceEvent, _ name: String, _ members: [String]) throws {
    let blocks = ReadEvent.read(text(event))
    let read = try #require(blocks.first)
    #expect(blocks.count == 1 && read.id == "k3v9-1042" && read.name == name)
    let data = try #require(read.data?.objectValue)
    #expect(data.keys.map { $0 } == ["time"] + members && data["time"] == "2026-09-21T14:13:20.000Z")
    #expect(EventDocument.names.contains { $0 == (name, members.joined(separator: ", ")) })
  }

  @Test func `the events of calls and devices have the documents of calls and devices`() throws {
    guard case .callEnded(let call) = DeviceEvent.ended("a") else { return }
    let events: [(DeviceEvent, String)] = [
      (.callQueued(call), "call.queued"), (.callSent(call), "call.sent"), (.callAcknowledged(call), "call.acknowledged"),
      (.callEnded(call), "call.ended"),
    ]
    for (event, name) in events {
      let read = try #require(ReadEvent.read(text(event)).first)
      let document = try JSONReader.read(CallDocument.value(of: call).jsonBytes)
      #expect(read.name == name && read.data?["call"] == document)
    }
    let device = DeviceInfo.test("a")
    #expect(ReadEvent.read(text(.online(device))).first?.data?["device"] == DeviceDocument.value(of: device))
  }

  @Test func `all events are documented`() {
    #expect(EventDocument.names.count == 12 && Set(EventDocument.names.map(\.name)).count == 12)
    for (name, _) in EventDocument.names {
      #expect(Schemas.all.first { $0.0 == "Events" }?.1["description"]?.stringValue?.contains("\(name) has") == true)
    }
  }

  @Test(arguments: [
    ("k3v9-0", 0), ("k3v9-1042", 1_042), ("k3v9-", nil), ("k3v9", nil), ("", nil), ("k3v8-7", nil), ("k3v9-07", nil),
    ("k3v9-+7", nil),
    ("k3v9--7", -7), ("k3v9_7", nil), ("k3v9-7 ", nil), ("k3v9-99999999999999999999", nil), ("k3v9-٣", nil), ("k3v97-7", nil),
  ] as [(String, Int?)])
  func `an id is read as it was written`(_ id: String, _ number: Int?) {
    #expect(EventText.number(in: id, "k3v9") == number)
  }

  @Test func `a batch tells of what is missing, where it is missing`() {
    let events = (7...8).map { NumberedEvent(.event(.test("a", $0)), number: $0, time: eventTime) }
    var batch = EventQueue.Batch(miss: .forgotten, events: events, dropped: 3, isHeartbeat: true)
    let gap: (String, RPCValue) -> ReadEvent = { reason, dropped in
      ReadEvent(name: "gap", data: ["time": "2026-09-21T14:13:20.000Z", "reason": .string(reason), "dropped": dropped])
    }
    let read = ReadEvent.read(batch.string)
    #expect(read.count == 5 && read[0] == gap("forgotten", nil) && read[3] == gap("slow-reader", 3))
    #expect(read[1...2].map(\.number) == [7, 8] && read[4] == ReadEvent(comment: "heartbeat"))
    // A new id with a heartbeat, unless the last event has it.
    batch = EventQueue.Batch(events: events, isHeartbeat: true, position: 9)
    #expect(batch.string.hasSuffix("\n\n: heartbeat\nid: k3v9-9\n\n"))
    batch.position = 8
    #expect(batch.string.hasSuffix("\n\n: heartbeat\n\n"))
  }
}
