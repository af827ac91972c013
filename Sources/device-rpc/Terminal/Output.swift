internal import DeviceRPC
internal import Foundation
internal import Synchronization

/// Writes lines to the terminal or into a pipe, each one completely and at once.
///
/// All text from devices is printed through this type, which escapes its control characters.
final class Output: Sendable {
  private struct State {
    var prompt = ""
    var isPrompting = false
  }

  private let state = Mutex(State())
  private let isUnread = Atomic(false)
  private let whenUnwritable: @Sendable () -> Void

  /// `whenUnwritable` is called once, when a line could not be written to standard output. That line and later ones are dropped.
  init(whenUnwritable: @escaping @Sendable () -> Void = {}) { self.whenUnwritable = whenUnwritable }

  /// `whenUnread` is printed to standard error, once, when the reader of the output has exited, as with `| head`. Later output
  /// is dropped.
  convenience init(whenUnread: String) {
    self.init(whenUnwritable: { try? FileHandle.standardError.write(contentsOf: Data("\(whenUnread)\n".utf8)) })
  }

  /// The text for commands that do more than print.
  static let goesOn = "warning: nobody reads what this command prints; it goes on, and Ctrl-C ends it"

  /// Shows `prompt` before each line that the user types.
  func setPrompt(_ prompt: String) {
    state.withLock {
      $0.prompt = prompt
      $0.isPrompting = true
      write(prompt)
    }
  }

  /// Removes the prompt, when no more input is read.
  func endPrompt() {
    state.withLock { state in
      if state.isPrompting { write("\r\u{1b}[K") }
      state.isPrompting = false
    }
  }

  /// Shows the prompt again, after a line was typed.
  func promptAgain() {
    state.withLock { if $0.isPrompting { write($0.prompt) } }
  }

  func line(_ text: String) { writeLine(text) }

  func error(_ text: String) { writeLine(text, isError: true) }

  private func writeLine(_ text: String, isError: Bool = false) {
    let line = Self.safe(text) + "\n"
    state.withLock { state in
      guard state.isPrompting else { return write(line, isError: isError) }
      // Replaces the prompt by the line, and shows the prompt again after it.
      write("\r\u{1b}[K")
      write(line, isError: isError)
      write(state.prompt)
    }
  }

  private func write(_ text: String, isError: Bool = false) {
    do {
      try (isError ? FileHandle.standardError : .standardOutput).write(contentsOf: Data(text.utf8))
    } catch {
      // A failure of standard error cannot be reported anywhere.
      guard !isError, !isUnread.exchange(true, ordering: .relaxed) else { return }
      whenUnwritable()
    }
  }

  /// Prints JSON: on lines for people at a terminal, and on one line for programs.
  func document(_ value: RPCValue) {
    let pretty = isatty(STDOUT_FILENO) == 0 ? nil : try? JSONWriter.pretty(value)
    for text in (pretty ?? value.description).split(separator: "\n") { line(Self.safeJSON(String(text))) }
  }

  /// JSON with the same characters escaped as in `safe`, as JSON escapes them, so that programs read the original text.
  static func safeJSON(_ json: String) -> String {
    var result = ""
    result.reserveCapacity(json.utf8.count)
    for scalar in json.unicodeScalars {
      let shown = String(scalar)
      guard safe(shown) != shown else {
        result += shown
        continue
      }
      for unit in shown.utf16 {
        let digits = String(unit, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      }
    }
    return result
  }

  /// The text with the characters escaped that could control a terminal: control and format characters, and line separators.
  /// The joiners are kept, since some scripts and emoji need them.
  static func safe(_ text: String) -> String {
    var result = ""
    result.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      switch (scalar.properties.generalCategory, scalar.value) {
      case (.format, 0x200c...0x200d): result.unicodeScalars.append(scalar)
      case (.control, _), (.format, _), (.lineSeparator, _), (.paragraphSeparator, _):
        result += "\\u{\(String(scalar.value, radix: 16))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

/// An error that ends the command with exit code 1; only its text is shown.
struct CommandFailure: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

extension Duration {
  /// `0.4 ms`, `12 ms`, `2.3 s`.
  var milliseconds: String {
    let value = Double(components.seconds) * 1_000 + Double(components.attoseconds) * 1e-15
    if value >= 1_000 { return "\((value / 100).rounded() / 10) s" }
    return value >= 10 ? "\(Int(value.rounded())) ms" : "\((value * 10).rounded() / 10) ms"
  }
}
