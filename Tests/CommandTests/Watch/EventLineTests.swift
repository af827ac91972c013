import Testing

@testable import device_rpc

@Suite struct EventLineTests {
  private func line(_ name: String, _ data: String, id: String = "x-1") -> EventLine {
    EventLine(EventStreamParser.Event(name: name, data: data, id: id))
  }

  @Test(arguments: [
    ("device.online", #""device":{"name":"d","address":"127.0.0.1:1","dialect":"Golioth, CBOR"}"#, "d connected from 127.0.0.1:1 (Golioth, CBOR)"),
    ("device.online", #""device":{"name":"d","address":null,"dialect":null}"#, "d connected from nowhere"),
    ("device.offline", #""device":{"name":"d"},"reason":"it has deregistered""#, "d disconnected: it has deregistered"),
    ("device.quiet", #""device":{"name":"d","evidence":"not heard"}"#, "d is quiet: not heard"),
    ("device.heard", #""device":{"name":"d"}"#, "d is heard again"),
    ("call.queued", #""call":{"device":"d","wireId":"m/1","params":[]}"#, "d m/1 queued"),
    ("call.sent", #""call":{"device":"d","wireId":"m/1","params":[7,"x"]}"#, #"d m/1 [7,"x"] sent"#),
    ("call.acknowledged", #""call":{"device":"d","wireId":"m/1"}"#, "d m/1 acknowledged"),
    (
      "call.ended", #""call":{"device":"d","wireId":"m/1","status":{"code":0,"name":"OK"},"detail":{"value":1337},"roundTrip":0.0042}"#,
      #"d m/1 OK (0) {"value":1337} 4.2 ms"#
    ),
    (
      "call.ended", #""call":{"device":"d","wireId":"m/1","status":{"code":5,"name":"NOT_FOUND"},"detail":null,"roundTrip":2.34}"#,
      "d m/1 NOT_FOUND (5) 2.3 s"
    ),
    ("call.ended", #""call":{"device":"d","wireId":"m/1","error":{"detail":"the server gave up"}}"#, "d m/1: the server gave up"),
    ("result.unreadable", #""result":{"wireId":null,"device":"d","reason":"no JSON"}"#, "d unreadable result: no JSON"),
    ("result.unreadable", #""result":{"wireId":"m/1","device":"d","reason":"no JSON"}"#, "d m/1: unreadable result: no JSON"),
    ("result.forbidden", #""result":{"wireId":"m/1","device":null}"#, "- sent a result for m/1, a call to another device"),
    ("result.stray", #""result":{"wireId":"m/1","device":"d","late":true}"#, "d m/1: late or repeated result"),
    ("result.stray", #""result":{"wireId":"m/1","device":"d","late":false}"#, "d m/1: result of an unknown call"),
    ("device.moved", #""device":{"name":"d"},"to":1"#, #"d device.moved {"time":"T","device":{"name":"d"},"to":1}"#),
  ])
  func `an event is a line with its time, its device and what has happened`(_ name: String, _ members: String, _ text: String) {
    let line = line(name, #"{"time":"T",\#(members)}"#)
    #expect(line.text == "T \(text)" && line.gap == nil)
  }

  @Test func `for programs it is what the server sent, with its name and id`() {
    #expect(line("a", #"{"time":"T","x":[1.0,{"y":null}],"id":"no"}"#).json.description == #"{"event":"a","id":"x-1","time":"T","x":[1.0,{"y":null}]}"#)
    #expect(line("a", "no JSON\n", id: "").json.description == #"{"event":"a","id":null,"data":"no JSON\n"}"#)
    #expect(line("a", "no JSON").text == "- - a no JSON")
  }

  @Test func `a gap says how many events are missing, and why`() {
    #expect(line("gap", #"{"time":"T","reason":"slow-reader","dropped":7}"#).gap == "7 events are missing here: they came faster than they were read")
    #expect(line("gap", #"{"reason":"server-busy","dropped":1}"#).gap == "1 event is missing here: the server was too busy")
    #expect(line("gap", #"{"reason":"unknown-id","dropped":null}"#).gap == "events are missing here: the server was restarted")
    #expect(line("gap", #"{"reason":"forgotten"}"#).gap == "events are missing here: the server no longer remembers them")
    #expect(line("gap", "{}").gap?.hasSuffix("for an unknown reason") == true)
  }
}
