internal import ArgumentParser

/// Names that a shell completes. It asks this program when a person types Tab, so nothing but names may be printed, and soon.
enum Completion {
  static func kind(_ names: @escaping @Sendable (_ words: [String]) async throws -> [String]) -> CompletionKind {
    .custom { words, _, prefix in
      let names = (try? await names(words)) ?? []
      return candidates(names.filter { $0.hasPrefix(prefix) }, isForZsh: CompletionShell.requesting == .zsh)
    }
  }

  static func candidates(_ names: [String], isForZsh: Bool) -> [String] {
    names
      // Devices choose their names: they must not become options, or control the terminal.
      .filter { !$0.isEmpty && !$0.hasPrefix("-") && Output.safe($0) == $0 }
      // zsh takes what stands behind a colon for a description.
      .map { isForZsh ? $0.replacing("\\", with: "\\\\").replacing(":", with: "\\:") : $0 }
  }

  /// Options with their values, of a command line that is not complete yet, to be parsed.
  static func options(_ names: [String], in words: [String]) -> [String] {
    names.flatMap { name in value(of: name, in: words).map { [name, $0] } ?? [] }
  }

  /// The last value of an option on a command line that is not complete yet, as words of a shell; nil for none.
  static func value(of option: String, in words: [String]) -> String? {
    var value: String?
    for (word, next) in zip(words, words.dropFirst() + [""]) {
      if word == option { value = next } else if word.hasPrefix(option + "=") { value = String(word.dropFirst(option.count + 1)) }
    }
    return value.map { $0.filter { $0 != "'" && $0 != "\"" } }
  }
}
