import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Synchronization
import Testing

/// A scripted device with ThingsBoard's firmware: a raw peer with an access token and message ids of its own.
final class ThingsBoardDevice: Sendable {
  static let json = 50

  let peer: RawPeer
  /// The access token in its paths; nil for paths without one.
  let accessToken: String?
  let token: [UInt8]
  private let lastMessageID: Mutex<UInt16>
  private static let count = Atomic<UInt16>(0x4000)

  init(to server: CoAPAddress, _ accessToken: String? = "sensor-1", token: [UInt8] = [1], from host: String = "127.0.0.1") throws {
    peer = try RawPeer(to: server, from: host)
    self.accessToken = accessToken
    self.token = token
    lastMessageID = Mutex(Self.count.wrappingAdd(257, ordering: .relaxed).oldValue)
  }

  func nextMessageID() -> UInt16 {
    lastMessageID.withLock {
      $0 &+= 1
      return $0
    }
  }

  private var path: [String] { ["api", "v1"] + (accessToken.map { [$0] } ?? []) + ["rpc"] }

  /// GET api/v1/TOKEN/rpc with Observe `observe`, or without the option.
  func get(
    observe: Int?, type: UInt8 = 0, token: [UInt8]? = nil, more: [(number: Int, value: [UInt8])] = []
  ) -> Packet {
    var packet = Packet(type: type, code: .get, messageID: nextMessageID(), token: token ?? self.token)
    packet.options = path.map { (11, Array($0.utf8)) } + more
    if let observe { packet.options.append((6, Packet.uint(observe))) }
    return packet
  }

  /// POST api/v1/TOKEN/rpc/ID, or without an id for a call to the server, with a token of its own.
  func post(_ payload: String, id: String? = nil, type: UInt8 = 0, more: [(number: Int, value: [UInt8])] = []) -> Packet {
    let mid = nextMessageID()
    var packet = Packet(
      type: type, code: .post, messageID: mid, token: [0xee, UInt8(mid >> 8), UInt8(mid & 0xff)], payload: Array(payload.utf8))
    packet.options = (path + (id.map { [$0] } ?? [])).map { (11, Array($0.utf8)) } + more
    return packet
  }

  /// Registers and returns the first answer.
  @discardableResult
  func observe(type: UInt8 = 0) async throws -> RawMessage {
    let answer = try await request(get(observe: 0, type: type))
    try #require(answer.code == .valid)
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

  /// The next datagram, which has to be a call; acknowledged if it is confirmable.
  func receiveCall() async throws -> RawMessage {
    let call = try await peer.receiveMessage()
    try #require(call.code == .content && call.token == token)
    if call.type == 0 { peer.send(call.acknowledgement) }
    return call
  }

  func reply(_ json: String, to call: RawMessage) async throws -> RawMessage {
    try await exchange(post(json, id: call.number))
  }
}

extension RawMessage {
  /// The id in a call of ThingsBoard's, which is a whole number.
  var number: String { String(text.drop { $0 != ":" }.dropFirst().prefix { $0 != "," }) }
}

extension CoAPConfiguration {
  static func thingsBoard(_ credentials: (any DeviceCredentials)? = nil) -> CoAPConfiguration {
    var configuration = CoAPConfiguration.forTests
    configuration.thingsBoard = ThingsBoardSettings()
    configuration.security = credentials.map { DeviceSecurity(credentials: $0) }
    return configuration
  }
}
