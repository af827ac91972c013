import CoAP
import DeviceRPC
import Synchronization
import Testing

/// A CoAP message to send, written down by its parts.
struct Packet {
  var type: UInt8 = 0
  var code: CoAPCode
  var messageID: UInt16
  var token: [UInt8] = []
  /// In any order; they are sorted by number on the way out.
  var options: [(number: Int, value: [UInt8])] = []
  var payload: [UInt8] = []

  var bytes: [UInt8] {
    var bytes = [0x40 | type << 4 | UInt8(token.count), code.rawValue, UInt8(messageID >> 8), UInt8(messageID & 0xff)]
    bytes += token
    var last = 0
    for (_, option) in options.enumerated().sorted(by: { ($0.element.number, $0.offset) < ($1.element.number, $1.offset) }) {
      let (delta, deltaRest) = Self.nibble(option.number - last)
      let (length, lengthRest) = Self.nibble(option.value.count)
      bytes += [delta << 4 | length] + deltaRest + lengthRest + option.value
      last = option.number
    }
    return payload.isEmpty ? bytes : bytes + [0xff] + payload
  }

  private static func nibble(_ value: Int) -> (UInt8, [UInt8]) {
    switch value {
    case ..<13: (UInt8(value), [])
    case ..<269: (13, [UInt8(value - 13)])
    default: (14, [UInt8((value - 269) >> 8), UInt8((value - 269) & 0xff)])
    }
  }

  /// An unsigned option value in as few bytes as it needs.
  static func uint(_ value: Int) -> [UInt8] {
    value == 0 ? [] : uint(value >> 8) + [UInt8(value & 0xff)]
  }

  static func block(_ number: Int, more: Bool, exponent: Int) -> [UInt8] {
    uint(number << 4 | (more ? 8 : 0) | exponent)
  }

  static func path(_ segments: String...) -> [(number: Int, value: [UInt8])] {
    segments.map { (11, Array($0.utf8)) }
  }
}

/// A scripted device: a raw peer with a name, a format and message ids of its own.
final class RawDevice: Sendable {
  static let json = 50
  static let cbor = 60

  let peer: RawPeer
  let name: String
  let format: Int
  let token: [UInt8]
  private let lastMessageID: Mutex<UInt16>
  // Ports come again within a second, and what has the port, the message id and the token of an earlier request is taken
  // for that: the message ids of two devices are apart.
  private static let count = Atomic<UInt16>(0)

  init(
    to server: CoAPAddress, name: String = "sensor-1", format: Int = json, token: [UInt8] = [1],
    from host: String = "127.0.0.1", port: UInt16 = 0
  ) throws {
    peer = try RawPeer(to: server, from: host, port: port)
    self.name = name
    self.format = format
    self.token = token
    lastMessageID = Mutex(Self.count.wrappingAdd(257, ordering: .relaxed).oldValue)
  }

  func nextMessageID() -> UInt16 {
    lastMessageID.withLock {
      $0 &+= 1
      return $0
    }
  }

  /// GET /.rpc?ep=NAME with Observe `observe`, or without the option.
  func get(observe: Int?, type: UInt8 = 0, token: [UInt8]? = nil, more: [(number: Int, value: [UInt8])] = []) -> Packet {
    var packet = Packet(type: type, code: .get, messageID: nextMessageID(), token: token ?? self.token)
    packet.options = Packet.path(".rpc") + [(15, Array("ep=\(name)".utf8)), (17, Packet.uint(format))] + more
    if let observe { packet.options.append((6, Packet.uint(observe))) }
    return packet
  }

  /// POST /.rpc/status with a token of its own.
  func result(_ payload: [UInt8], type: UInt8 = 0, format: Int? = nil) -> Packet {
    let mid = nextMessageID()
    var packet = Packet(
      type: type, code: .post, messageID: mid, token: [0xee, UInt8(mid >> 8), UInt8(mid & 0xff)], payload: payload)
    packet.options = Packet.path(".rpc", "status") + [(12, Packet.uint(format ?? self.format))]
    return packet
  }

  /// Registers and returns the first answer.
  @discardableResult
  func observe(more: [(number: Int, value: [UInt8])] = []) async throws -> RawMessage {
    let answer = try await request(get(observe: 0, more: more))
    try #require(answer.code == .content && answer.uint(6) != nil)
    return answer
  }

