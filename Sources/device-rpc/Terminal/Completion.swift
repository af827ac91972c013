internal import ArgumentParser

/// Names that a shell completes. It asks this program when a person types Tab, so nothing but names may be printed, and soon.
enum Completion {
  /// - Parameter names: the names, or those that begin with `prefix`.
  static func kind(
    _ names: @escaping @Sendable (_ words: [String], _ prefix: String) async throws -> [String]
  ) -> CompletionKind {
    .custom { words, _, prefix in
      let names = (try? await names(words, prefix)) ?? []
      return candidates(names.filter { $0.hasPrefix(prefix) }, isForZsh: CompletionShell.requesting == .zsh)
    }
  }

  static func candidates(_ names: [String], isForZsh: Bool) -> [String] {
    names
      // Devices choose their names: they must not become options, or control the terminal. And bash expands what it is offered,
      // commands in it too, so a name that a shell would not take as it is must be typed.
      .filter { !$0.isEmpty && !$0.hasPrefix("-") && Output.safe($0) == $0 && $0.allSatisfy(isPlain) }
      // zsh takes what stands behind a colon for a description.
      .map { isForZsh ? $0.replacing(":", with: "\\:") : $0 }
  }

  private static func isPlain(_ character: Character) -> Bool {
    character.isASCII ? character.isLetter || character.isNumber || "-_.:@/+,%".contains(character) : character.isLetter
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
