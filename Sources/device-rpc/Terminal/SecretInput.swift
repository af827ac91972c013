internal import Foundation
internal import Glibc

// because a signal's handler reaches nothing else; it is set before there is one.
private nonisolated(unsafe) var shownTerminal = termios()

/// The first line of standard input; at a terminal after a prompt, and without showing what is typed. A signal that ends the
/// process meanwhile leaves the terminal as it was.
func readSecret(_ prompt: String) -> String? {
  guard StandardInput.isTerminal, tcgetattr(STDIN_FILENO, &shownTerminal) == 0 else { return readLine() }
  var hidden = shownTerminal
  hidden.c_lflag &= ~tcflag_t(ECHO)
  let signals = [SIGINT, SIGQUIT, SIGTERM, SIGHUP]
  for number in signals {
    signal(number) { number in
      tcsetattr(STDIN_FILENO, TCSANOW, &shownTerminal)
      signal(number, SIG_DFL)
      raise(number)
    }
  }
  try? FileHandle.standardError.write(contentsOf: Data(prompt.utf8))
  // What was typed before, and shown, is not taken.
  tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden)
  defer {
    tcsetattr(STDIN_FILENO, TCSANOW, &shownTerminal)
    for number in signals { signal(number, SIG_DFL) }
    try? FileHandle.standardError.write(contentsOf: Data("\n".utf8))
  }
  return readLine()
}
