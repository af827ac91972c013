internal import Glibc

/// `openssl s_client` with a pre-shared key at a server on 127.0.0.1: each message that is written to its descriptor goes
/// out as one record, and what comes back arrives there in the same way. It ends with this object.
package final class OpenSSLClient: Sendable {
  package struct NoProgram: Error { let code: Int32 }

  /// A socket that keeps messages apart; whoever uses it closes it.
  package let descriptor: Int32
  private let process: pid_t

  /// - Parameter protocolOption: `-dtls1_2` or `-tls1_2`.
  package init(
    _ protocolOption: String, port: UInt16, identity: String, key: some Sequence<UInt8>, options: [String] = []
  ) throws(NoProgram) {
    var pair: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &pair) == 0 else { throw NoProgram(code: errno) }
    _ = fcntl(pair[0], F_SETFD, FD_CLOEXEC)
    let hex = key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    let arguments = [
      "openssl", "s_client", protocolOption, "-quiet", "-connect", "127.0.0.1:\(port)", "-psk_identity", identity, "-psk", hex,
      "-cipher", "PSK:@SECLEVEL=0",
    ] + options
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
      throw NoProgram(code: code)
    }
    descriptor = pair[0]
    self.process = process
  }

  deinit {
    kill(process, SIGKILL)
    waitpid(process, nil, 0)
  }
}
