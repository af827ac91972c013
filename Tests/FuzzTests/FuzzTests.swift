import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Dispatch
import Glibc
import Logging
import Synchronization
import Testing

/// Packets that are nearly right, against a live server.
///
/// `FUZZ_PACKETS` says how many (50,000), `FUZZ_SEED` which, `FUZZ_MEMORY` how many MiB the process may grow by (64).
@Suite(.serialized) struct FuzzTests {
  @Test("Mutated packets neither end the server nor fill its memory, and it serves on", arguments: [1, 2])
  func mutatedPackets(_ loops: Int) async throws {
    let packets = setting("FUZZ_PACKETS", 50_000) / 2
    let seed = UInt64(setting("FUZZ_SEED", 7_252) + loops)
    var configuration = CoAPConfiguration()
    configuration.listeners = [.init(port: 0)]
    configuration.shards = 2
    configuration.loops = loops
    configuration.golioth.maximumPayload = 1 << 16
    // Without credentials the tokens are names.
    configuration.thingsBoard = ThingsBoardSettings()
    var limits = Limits()
    limits.requestsPerSecond = 0
    limits.grace = .zero
    var log = Logger(label: "fuzz")
    log.logLevel = .critical
    let server = DeviceRPCServer(
      transport: try CoAPTransport(configuration, limits: limits, log: log), limits: limits, log: log, firstSerial: 0x74e4)
    server.handle("echo") { $0.params }
    try await server.start()
    do {
      let port = try #require(server.addresses.first?.split(separator: ":").last.flatMap { UInt16($0) })
      let address = try #require(CoAPAddress(host: "127.0.0.1", port: port))
      try await throwPackets(packets, seed: seed, at: address, of: server)
      try await callDevice(at: address, of: server)
    } catch {
      await server.shutdown()
      throw error
    }
    await server.shutdown()
  }

  private func throwPackets(
    _ packets: Int, seed: UInt64, at address: CoAPAddress, of server: DeviceRPCServer
  ) async throws {
    let isOver = Flag()
    try await withThrowingTaskGroup(of: Void.self) { group in
      // Calls to whatever observes under the fuzzer's names, so that there are notifications to get wrong.
      group.addTask {
        var number = 0
        while !isOver.isSet.load(ordering: .relaxed) {
          number += 1
          let params: RPCValue = number % 8 == 0 ? .string(String(repeating: "x", count: 3_000)) : .integer(1)
          let call = Call("f", params: [params], timeout: .milliseconds(20), wait: .milliseconds(1))
          let tokens = FuzzServer.tokens
          _ = try? await server.perform(call, on: number % 4 == 0 ? tokens[number / 4 % tokens.count] : "d\(number % 12)")
        }
      }
      group.addTask {
        defer { isOver.isSet.store(true, ordering: .relaxed) }
        try await onThread {
          let sockets = try (0..<6).map { _ in try FuzzSocket(to: address) }
          var mutator = Mutator(seed: seed)
          var sent = 0
          var before = residentBytes()
          while sent < packets {
            for _ in 0..<64 { sockets[mutator.generator.below(sockets.count)].send(mutator.datagram()) }
            sent += 64
            for socket in sockets {
              try socket.barrier { received in
                guard received.count >= 4, received[0] >> 4 == 4 else { return }
                let token = Array(received[4...].prefix(Int(received[0] & 15)))
                mutator.lastReceived = (UInt16(received[2]) << 8 | UInt16(received[3]), token)
              }
            }
            // What grows at first is what is kept for good: tables, buffers, arenas.
            if sent <= packets / 10 { before = residentBytes() }
          }
          let grown = (residentBytes() - before) / (1 << 20)
          #expect(grown < setting("FUZZ_MEMORY", 64), "\(grown) MiB more, seed \(seed)")
        }
      }
      try await group.waitForAll()
    }
  }

  private func callDevice(at address: CoAPAddress, of server: DeviceRPCServer) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      let observed = AsyncStream.makeStream(of: Void.self)
      group.addTask {
        try await onThread {
          let socket = try FuzzSocket(to: address)
          socket.send([0x41, 1, 0, 1, 1, 0x60, 0x54] + Array(".rpc".utf8) + [0x47] + Array("ep=real".utf8))
          let first = try socket.receive()
          if first[1] == 0 {
            // From the other loop: an empty acknowledgement, then the response.
            let response = try socket.receive()
            socket.send([0x60, 0, response[2], response[3]])
          }
          observed.continuation.finish()
          let call = try socket.receive()
          socket.send([0x60, 0, call[2], call[3]])
          let text = String(decoding: call, as: UTF8.self)
          let id = text.split(separator: "\"").first { $0.hasPrefix("real/") } ?? ""
          let head: [UInt8] = [0x41, 2, 0, 2, 2, 0xb4] + Array(".rpc".utf8) + [0x06] + Array("status".utf8) + [0x11, 50, 0xff]
          socket.send(head + Array(#"{"id":"\#(id)","status":0,"detail":"alive"}"#.utf8))
          _ = try socket.receive()
        }
      }
      for await _ in observed.stream {}
      #expect(try await server.device("real").call("real").detail == "alive")
      try await group.waitForAll()
    }
  }

  @Test("A thousand addresses leave no more sessions than are allowed")
  func sessions() async throws {
    let loop = try EventLoop(name: "fuzz")
    let handler = CountingHandler()
    var configuration = CoAPEndpoint.Configuration(
      addresses: [try #require(CoAPAddress(host: "127.0.0.1", port: 0))], shardsPerLoop: 2)
    configuration.limits.idleSessions = 64
    let endpoint = try await CoAPEndpoint(configuration, loops: [loop], handlers: [handler])
    let address = endpoint.addresses[0]
    try await onThread {
      for _ in 0..<1_000 { try FuzzSocket(to: address).barrier() }
    }
    #expect(handler.sessions.load(ordering: .relaxed) <= 64)
    #expect(handler.most.load(ordering: .relaxed) <= 66)
    await endpoint.close()
    #expect(handler.sessions.load(ordering: .relaxed) == 0)
    await loop.stop()
  }
}

func setting(_ name: String, _ fallback: Int) -> Int {
  getenv(name).flatMap { Int(String(cString: $0)) } ?? fallback
}

final class Flag: Sendable {
  let isSet = Atomic(false)
}

/// Answers every request with 2.02, and counts the sessions that it has seen and not lost.
private final class CountingHandler: CoAPHandler {
  private let seen = Mutex<Set<ObjectIdentifier>>([])
  let sessions = Atomic(0)
  let most = Atomic(0)

  func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? { CoAPResponse(.deleted) }

  func heard(from session: CoAPSession) {
    guard seen.withLock({ $0.insert(ObjectIdentifier(session)).inserted }) else { return }
    most.max(sessions.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
  }

  func sessionBegan(_ session: CoAPSession) {}

  func sessionEnded(_ session: CoAPSession) {
    _ = seen.withLock { $0.remove(ObjectIdentifier(session)) }
    sessions.subtract(1, ordering: .relaxed)
  }
}

/// Runs blocking code on a thread of its own.
func onThread(_ body: @escaping @Sendable () throws -> Void) async throws {
  try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
    DispatchQueue(label: "fuzz").async { continuation.resume(with: Result(catching: body)) }
  }
}
