import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Glibc
import TestSupport
import Testing

/// More packets from strangers than from devices, each from an address of its own. `rpc-bench flood` is the long form.
@Suite(.serialized) struct FloodTests {
  @Test(arguments: [CoAPConfiguration.Transport.udp, .dtls])
  func `A device is called, and another one let in, while thousands of strangers send`(
    transport: CoAPConfiguration.Transport
  ) async throws {
    try await FuzzServer.withstand(transport) { fuzz in
      let address = try fuzz.address(transport)
      let barrier = try FuzzSocket(to: fuzz.address(.udp))
      var generator = SeededGenerator(state: 5_683)
      var records = RecordMutator(seed: 6_347, isDatagram: true)
      let before = residentBytes()
      for number in 0..<10_000 {
        let stranger = try FuzzSocket(to: address)
        switch transport {
        case .dtls: stranger.send(records.wholeHello())
        default: stranger.send(generator.chance(50) ? [0x40, 1, 0, 1] : generator.bytes(1 + generator.below(60)))
        }
        if number % 64 == 0 { try barrier.barrier() }
      }
      let grown = (residentBytes() - before) >> 20
      #expect(grown < setting("FUZZ_MEMORY", 64), "\(grown) MiB more")
      // Of the handshakes that were begun none stands in the way of this one.
      guard transport == .dtls else { return }
      let newcomer = try KeyedPeer(to: address, "-dtls1_2")
      try withExtendedLifetime(newcomer) { try newcomer.socket.barrier() }
    }
  }

  @Test func `A cookie counts from the address that it was given to, and from no other`() async throws {
    try await FuzzServer.withstand(.dtls) { fuzz in
      let (owner, thief) = try (FuzzSocket(to: fuzz.address(.dtls)), FuzzSocket(to: fuzz.address(.dtls)))
      var records = RecordMutator(seed: 6_347, isDatagram: true)
      func answer(to hello: [UInt8], of socket: FuzzSocket) throws -> UInt8 {
        socket.send(hello)
        let bytes = try socket.receive()
        records.heard(bytes)
        return bytes[13]
      }
      let (helloVerifyRequest, serverHello): (UInt8, UInt8) = (3, 2)
      // What only begins like one is answered with nothing: the answer would be longer, and go wherever the sender says.
      thief.send([22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1])
      #expect(try answer(to: records.wholeHello(), of: thief) == helloVerifyRequest)
      #expect(thief.received() == nil)
      #expect(try answer(to: records.wholeHello(), of: owner) == helloVerifyRequest)
      let hello = records.wholeHello(cookie: records.cookie)
      #expect(try answer(to: hello, of: thief) == helloVerifyRequest)
      #expect(try answer(to: hello, of: owner) == serverHello)
    }
  }
}
