internal import DeviceRPC
internal import Foundation
internal import Synchronization

/// Writes whole lines to the terminal, or into a pipe, at once.
///
/// Everything that a device says passes through here, and no control character of it gets any further.
final class Output: Sendable {
  private struct State {
    var prompt = ""
    var isPrompting = false
  }

  private let state = Mutex(State())

  /// Shows `prompt` before each line that is to be typed.
  func setPrompt(_ prompt: String) {
    state.withLock {
      $0.prompt = prompt
      $0.isPrompting = true
      Self.write(prompt, to: .standardOutput)
    }
  }

  /// No more is to be typed.
  func endPrompt() {
    state.withLock { state in
      if state.isPrompting { Self.write("\r\u{1b}[K", to: .standardOutput) }
      state.isPrompting = false
    }
  }

  /// The prompt's line has been typed, and a new one begins.
  func promptAgain() {
    state.withLock { if $0.isPrompting { Self.write($0.prompt, to: .standardOutput) } }
  }

  func line(_ text: String) { write(text, to: .standardOutput) }

  func error(_ text: String) { write(text, to: .standardError) }

  private func write(_ text: String, to file: FileHandle) {
    let line = Self.safe(text) + "\n"
    state.withLock { state in
      guard state.isPrompting else { return Self.write(line, to: file) }
      // The prompt makes room for the line and comes again behind it.
      Self.write("\r\u{1b}[K", to: .standardOutput)
      Self.write(line, to: file)
      Self.write(state.prompt, to: .standardOutput)
    }
  }

  private static func write(_ text: String, to file: FileHandle) {
    // Nobody is left to be told when the output itself fails.
    try? file.write(contentsOf: Data(text.utf8))
  }

  /// The text with everything spelled out that a terminal would obey rather than show: control characters, line
  /// separators and changes of the writing direction.
  static func safe(_ text: String) -> String {
    var result = ""
    result.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      switch (scalar.properties.generalCategory, scalar.value) {
      case (.control, _), (.lineSeparator, _), (.paragraphSeparator, _), (_, 0x200e...0x200f), (_, 0x202a...0x202e),
        (_, 0x2066...0x2069):
        result += "\\u{\(String(scalar.value, radix: 16))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}

/// An error that ends the command with exit code 1; its text is all that is shown.
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
