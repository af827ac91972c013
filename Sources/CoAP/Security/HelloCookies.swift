internal import CLibcoap

/// Verifies the addresses of clients before anything is stored for them (RFC 6347 §4.2.1).
///
/// libcoap keeps a session for each ClientHello for 30 seconds and more, before the address of its sender is verified. A few
/// thousand forged ones would lock out all new clients. Here a ClientHello without a cookie is answered without storing
/// anything, and libcoap gets only those that have the right cookie.
struct HelloCookies {
  /// Bytes of a cookie: a SipHash with two keys.
  private static let size = 16
  private static let lifetime: UInt64 = 60_000_000_000

  private struct Secret {
    let first = UInt64.random(in: .min ... .max)
    let second = UInt64.random(in: .min ... .max)
  }

  private var current = Secret()
  private var previous = Secret()
  private var changesAt: UInt64 = 0

  /// Nil when the ClientHello has the cookie of its sender; otherwise the HelloVerifyRequest to answer with.
  mutating func answer(to hello: peeked_datagram, at now: UInt64) -> [UInt8]? {
    if now >= changesAt {
      (previous, current) = (current, Secret())
      changesAt = now + Self.lifetime
    }
    let peer = PeerKey(hello)
    let right = Self.cookie(peer, current)
    if hello.cookie_length == Self.size {
      let given = withUnsafeBytes(of: hello.cookie, Array.init)
      if given == right || given == Self.cookie(peer, previous) { return nil }
    }
    let sequence = withUnsafeBytes(of: hello.sequence, Array.init)
    let body: [UInt8] = [0xfe, 0xff, UInt8(Self.size)] + right
    let length: [UInt8] = [0, 0, UInt8(body.count)]
    let message = [3] + length + [0, 0, 0, 0, 0] + length + body
    return [22, 0xfe, 0xff, 0, 0] + sequence + [0, UInt8(message.count)] + message
  }

  private static func cookie(_ peer: PeerKey, _ secret: Secret) -> [UInt8] {
    [secret.first, secret.second].flatMap { key in
      var hasher = Hasher()
      // With a secret of this endpoint, so that the cookie does not depend on Swift's hash key alone.
      hasher.combine(secret.first)
      hasher.combine(key)
      hasher.combine(peer)
      return withUnsafeBytes(of: hasher.finalize(), Array.init)
    }
  }
}