  /// Sends a packet and returns the next datagram.
  func exchange(_ packet: Packet) async throws -> RawMessage {
    peer.send(packet.bytes)
    return try await peer.receiveMessage()
  }

  /// Sends a packet and returns its response, piggybacked or separate (RFC 7252 §5.2.2), the latter acknowledged.
  func request(_ packet: Packet) async throws -> RawMessage {
    let answer = try await exchange(packet)
    guard answer.code.rawValue == 0 else { return answer }
    try #require(answer.type == 2 && answer.messageID == packet.messageID)
    let response = try await peer.receiveMessage()
    try #require(response.token == packet.token)
    if response.type == 0 { peer.send(response.acknowledgement) }
    return response
  }

  func post(_ payload: [UInt8], format: Int? = nil) async throws -> RawMessage {
    try await exchange(result(payload, format: format))
  }

  func post(_ json: String) async throws -> RawMessage { try await post(Array(json.utf8), format: Self.json) }

  /// The next datagram, which has to be a call, acknowledged.
  func receiveCall() async throws -> RawMessage {
    let call = try await peer.receiveMessage()
    try #require(call.code == .content && call.type == 0 && call.token == token)
    peer.send(call.acknowledgement)
    return call
  }

  /// Takes a call and answers it with a status and without detail.
  func serve(status: Int = 0) async throws {
    let call = try await receiveCall()
    #expect(try await post(#"{"id":"\#(call.id)","status":\#(status)}"#).code == .changed)
  }

  /// Takes as many calls, acknowledges each and answers it with a detail in JSON, until all results are answered, too.
  func serve(_ count: Int, _ detail: (RawMessage) throws -> String) async throws {
    // Calls and the answers to results come in any order.
    var calls = 0
    var answers = 0
    while calls < count || answers < count {
      let message = try await peer.receiveMessage()
      guard message.code == .content else {
        #expect(message.code == .changed)
        answers += 1
        continue
      }
      calls += 1
      peer.send(message.acknowledgement)
      let text = #"{"id":"\#(message.id)","status":0,"detail":\#(try detail(message))}"#
      peer.send(result(Array(text.utf8), format: Self.json).bytes)
    }
  }

  /// Keep-alive: its answer has to be the next datagram, so nothing else was sent before.
  func expectNothingElse(sourceLocation: SourceLocation = #_sourceLocation) async throws {
    let token = Packet.uint(0xbe_0000 + Int(nextMessageID()))
    let answer = try await exchange(Packet(code: .delete, messageID: nextMessageID(), token: token))
    #expect(answer.token == token && answer.code == .deleted, sourceLocation: sourceLocation)
  }
}

extension RawMessage {
  /// The id in a call: the text after the key `id`, as JSON or CBOR.
  var id: String {
    let mark = payload.first == UInt8(ascii: "{") ? Array(#""id":""#.utf8) : [0x62, 0x69, 0x64]
    guard let start = payload.indices.first(where: { payload[$0...].starts(with: mark) }) else { return "" }
    let rest = payload[(start + mark.count)...]
    if payload.first == UInt8(ascii: "{") {
      return String(decoding: rest.prefix { $0 != UInt8(ascii: "\"") }, as: UTF8.self)
    }
    guard let head = rest.first else { return "" }
    let (length, skip) = head == 0x78 ? (Int(rest.dropFirst().first ?? 0), 2) : (Int(head & 0x1f), 1)
    return String(decoding: rest.dropFirst(skip).prefix(length), as: UTF8.self)
  }
}

/// The error of a call that has to fail.
func failure(_ body: () async throws -> some Sendable, sourceLocation: SourceLocation = #_sourceLocation) async -> CallError? {
  await #expect(throws: CallError.self, sourceLocation: sourceLocation) { _ = try await body() }
}

extension DeviceRPCServer {
  /// Waits until that many calls to the device have been entered: each is an event, queued or sent.
  func entered(_ count: Int, for device: String) async {
    var events = events().makeAsyncIterator()
    while await self.device(device).info?.openCalls ?? 0 < count, await events.next() != nil {}
  }
}
