import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Glibc
import Synchronization
import TestSupport
import Testing

/// The same over DTLS, TCP and TLS, while a device on the same transport is called without a pause.
///
/// `FUZZ_PACKETS`, `FUZZ_SEED` and `FUZZ_MEMORY` as for plain UDP; 20,000 packets each.
@Suite(.serialized) struct TransportFuzzTests {
  private static let packets = setting("FUZZ_PACKETS", 20_000)
  private static let seed = UInt64(setting("FUZZ_SEED", 6_347))

  @Test func `Mutated records of DTLS, also from a device's own address, end nothing`() async throws {
    let made = Mutex<FuzzRelay?>(nil)
    defer { made.withLock { $0?.stop() } }
    try await FuzzServer.withstand(
      .dtls,
      through: { fuzz in
        let relay = try FuzzRelay(to: fuzz.address(.dtls))
        made.withLock { $0 = relay }
        return relay.port
      }
    ) { fuzz in
      try Self.throwRecords(at: fuzz, through: try #require(made.withLock { $0 }))
    }
  }

  private static func throwRecords(at fuzz: FuzzServer, through relay: FuzzRelay) throws {
    let address = try fuzz.address(.dtls)
    let barrier = try FuzzSocket(to: fuzz.address(.udp))
    var sockets = try (0..<8).map { _ in try FuzzSocket(to: address) }
    var mutators = (0...8).map { RecordMutator(seed: seed &+ UInt64($0), isDatagram: true) }
    var choice = SeededGenerator(state: seed)
    var watch = MemoryWatch(packets)
    var sent = 0
    while sent < packets {
      for _ in 0..<64 {
        let index = choice.below(9)
        let datagram = mutators[index].next()
        if index == 8 { relay.forge(datagram) } else { sockets[index].send(datagram) }
      }
      sent += 64
      // One loop serves all: what came before has been seen.
      try barrier.barrier()
      for (index, socket) in sockets.enumerated() {
        while let bytes = socket.received() { mutators[index].heard(bytes) }
      }
      mutators[8].heard(relay.overhear())
      if choice.chance(10) { sockets[choice.below(8)] = try FuzzSocket(to: address) }
      watch.done(sent)
    }
    watch.check("DTLS records, seed \(seed)")
  }

  @Test func `Mutated messages over TCP end nothing but their own connections`() async throws {
    try await FuzzServer.withstand(.tcp) { fuzz in
      var mutator = Mutator(seed: Self.seed, isStream: true)
      try Self.throwBytes(at: fuzz, .tcp) { isFirst in
        (isFirst && mutator.generator.chance(80) ? mutator.firstFrame() : []) + mutator.frames()
      }
    }
  }

  @Test func `Mutated records of TLS end nothing but their own connections`() async throws {
    try await FuzzServer.withstand(.tls) { fuzz in
      var mutator = RecordMutator(seed: Self.seed, isDatagram: false)
      try Self.throwBytes(at: fuzz, .tls) { _ in mutator.next() }
    }
  }

  private static func throwBytes(
    at fuzz: FuzzServer, _ transport: CoAPConfiguration.Transport, _ next: (_ isFirst: Bool) -> [UInt8]
  ) throws {
    let address = try fuzz.address(transport)
    let barrier = try FuzzSocket(to: fuzz.address(.udp))
    var connections = [FuzzConnection?](repeating: nil, count: 32)
    var choice = SeededGenerator(state: seed)
    var watch = MemoryWatch(packets)
    var sent = 0
    while sent < packets {
      for _ in 0..<64 {
        let index = choice.below(connections.count)
        let isFirst = connections[index] == nil
        let connection = try connections[index] ?? FuzzConnection(to: address)
        connections[index] = try connection.send(next(isFirst)) ? connection : nil
        switch choice.below(200) {
        case 0: connection.halfClose()
        case 1:
          connection.reset()
          connections[index] = nil
        case 2: connections[index] = nil
        // Some leave lying what they are sent.
        default: if index % 8 != 0 { connection.drain() }
        }
      }
      sent += 64
      try barrier.barrier()
      watch.done(sent)
    }
    watch.check("\(transport) writes, seed \(seed)")
  }

  @Test func `Whoever has a key may say what he likes over DTLS`() async throws {
    try await FuzzServer.withstand(.dtls) { fuzz in
      let barrier = try FuzzSocket(to: fuzz.address(.udp))
      var mutator = Mutator(seed: Self.seed)
      var watch = MemoryWatch(Self.packets)
      var sent = 0
      while sent < Self.packets {
        let peer = try KeyedPeer(to: fuzz.address(.dtls), "-dtls1_2")
        // The handshake is over when something is answered.
        try peer.socket.barrier()
        var isOpen = true
        while isOpen, sent < Self.packets {
          for _ in 0..<32 where isOpen {
            var message = mutator.datagram()
            // Nothing is the end of it for the program in between; a Release or an Abort, which libcoap obeys here too, is
            // that of the session.
            guard !message.isEmpty, message.count < 1_400 else { continue }
            if message.count > 1, message[1] >> 5 == 7, mutator.generator.chance(99) { message[1] = 0xe1 }
            isOpen = peer.socket.send(message)
            sent += 1
          }
          try barrier.barrier()
          while isOpen, let received = peer.socket.received() {
            if received.isEmpty { isOpen = false }
            guard received.count >= 4, received[0] >> 4 == 4 else { continue }
            let token = Array(received[4...].prefix(Int(received[0] & 15)))
            mutator.lastReceived = (UInt16(received[2]) << 8 | UInt16(received[3]), token)
          }
          watch.done(sent)
        }
      }
      watch.check("CoAP messages inside DTLS, seed \(Self.seed)")
    }
  }

  @Test func `Whoever has a key may say what he likes over TLS`() async throws {
    try await FuzzServer.withstand(.tls) { fuzz in
      let barrier = try FuzzSocket(to: fuzz.address(.udp))
      var mutator = Mutator(seed: Self.seed, isStream: true)
      // Each costs a process: most messages end their connection sooner or later.
      let peers = max(10, Self.packets / 1_000)
      var watch = MemoryWatch(peers)
      for number in 0..<peers {
        let peer = try KeyedPeer(to: fuzz.address(.tls), "-tls1_2")
        peer.socket.send(mutator.firstFrame())
        // Its own CSM.
        _ = try peer.socket.receive()
        for _ in 0..<100 where peer.socket.send(mutator.frames()) {
          while let bytes = peer.socket.received(), !bytes.isEmpty {}
        }
        try barrier.barrier()
        watch.done(number)
      }
      watch.check("connections with CoAP messages inside TLS, seed \(Self.seed)")
    }
  }
}
