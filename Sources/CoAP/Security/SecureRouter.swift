internal import CLibcoap

/// Distributes the datagrams of a DTLS socket to two libcoap contexts, so that a device that has lost its session can open
/// another one from the same address while the first still exists.
///
/// libcoap passes a ClientHello from the address of a session to that session, where it has no effect. A device that has
/// rebooted and uses the same port again would be locked out as long as its old session exists. If a ClientHello ended the
/// session, anyone who can forge an address could disconnect a device. So the other context gets the handshake, and the old
/// session ends when the new one has been authenticated with the device's key or certificate (RFC 6347 §4.2.8). Both contexts
/// read the same socket, each through its own descriptor.
final class SecureRouter: EventLoop.EventSource {
  private struct Route {
    // The index of the context that has the session.
    var side: Int
    let session: CoAPSession
    // Until this time, handshake messages go to the other context.
    var handshakeUntil: UInt64 = 0
    // Bytes of the shortest record that its cipher can make.
    var shortestRecord: UInt16
  }

  // The shortest record of any cipher: CCM with a tag of eight bytes (RFC 6655 §4).
  private static let shortestRecord: UInt16 = 16

  // Longer than all retransmissions of a handshake (RFC 6347 §4.2.4.1).
  private static let longestHandshake: UInt64 = 60_000_000_000

  // OpenSSL keeps encrypted records that arrive before their keys, up to a hundred in buffers of 17 KB each. A handshake
  // needs one, which may be retransmitted.
  private static let earlyRecords = 8
  private static let rememberedPeers = 65_536

