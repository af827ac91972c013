import Testing

@testable import device_rpc

@Suite struct EventStreamParserTests {
  private typealias Event = EventStreamParser.Event

  /// A stream with everything that the format allows, and what comes of it.
  private static let stream =
    "\u{feff}: a comment\nevent: one\ndata: 1\nid: a\n\ndata\r\ndata:2\r\ndata:  3\r\nretry: 250\r\n\r\n"
    + "data: ä🙂\r\rid: b\r\rdata\n\nid: c\u{0}d\nunknown: x\ndata: 4\n\nid\ndata: 5\n\nevent: lost\ndata: 6\n"
  private static let events = [
    Event(name: "one", data: "1", id: "a"), Event(name: "message", data: "\n2\n 3", id: "a"),
    Event(name: "message", data: "ä🙂", id: "a"), Event(name: "message", data: "", id: "b"),
    Event(name: "message", data: "4", id: "b"), Event(name: "message", data: "5", id: ""),
  ]

  private func read(_ pieces: [ArraySlice<UInt8>], _ parser: inout EventStreamParser) throws -> [EventStreamParser.Event] {
    var events: [EventStreamParser.Event] = []
    for piece in pieces { try parser.add(piece) { events.append($0) } }
    return events
  }

  private func read(_ text: String) throws -> [EventStreamParser.Event] {
    var parser = EventStreamParser()
    return try read([Array(text.utf8)[...]], &parser)
  }

  @Test func `a stream is read alike wherever its bytes are split`() throws {
    let bytes = Array(Self.stream.utf8)
    for first in 0...bytes.count {
      var parser = EventStreamParser()
      #expect(try read([bytes[..<first], bytes[first...]], &parser) == Self.events, "split at \(first)")
      #expect(parser.retry == .milliseconds(250) && parser.lastEventID.isEmpty)
    }
    var parser = EventStreamParser()
    #expect(try read(bytes.indices.map { bytes[$0...$0] }, &parser) == Self.events)
  }

  @Test(arguments: ["\n", "\r", "\r\n"])
  func `each kind of line end ends lines`(_ end: String) throws {
    let text = ["event: e", "data: 1", "data: 2", "", "data: 3", "", ""].joined(separator: end)
    #expect(try read(text) == [Event(name: "e", data: "1\n2", id: ""), Event(name: "message", data: "3", id: "")])
  }

  @Test func `an event is there when the carriage return of its blank line is`() throws {
    #expect(try read("data: 1\r\n\r") == [Event(name: "message", data: "1", id: "")])
    #expect(try read("data: 1\r\n").isEmpty)
  }

  @Test func `an id without data is where to resume, and dispatches nothing`() throws {
    var parser = EventStreamParser(lastEventID: "before")
    #expect(parser.lastEventID == "before")
    var events: [EventStreamParser.Event] = []
    func add(_ text: String) throws { try parser.add(text.utf8) { events.append($0) } }
    try add(": heartbeat\nid: x-1\n")
    // Not before the block is complete.
    #expect(parser.lastEventID == "before" && events.isEmpty)
    try add("\n")
    #expect(parser.lastEventID == "x-1" && events.isEmpty)
    // The name of a block without data is not that of the next.
    try add("event: gap\n\ndata: 1\n\n")
    #expect(events == [Event(name: "message", data: "1", id: "x-1")])
    try add("id: x\u{0}2\n\n")
    #expect(parser.lastEventID == "x-1")
    try add("id:\n\n")
    #expect(parser.lastEventID.isEmpty)
  }

  @Test func `a byte order mark counts at the beginning only`() throws {
    #expect(try read("\u{feff}data: 1\n\n\u{feff}data: 2\n\n") == [Event(name: "message", data: "1", id: "")])
    #expect(try read("\u{feff}\u{feff}data: 1\n\n").isEmpty)
  }

  @Test func `a time to connect again has digits only`() throws {
    for (text, retry) in [
      ("10", Duration.milliseconds(10)), ("0", .zero), ("-1", nil), ("1.5", nil), ("", nil), ("1e3", nil), ("+1", nil),
      ("99999999999999999999", nil), ("١", nil),
    ] as [(String, Duration?)] {
      var parser = EventStreamParser()
      try parser.add("retry: \(text)\n".utf8) { _ in }
      #expect(parser.retry == retry, "\(text)")
    }
  }

  @Test func `what is not UTF-8 is replaced`() throws {
    var parser = EventStreamParser()
    let events = try read([Array("data: a".utf8) + [0xff, 0xe2, 0x82] + Array("\n\n".utf8)], &parser)
    #expect(events.map(\.data) == ["a\u{fffd}\u{fffd}"])
  }

  @Test func `lines and events are bounded`() throws {
    for (text, isTooLong) in [
      ("data: 45678\n\n", false), ("data: 456789", true), (":\n:\n:\n:\n:\n:\n:\n:\n:\n:\n", false),
      ("data: 4\ndata: 5\ndata: 6\ndata: 7\ndata: 8\n\n", false), ("data: 4567\ndata: 4567\ndata: 4567\n", true),
    ] {
      var parser = EventStreamParser(limit: 11)
      func add() throws { try parser.add(text.utf8) { _ in } }
      if isTooLong { #expect(throws: EventStreamParser.TooLong.self) { try add() } } else { #expect(throws: Never.self) { try add() } }
    }
  }
}

@Suite struct ReconnectionTests {
  @Test func `the time between attempts doubles up to a bound, and begins again after a connection`() {
    var reconnection = Reconnection()
    func waits(_ count: Int, asked: Duration? = nil, chance: Double = 0) -> [Duration] {
      (0..<count).map { _ in reconnection.wait(asked: asked, chance: chance) }
    }
    #expect(waits(8) == [0.5, 1, 2, 4, 8, 16, 30, 30].map { .seconds($0) })
    reconnection.connected()
    #expect(waits(2, asked: .seconds(3)) == [.seconds(3), .seconds(6)])
    reconnection.connected()
    // Neither a server that wants to be asked at once nor one that wants never to be asked is obeyed.
    #expect(waits(2, asked: .zero) == [.milliseconds(100), .seconds(1)])
    reconnection.connected()
    #expect(waits(2, asked: .seconds(1_000_000)) == [.seconds(300), .seconds(300)])
    reconnection.connected()
    #expect(waits(1, asked: .seconds(2), chance: 1) == [.seconds(3)])
    for _ in 0..<1_000 { _ = reconnection.wait(asked: nil, chance: 1) }
    #expect(reconnection.wait(asked: nil, chance: 1) == .seconds(45))
  }
}
