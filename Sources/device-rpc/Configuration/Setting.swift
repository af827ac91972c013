internal import ArgumentParser

/// What the value of a setting is in a file.
enum SettingForm { case text, path, number, flag }

typealias SettingPath<Options, Value> = any WritableKeyPath<Options, Value> & Sendable

/// An option that can be given on the command line, in the environment and in a file: its name, its type, its default, the
/// values that are allowed, and its help.
///
/// `Options` are the parsed options of the command line. Each option is a property there, which is nil, empty or false when it
/// was not given.
struct Setting<Options>: Sendable {
  /// The name of the long option without the dashes, which is also the key in a file.
  let name: String
  let form: SettingForm
  let isList: Bool
  let isSecret: Bool
  /// What a value must be, as the end of a sentence.
  let allowed: String
  let help: ArgumentHelp
  let standard: [String]
  /// The values of the property as text; empty when it has none.
  let read: @Sendable (Options) -> [String]
  /// Sets the property, and returns whether the values are allowed.
  let write: @Sendable (inout Options, [String]) -> Bool
  /// What is in force when the property has no value.
  let fallback: @Sendable (Options) -> String

  /// An option with one value.
  init<Value: ExpressibleByArgument>(
    _ name: String, _ property: SettingPath<Options, Value?>, as form: SettingForm = .text, default standard: Value? = nil,
    _ help: String, valueName: String? = nil, allowed: String, isSecret: Bool = false,
    isValid: @escaping @Sendable (Value) -> Bool = { _ in true }
  ) {
    self.name = name
    self.form = form
    self.allowed = allowed
    self.isSecret = isSecret
    isList = false
    let text = standard?.defaultValueDescription
    self.standard = text.map { [$0] } ?? []
    self.help = ArgumentHelp("\(help)\(text.map { " (default: \($0))" } ?? "")", valueName: valueName)
    read = { options in options[keyPath: property].map { [$0.defaultValueDescription] } ?? [] }
    write = { options, texts in
      guard let value = texts.first.flatMap({ Value(argument: $0) }), isValid(value) else { return false }
      options[keyPath: property] = value
      return true
    }
    fallback = { _ in "-" }
  }

  /// A number in a range, or 0 if that is `orZero`.
  init<Value: ExpressibleByArgument & Comparable & Numeric & Sendable>(
    _ name: String, _ property: SettingPath<Options, Value?>, default standard: Value? = nil,
    in range: ClosedRange<Value>, orZero: Bool = false, unit: String? = nil, _ help: String, valueName: String? = nil
  ) {
    let bounds = [range.lowerBound, range.upperBound].map { "\($0)".replacing(/\.0$/, with: "") }.joined(separator: " to ")
    self.init(
      name, property, as: .number, default: standard, help, valueName: valueName,
      allowed: (orZero ? "0, or " : "") + bounds + (unit.map { " \($0)" } ?? "")
    ) { range.contains($0) || orZero && $0 == .zero }
  }

  /// An option that may be given again for more values. A list given in one place replaces the lists of all others.
  init(
    _ name: String, _ property: SettingPath<Options, [String]>, _ help: String, valueName: String,
    allowed: String, fallback: @escaping @Sendable (Options) -> String = { _ in "-" },
    isValid: @escaping @Sendable (String) -> Bool
  ) {
    self.name = name
    self.allowed = allowed
    self.fallback = fallback
    self.help = ArgumentHelp("\(help)", valueName: valueName)
    form = .text
    isList = true
    isSecret = false
    standard = []
    read = { $0[keyPath: property] }
    write = { options, texts in
      options[keyPath: property] = texts
      return !texts.isEmpty && texts.allSatisfy(isValid)
    }
  }

  /// A flag, which the command line can only switch on.
  init(_ name: String, _ property: SettingPath<Options, Bool>, _ help: String) {
    self.name = name
    self.help = ArgumentHelp("\(help)")
    form = .flag
    isList = false
    isSecret = false
    allowed = "true or false"
    standard = []
    read = { $0[keyPath: property] ? ["true"] : [] }
    write = { options, texts in
      guard let value = texts.first.flatMap({ Bool($0) }) else { return false }
      options[keyPath: property] = value
      return true
    }
    fallback = { _ in "false" }
  }

  /// The same option, of options that contain these as a group.
  func within<Whole>(_ group: SettingPath<Whole, Options>) -> Setting<Whole> {
    Setting<Whole>(of: self, group)
  }

  private init<Part>(of part: Setting<Part>, _ group: SettingPath<Options, Part>) {
    name = part.name
    form = part.form
    isList = part.isList
    isSecret = part.isSecret
    allowed = part.allowed
    help = part.help
    standard = part.standard
    read = { part.read($0[keyPath: group]) }
    write = { part.write(&$0[keyPath: group], $1) }
    fallback = { part.fallback($0[keyPath: group]) }
  }
}

extension Collection {
  /// The help of the option of this name, for its declaration.
  func help<Options>(_ name: String) -> ArgumentHelp where Element == Setting<Options> {
    guard let setting = first(where: { $0.name == name }) else { preconditionFailure("no setting is named \(name)") }
    return setting.help
  }
}
