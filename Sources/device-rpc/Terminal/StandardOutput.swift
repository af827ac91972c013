internal import Foundation
internal import Glibc

enum StandardOutput {
  /// Whether whoever has read the output has gone.
  ///
  /// - Parameter milliseconds: for how long to wait until that is so; a negative number for no end.
  static func isAbandoned(within milliseconds: Int32 = 0) -> Bool {
    // Without events to wait for, a pipe and a terminal still tell of their end. A file has none.
    var descriptor = pollfd(fd: STDOUT_FILENO, events: 0, revents: 0)
    while poll(&descriptor, 1, milliseconds) < 0, errno == EINTR {}
    return descriptor.revents & Int16(POLLERR | POLLHUP) != 0
  }

  /// Ends the process with exit code 0 as soon as nobody reads its output any more, as with `| head -1`, and not only when there
  /// is something to print again.
  static func exitWhenAbandoned() {
    let thread = Thread {
      if isAbandoned(within: -1) { _exit(0) }
    }
    thread.name = "stdout"
    thread.start()
  }
}
