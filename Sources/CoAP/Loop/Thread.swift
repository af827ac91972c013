internal import CLibcoap
internal import Glibc

private final class Start: Sendable {
  let name: String
  let body: @Sendable () -> Void

  init(_ name: String, _ body: @escaping @Sendable () -> Void) { (self.name, self.body) = (name, body) }
}

/// Runs `body` on a new thread, which ends when it returns. The caller joins or detaches the thread. The system keeps 15
/// bytes of the name.
///
/// SIGPIPE is blocked on the thread: libcoap writes to connections without MSG_NOSIGNAL (coap_io.c, `coap_socket_write`), and
/// a closed connection must not end the process that embeds a server.
func startThread(_ name: String, _ body: @escaping @Sendable () -> Void) throws(CoAPSystemError) -> pthread_t {
  let retained = Unmanaged.passRetained(Start(name, body))
  var thread = pthread_t()
  let code = pthread_create(
    &thread, nil,
    { argument in
      guard let argument else { return nil }
      let start = Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
      name_this_thread(start.name)
      var signals = sigset_t()
      sigemptyset(&signals)
      sigaddset(&signals, SIGPIPE)
      pthread_sigmask(SIG_BLOCK, &signals, nil)
      start.body()
      return nil
    }, retained.toOpaque())
  guard code == 0 else {
    retained.release()
    throw CoAPSystemError("pthread_create", code: code)
  }
  return thread
}
