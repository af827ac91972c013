import CoAP
import Dispatch
import Glibc

/// `openssl s_client` as a DTLS device that plays an exact dialogue: a record out for each message in, and back.
final class KeyedPeer: Sendable {
  struct NoProgram: Error {}
  struct NothingArrived: Error {}

  private let descriptor: Int32
  private let process: pid_t
  private let queue = DispatchQueue(label: "keyed-peer")

  init(to server: CoAPAddress, identity: String, key: [UInt8]) throws {
    var pair: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &pair) == 0 else { throw NoProgram() }
    _ = fcntl(pair[0], F_SETFD, FD_CLOEXEC)
    var patience = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let hex = key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    let arguments = [
      "openssl", "s_client", "-dtls1_2", "-quiet", "-connect", "127.0.0.1:\(server.port)", "-psk_identity", identity,
      "-psk", hex, "-cipher", "PSK",
    ]
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, pair[1], 0)
    posix_spawn_file_actions_adddup2(&actions, pair[1], 1)
    posix_spawn_file_actions_addclose(&actions, pair[1])
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    var words = arguments.map { strdup($0) } + [nil]
    var process: pid_t = 0
    let code = posix_spawnp(&process, "openssl", &actions, nil, &words, environ)
    for word in words { free(word) }
    posix_spawn_file_actions_destroy(&actions)
    close(pair[1])
    guard code == 0 else {
      close(pair[0])
      throw NoProgram()
    }
    descriptor = pair[0]
    self.process = process
  }

  deinit {
    kill(process, SIGKILL)
    waitpid(process, nil, 0)
    close(descriptor)
  }

  func send(_ bytes: [UInt8]) { _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }

  /// The next message, within ten seconds.
  func receive() async throws -> [UInt8] {
    let descriptor = descriptor
    return try await withCheckedThrowingContinuation { continuation in
      queue.async {
        var bytes = [UInt8](repeating: 0, count: 2_048)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        continuation.resume(with: count > 0 ? .success(Array(bytes[0..<count])) : .failure(NothingArrived()))
      }
    }
  }

  /// Observes `counter` with a token of one byte.
  func observe(token: UInt8 = 0x77, messageID: UInt8 = 1) async throws {
    send([0x41, 1, 0, messageID, token, 0x60, 0x57] + Array("counter".utf8))
    guard try await receive().prefix(5) == [0x61, 0x45, 0, messageID, token] else { throw NothingArrived() }
  }

  /// Asks for something; behind its answer all has been read that was sent before.
  func barrier() async throws {
    send([0x41, 1, 0, 2, 0x78])
    while try await receive().prefix(5) != [0x61, 0x45, 0, 2, 0x78] {}
  }
}
