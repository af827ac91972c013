import CoAP
import Testing

/// What RFC 8323 has of its own: blocks of several kilobytes, the sizes that a CSM says, signalling.
@Suite(.timeLimit(.minutes(1))) struct StreamTests {
  /// A message over TCP (RFC 8323 §3.2), written and read by the tests themselves.
  struct Frame: Equatable {
    var code: UInt8
    var token: [UInt8] = []
    /// By their numbers.
    var options: [(Int, [UInt8])] = []
    var payload: [UInt8] = []

    static func == (a: Frame, b: Frame) -> Bool { a.bytes == b.bytes }

    var bytes: [UInt8] {
      var body: [UInt8] = []
      var last = 0
      for (number, value) in options {
        let delta = number - last
        last = number
        body.append(UInt8(min(delta, 13) << 4 | value.count))
        if delta >= 13 { body.append(UInt8(delta - 13)) }
        body += value
      }
      if !payload.isEmpty { body += [0xff] + payload }
      let head: [UInt8] =
        switch body.count {
        case ..<13: [UInt8(body.count << 4 | token.count)]
        case ..<269: [UInt8(13 << 4 | token.count), UInt8(body.count - 13)]
        default: [UInt8(14 << 4 | token.count), UInt8((body.count - 269) >> 8), UInt8((body.count - 269) & 0xff)]
        }
      return head + [code] + token + body
    }

    static func csm(maxMessageSize: Int) -> Frame {
      Frame(code: 0xe1, options: [(2, [UInt8(maxMessageSize >> 8 & 0xff), UInt8(maxMessageSize & 0xff)]), (4, [])])
    }

    static func request(_ method: UInt8, _ path: String, _ options: [(Int, [UInt8])] = [], payload: [UInt8] = []) -> Frame {
      let all = options + [(11, Array(path.utf8))]
      return Frame(code: method, token: [7], options: all.sorted { $0.0 < $1.0 }, payload: payload)
    }

    func option(_ number: Int) -> Int? {
      options.first { $0.0 == number }.map { $0.1.reduce(0) { $0 << 8 | Int($1) } }
    }
  }

  /// A connection that reads whole messages.
  final class Peer {
    private let connection: RawConnection
    private var rest: [UInt8] = []

    init(to server: CoAPAddress, _ csm: Frame) throws {
      connection = try RawConnection(to: server)
      connection.write(csm.bytes)
      // The server's.
      guard try receive()?.code == 0xe1 else { throw CancellationError() }
    }

    func send(_ frame: Frame) { connection.write(frame.bytes) }

    /// How long it is, and what it says; nil when the server has closed the connection.
    func receiveSized() throws -> (Frame, size: Int)? {
      while true {
        if let (frame, size) = parse() {
          rest.removeFirst(size)
          return (frame, size)
        }
        let more = try connection.read()
        if more.isEmpty { return nil }
        rest += more
      }
    }

    func receive() throws -> Frame? { try receiveSized()?.0 }

    private func parse() -> (Frame, Int)? {
      guard rest.count >= 2 else { return nil }
      var at = 1
      func number(_ count: Int) -> Int? {
        guard rest.count >= at + count else { return nil }
        defer { at += count }
        return rest[at..<at + count].reduce(0) { $0 << 8 | Int($1) }
      }
      var length = Int(rest[0] >> 4)
      if length == 13 { length = (number(1) ?? .max / 2) + 13 }
      if length == 14 { length = (number(2) ?? .max / 2) + 269 }
      let tokenLength = Int(rest[0] & 15)
      guard rest.count >= at + 1 + tokenLength + length else { return nil }
      var frame = Frame(code: rest[at], token: Array(rest[(at + 1)..<(at + 1 + tokenLength)]))
      at += 1 + tokenLength
      let end = at + length
      var last = 0
      while at < end, rest[at] != 0xff {
        let head = rest[at]
        at += 1
        var delta = Int(head >> 4)
        if delta == 13 { delta = (number(1) ?? 0) + 13 }
        last += delta
        let count = Int(head & 15)
        frame.options.append((last, Array(rest[at..<at + count])))
        at += count
      }
      if at < end { frame.payload = Array(rest[(at + 1)..<end]) }
      return (frame, end)
    }
  }

  static let body = (0..<40_000).map { UInt8(truncatingIfNeeded: $0 / 7) }

  /// A server whose answers are `body`, or to a POST the number of bytes that came.
  private func withServer(_ body: @escaping @Sendable (CoAPAddress) throws -> Void) async throws {
    try await ConnectionTests().withServer { _ in
    } answer: { request, _ in
      request.method == .post
        ? CoAPResponse(.changed, payload: Array("\(request.payload.count)".utf8))
        : CoAPResponse(.content, payload: Self.body)
    } _: {
      try body($0)
    }
  }

  private static func block(_ number: Int, more: Bool, _ exponent: Int) -> [UInt8] {
    let value = number << 4 | (more ? 8 : 0) | exponent
    return value < 256 ? [UInt8(value)] : [UInt8(value >> 8), UInt8(value & 0xff)]
  }

  @Test func `a body in blocks of several kilobytes is put together`() async throws {
    try await withServer { address in
      let peer = try Peer(to: address, .csm(maxMessageSize: 16_384))
      var number = 0
      for (kilobytes, rest) in [(2, 0), (8, 0), (1, 0), (3, 500)] {
        let more = rest == 0
        let bytes = kilobytes * 1_024 + rest
        let start = number * 1_024
        peer.send(
          .request(2, "x", [(27, Self.block(number, more: more, 7))], payload: Array(Self.body[start..<start + bytes])))
        let answer = try #require(try peer.receive())
        #expect(answer.option(27) == number << 4 | (more ? 8 : 0) | 7)
        #expect(answer.code == (more ? 0x5f : 0x44))
        if !more { #expect(String(decoding: answer.payload, as: UTF8.self) == "\(start + bytes)") }
        number += kilobytes
      }
      // Only the last one may be anything else than whole kilobytes.
      peer.send(.request(2, "x", [(27, Self.block(0, more: true, 7))], payload: Array(Self.body[..<1_500])))
      #expect(try peer.receive()?.code == 0x88)
    }
  }

  @Test(arguments: [1_152, 4_096, 16_384, 65_000])
  func `a body is fetched in blocks as long as the peer has room for`(maxMessageSize: Int) async throws {
    try await withServer { address in
      let peer = try Peer(to: address, .csm(maxMessageSize: maxMessageSize))
      var fetched: [UInt8] = []
      var isOver = false
      var messages = 0
      while !isOver {
        peer.send(.request(1, "x", [(23, Self.block(fetched.count / 1_024, more: false, 7))]))
        let (answer, size) = try #require(try peer.receiveSized())
        #expect(size <= maxMessageSize)
        let block = try #require(answer.option(23))
        #expect(block & 7 == 7)
        #expect(block >> 4 == fetched.count / 1_024)
        fetched += answer.payload
        messages += 1
        isOver = block & 8 == 0
      }
      #expect(fetched == Self.body)
      // 48 bytes of each message are for options, and the server's own messages have 16 KiB at most.
      let kilobytes = (min(16_384, maxMessageSize) - 48) / 1_024
      #expect(messages == (40_000 + kilobytes * 1_024 - 1) / (kilobytes * 1_024))
    }
  }

  @Test(arguments: [120, 200, 700])
  func `a peer with little room gets nothing that is longer than that`(maxMessageSize: Int) async throws {
    try await withServer { address in
      let peer = try Peer(to: address, .csm(maxMessageSize: maxMessageSize))
      // Without a word about blocks.
      peer.send(.request(1, "x"))
      let (answer, size) = try #require(try peer.receiveSized())
      #expect(answer.code == 0x45)
      #expect(size <= maxMessageSize)
      let exponent = try #require(answer.option(23)) & 7
      #expect(answer.payload == Array(Self.body[..<(16 << exponent)]))
      // With more than it has room for.
      peer.send(.request(1, "x", [(23, Self.block(0, more: false, 6))]))
      let (second, secondSize) = try #require(try peer.receiveSized())
      #expect(secondSize <= maxMessageSize)
      #expect(second.payload == answer.payload)
    }
  }

  @Test func `a Pong has the token of its Ping`() async throws {
    try await withServer { address in
      let peer = try Peer(to: address, .csm(maxMessageSize: 1_152))
      peer.send(Frame(code: 0xe2, token: [1, 2, 3]))
      #expect(try peer.receive() == Frame(code: 0xe3, token: [1, 2, 3]))
    }
  }

  @Test(arguments: [1, 9, 27, 261])
  func `a critical option in a CSM ends the connection with an Abort that says which`(number: Int) async throws {
    try await withServer { address in
      var csm = Frame.csm(maxMessageSize: 1_152)
      csm.options = (csm.options + [(number, [1])]).sorted { $0.0 < $1.0 }
      let peer = try Peer(to: address, csm)
      let abort = try #require(try peer.receive())
      #expect(abort.code == 0xe5)
      #expect(abort.option(2) == number)
      #expect(try peer.receive() == nil)
    }
  }

  @Test func `an elective option in a CSM is ignored`() async throws {
    try await withServer { address in
      var csm = Frame.csm(maxMessageSize: 1_152)
      csm.options.append((6, [1, 2]))
      let peer = try Peer(to: address, csm)
      peer.send(.request(2, "x", payload: [1]))
      #expect(try peer.receive()?.code == 0x44)
    }
  }

  @Test func `over TLS a critical option in a CSM is answered with an Abort, too`() async throws {
    try await SecureEndpointTests().withSecured { secured in
      let peer = try KeyedPeer(
        "-tls1_2", to: try #require(secured.address(.coapsTCP)), identity: "sensor-1", key: Array("first-key".utf8))
      // The server's CSM.
      #expect(try await peer.receive().dropFirst().first == 0xe1)
      peer.send(Frame(code: 0xe1, options: [(9, [])]).bytes)
      #expect(try await peer.receive() == [0x20, 0xe5, 0x21, 9])
    }
  }

  @Test func `a CSM is looked into to its end and no further`() {
    // 2, 4 and 17.
    let whole: [UInt8] = [0x70, 0xe1, 0x22, 1, 2, 0x20, 0xd1, 0, 1]
    for count in 0...9 {
      #expect(CSM.criticalOption(in: Array(whole.prefix(count))) == (count == 9 ? 17 : nil))
    }
    #expect(CSM.criticalOption(in: [0x10, 0xe2, 0x90]) == nil, "a Ping")
    #expect(CSM.criticalOption(in: [0x10, 0xe1, 0xf0]) == nil)
    #expect(CSM.criticalOption(in: [0xf0, 0, 0, 0, 0, 0xe1, 0x90]) == nil)
    for _ in 0..<10_000 { _ = CSM.criticalOption(in: [0xd0, 0xff, 0xe1] + (0..<20).map { _ in .random(in: 0...255) }) }
  }

  @Test func `a notification that the peer has no room for is refused before it is sent, and a longer one goes in blocks`()
    async throws
  {
    try await withNotifier(maxMessageSize: 62) { error, _ in #expect(error == .tooLong) }
    try await withNotifier(maxMessageSize: 200) { error, frame in
      #expect(error == nil)
      #expect(frame?.bytes.count ?? .max <= 200)
      #expect(frame?.payload == Array(Self.body[..<128]))
    }
  }

  /// Sends 1,000 bytes to an observer with so much room, and tells what became of it.
  private func withNotifier(maxMessageSize: Int, _ check: (CoAPFailure?, Frame?) throws -> Void) async throws {
    try await SecureEndpointTests().withSecured { secured in
      let peer = try Peer(to: try #require(secured.address(.coapTCP)), .csm(maxMessageSize: maxMessageSize))
      peer.send(.request(1, "counter", [(6, [])]))
      #expect(try peer.receive()?.code == 0x45)
      let error = try await secured.loop.perform { () -> Swift.Result<CoAPFailure?, any Error> in
        Swift.Result {
          let observation = try #require(secured.handler.observations.first)
          do throws(CoAPFailure) {
            try observation.notify(CoAPResponse(.content, payload: Array(Self.body[..<1_000])), number: 1)
          } catch {
            return error
          }
          return nil
        }
      }.get()
      try check(error, error == nil ? try peer.receive() : nil)
    }
  }
}
