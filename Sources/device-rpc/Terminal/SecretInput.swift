internal import Foundation
internal import Glibc

// Unsafe global, because a signal handler can use nothing else; it is set before a handler is installed.
private nonisolated(unsafe) var shownTerminal = termios()

/// Reads the first line of standard input. At a terminal it shows a prompt, and does not show what is typed. If a signal ends
/// the process meanwhile, the terminal's settings are restored.
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
  // `TCSAFLUSH` discards input that was typed before, and so was shown.
  tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden)
  defer {
    tcsetattr(STDIN_FILENO, TCSANOW, &shownTerminal)
    for number in signals { signal(number, SIG_DFL) }
    try? FileHandle.standardError.write(contentsOf: Data("\n".utf8))
  }
  return readLine()
}