  private let loop: EventLoop
  private let pump: DatagramPump
  private let sides: [CoAPShard]
  private let sockets: [AdoptedSocket]
  // The contents of the datagrams that are read in a pass.
  private let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: Int(PEEK_BATCH * PEEK_BYTES))
  private var source: Int?
  private var cookies = HelloCookies()
  // Whether cookies are verified here and not by libcoap.
  private let hasCookies: Bool
  private var routes: [PeerKey: Route] = [:]
  // The number of early encrypted records from each peer that has begun a handshake and not completed it. The peers that
  // began before this period are in `earlier`. A period is as long as a handshake takes, unless there are too many peers.
  private var handshaking: [PeerKey: Int] = [:]
  private var earlier: [PeerKey: Int] = [:]
  private var changesAt: UInt64 = 0

  /// `sides` are two contexts over the same socket.
  init(loop: EventLoop, pump: DatagramPump, sides: [CoAPShard]) throws(CoAPSystemError) {
    self.loop = loop
    self.pump = pump
    self.sides = sides
    sockets = sides.compactMap(\.secureSocket)
    hasCookies = sides.allSatisfy { $0.secure?.leavesCookies == true }
    bytes.initialize(repeating: 0, count: Int(PEEK_BATCH * PEEK_BYTES))
    for (side, shard) in sides.enumerated() {
      shard.onEstablished = { [unowned self] in self.established($0, side) }
      shard.onEnded = { [unowned self] in self.ended($0, side) }
    }
    source = try loop.add(self, descriptor: sockets[0].descriptor, tag: 0)
  }

  deinit { bytes.deallocate() }

  /// Must be called before the sides are closed.
  func close() {
    if let source { loop.remove(source, descriptor: sockets[0].descriptor) }
    source = nil
    for shard in sides { (shard.onEstablished, shard.onEnded) = (nil, nil) }
  }

  func ready(_ tag: UInt32) {
    let peeked = pump.peek(sockets[0], into: bytes)
    guard !peeked.isEmpty else {
      _ = rewind_peek(sockets[0].descriptor)
      pump.begin(sides[0])
      return pump.discard(from: sockets[0])
    }
    var hasBegun = [false, false]
    for datagram in peeked {
      let peer = PeerKey(datagram)
      // The first fragment has the cookie.
      let isHello = datagram.handshake_type == 1 && !datagram.is_continued
      let answer = hasCookies && isHello ? cookies.answer(to: datagram, at: loop.passTime) : nil
      let side = answer == nil ? side(for: datagram, of: peer) : 0
      if !hasBegun[side] {
        hasBegun[side] = true
        pump.begin(sides[side])
      }
      if let answer {
        pump.discard(from: sockets[0], answer: answer)
        continue
      }
      // Only a handshake in progress needs `prepare` of the context soon.
      let isHandshake = datagram.content_type == 20 || datagram.content_type == 22
      pump.note(sides[side], due: loop.passTime + (isHandshake ? 1_000_000_000 : sides[side].idleTime))
      // 20 to 23 are the content types of DTLS 1.2. libcoap would only drop anything else. A datagram that is longer than
      // libcoap reads would leave the peek offset in the middle of a datagram.
      guard (20...23).contains(datagram.content_type), datagram.length <= AdoptedSocket.largestDatagram,
        isHarmless(datagram, of: peer, to: side), datagram.handshake_type != 1 || isShort(datagram, of: peer, to: side)
      else {
        pump.discard(from: sockets[side])
        continue
      }
      if datagram.encrypted_handshake > 0 {
        sides[side].sawEncryptedHandshake(peer, bytes: datagram.encrypted_handshake)
      }
      if isHello {
        sides[side].sawClientHello(peer)
        began(peer)
      }
      guard datagram.content_type == 23, let route = routes[peer], route.side == side else {
        pump.read(from: sockets[side])
        continue
      }
      let record = UnsafeBufferPointer(start: datagram.bytes, count: Int(datagram.length))
      pump.read(from: sockets[side], record, of: route.session)
    }
  }

  /// Whether OpenSSL may get a datagram. A record that is too short to be encrypted makes OpenSSL end the session, although
  /// anyone may have sent it (RFC 6347 §4.1.2.7 requires to drop it). After the header of a record of another version OpenSSL
  /// continues with the next byte, so such a record may be hidden anywhere in the datagram.
  private func isHarmless(_ datagram: peeked_datagram, of peer: PeerKey, to side: Int) -> Bool {
    if let route = routes[peer], route.side == side {
      return datagram.is_current && datagram.shortest >= route.shortestRecord
    }
    // OpenSSL reassembles a fragmented ClientHello. But libcoap keeps a session for each datagram that looks like one, so
    // later fragments are accepted only after the first one, which has proved the address of its sender. Fragments that
    // overtake it will be retransmitted.
    guard !datagram.is_continued || handshaking[peer] ?? earlier[peer] != nil else { return false }
    guard datagram.encrypted > 0 else { return datagram.shortest > 0 }
    // Without a handshake, the record is of an unknown session, for example from before a restart of the server. libcoap
    // would drop it.
    guard datagram.shortest >= Self.shortestRecord,
      let count = (handshaking[peer] ?? earlier[peer]).map({ $0 + Int(datagram.encrypted) })
    else { return false }
    handshaking[peer] = count
    return count <= Self.earlyRecords
  }

  /// Whether a ClientHello is within the limit. OpenSSL allocates memory for all of it when it reads the first fragment.
  private func isShort(_ hello: peeked_datagram, of peer: PeerKey, to side: Int) -> Bool {
    let limit = sides[side].limits.helloBytes
    guard hello.hello_bytes > limit else { return true }
    if !hello.is_continued { sides[side].secure?.refuse(CoAPAddress(peer), "its ClientHello is longer than \(limit) bytes") }
    return false
  }

  /// Called when a peer has sent a ClientHello with the cookie of its address.
  private func began(_ peer: PeerKey) {
    if loop.passTime >= changesAt || handshaking.count >= Self.rememberedPeers {
      (earlier, handshaking) = (handshaking, [:])
      changesAt = loop.passTime + Self.longestHandshake
    }
    handshaking[peer] = 0
  }

  private func side(for datagram: peeked_datagram, of peer: PeerKey) -> Int {
    guard let route = routes[peer] else { return 0 }
    let other = 1 - route.side
    if datagram.handshake_type == 1 {
      if datagram.is_continued { return other }
      routes[peer]?.handshakeUntil = loop.passTime + Self.longestHandshake
      return other
    }
    guard route.handshakeUntil > loop.passTime else { return route.side }
    // An established session sends application data and, at its end, an encrypted alert.
    switch datagram.content_type {
    case 20, 22: return other
    case 21 where datagram.epoch == 0: return other
    default: return route.side
    }
  }

  private func established(_ session: CoAPSession, _ side: Int) {
    let peer = PeerKey(session.address)
    let shortest = session.handle.map { RecordSize(cipher: cipherName(of: $0)).shortest } ?? Self.shortestRecord
    let route = Route(side: side, session: session, shortestRecord: shortest)
    handshaking[peer] = nil
    earlier[peer] = nil
    let earlier = routes.updateValue(route, forKey: peer)
    guard let earlier, earlier.side != side else { return }
    // At the end of the pass, because libcoap is still processing the new session.
    loop.atEndOfPass { self.sides[earlier.side].closeSession(of: session.address) }
  }

  private func ended(_ session: CoAPSession, _ side: Int) {
    let peer = PeerKey(session.address)
    if routes[peer]?.side == side { routes[peer] = nil }
  }
}
