import CoAP
import Testing

/// What libcoap would answer wrongly is ignored, refused or served over DTLS as it is over UDP (RFC 7252 §3, §4.2, §5.4, §5.8).
@Suite(.timeLimit(.minutes(1))) struct SecureMessageTests {
  private func withPeer(_ body: (KeyedPeer) async throws -> Void) async throws {
    try await SecureEndpointTests().withSecured(shards: 1) { secured in
      try await body(
        try KeyedPeer(
          to: try #require(secured.address(.coaps)), identity: "sensor-1", key: try #require(TestAuthority.keys["sensor-1"])))
    }
  }

  /// The next message has to be the answer to this one, and to begin with these two bytes.
  private func expect(_ head: [UInt8], for message: [UInt8], from peer: KeyedPeer) async throws {
    peer.send(message)
    let answer = try await peer.receive()
    let count = 4 + Int(message[0] & 15)
    #expect(answer.prefix(2) == head[...] && answer.prefix(count).dropFirst(4) == message.prefix(count).dropFirst(4))
    if message[0] >> 4 & 3 == 0 { #expect(answer[2..<4] == message[2..<4]) }
  }

  @Test(arguments: [
    // Other versions, and what is too short for one.
    [0x01, 0x01, 0x42, 0x44, 0x01], [0xc1, 0x01, 0x42, 0x44, 0x01], [0x80, 0, 0x12, 0x34], [0x40], [0x40, 0, 0x12],
    // Requests in acknowledgements and Resets, and such with more than a head.
    [0x61, 0x01, 0x42, 0x44, 0x01], [0x71, 0x01, 0x42, 0x44, 0x01], [0x61, 0, 0x42, 0x44, 0x01], [0x70, 0, 0x42, 0x44, 0xff, 0x01],
    // A critical option of a wrong length in what is not confirmable.
    [0x51, 0x01, 0x42, 0x44, 0x01, 0x51, 0x00],
  ] as [[UInt8]])
  func `what cannot be a message is ignored without a word`(message: [UInt8]) async throws {
    try await withPeer { peer in
      peer.send(message)
      try await expect([0x61, 0x45], for: [0x41, 1, 0, 2, 0x78], from: peer)
    }
  }

  @Test func `a critical option of a wrong length gets 4_02, and one that is not critical is ignored`() async throws {
    try await withPeer { peer in
      for type: UInt8 in [0x41, 0x51] {
        // Max-Age of five bytes, Hop-Limit 1, an empty item of the query.
        for option: [UInt8] in [[0xd5, 1, 1, 2, 3, 4, 5], [0xd1, 3, 1], [0xd0, 2]] {
          try await expect([type == 0x41 ? 0x61 : 0x51, 0x45], for: [type, 1, type, option[1], 0x79] + option, from: peer)
        }
      }
      // If-None-Match of a byte.
      try await expect([0x61, 0x82], for: [0x41, 1, 0, 9, 0x7a, 0x51, 0], from: peer)
    }
  }

  @Test func `a method that nobody knows gets 4_05`() async throws {
    try await withPeer { peer in
      try await expect([0x62, 0x85], for: [0x42, 31, 0, 9, 0x7a, 0x7b], from: peer)
      try await expect([0x52, 0x85], for: [0x52, 8, 0, 10, 0x7a, 0x7b], from: peer)
    }
  }

  @Test func `messages that are read together are each answered once, in their order`() async throws {
    try await withPeer { peer in
      let odd: [UInt8] = [0xd5, 1, 1, 2, 3, 4, 5]
      for number in UInt8(1)...60 {
        peer.send([0x41, number % 3 == 0 ? 9 : 1, 1, number, number] + (number % 3 == 1 ? odd : []))
      }
      for number in UInt8(1)...60 {
        let answer = try await peer.receive()
        #expect(answer.prefix(5) == [0x61, number % 3 == 0 ? 0x85 : 0x45, 1, number, number])
      }
    }
  }
}
