internal import ArgumentParser
internal import Configuration
internal import DeviceRPC

/// The options that are in force, and where each of them comes from.
///
/// The command line wins over the environment, that over the file, and that over the defaults. Values that lose are checked too.
struct Resolution<Options> {
  private(set) var options: Options
  private let settings: [Setting<Options>]
  private var sources: [String: SettingSource] = [:]

  /// Resolves the options of the command line.
  ///
  /// - Throws: `ValidationError` for a value on the command line, ``ConfigurationError`` for all others.
  init(_ options: Options, _ settings: [Setting<Options>], environment: [String: String], file: ConfigurationFile?) throws {
    self.options = options
    self.settings = settings
    let variables = EnvironmentVariablesProvider(environmentVariables: environment).prefixKeys(with: ["device-rpc"])
    try checkNames(environment, variables, file)
    let layers: [(provider: any ConfigProvider, source: (String) -> SettingSource)] = [
      (Self.provider(settings) { $0.standard.isEmpty ? nil : $0.standard }, { _ in .standard }),
      (try Self.provider(settings) { try file?.texts($0) }, { _ in .file(file?.path ?? "") }),
      (variables, { .variable($0) }),
      (Self.provider(settings) { $0.read(options).isEmpty ? nil : $0.read(options) }, { _ in .commandLine }),
    ]
    for setting in settings {
      for layer in layers {
        let found = try layer.provider.value(forKey: setting.key, type: setting.isList ? .stringArray : .string)
        guard let value = found.value else { continue }
        let source = layer.source(found.encodedKey)
        try use(value.content, for: setting, source)
        sources[setting.name] = source
      }
    }
  }

  private static func provider(
    _ settings: [Setting<Options>], _ texts: (Setting<Options>) throws -> [String]?
  ) rethrows -> InMemoryProvider {
    var values: [AbsoluteConfigKey: ConfigValue] = [:]
    for setting in settings {
      guard let texts = try texts(setting) else { continue }
      let content: ConfigContent = setting.isList ? .stringArray(texts) : .string(texts.first ?? "")
      values[setting.key] = ConfigValue(content, isSecret: setting.isSecret)
    }
    return InMemoryProvider(values: values)
  }

  private mutating func use(_ content: ConfigContent, for setting: Setting<Options>, _ source: SettingSource) throws {
    let texts: [String]
    switch content {
    case .string(let text): texts = [text]
    case .stringArray(let list): texts = list
    default: texts = []
    }
    guard !setting.write(&options, texts) else { return }
    let given = texts.joined(separator: ",")
    let shown = texts.isEmpty ? "[]" : Double(given) != nil ? given : Output.safe("\(RPCValue.string(given))")
    let problem = "\(source.place(of: setting.name)) must be \(setting.allowed)" + (setting.isSecret ? "" : ", not \(shown)")
    throw source == .commandLine ? ValidationError("\(problem).") : ConfigurationError(problem)
  }

  // MARK: Names

  private func checkNames(_ environment: [String: String], _ variables: some ConfigProvider, _ file: ConfigurationFile?) throws {
    let names = settings.map(\.name)
    for key in file?.object.keys ?? [] where !names.contains(key) {
      throw ConfigurationError("\(file?.path ?? "") has the unknown key \(RPCValue.string(key))" + hint(key, names))
    }
    let known = try settings.map { try variables.value(forKey: $0.key, type: .string).encodedKey } + [configVariable]
    for name in environment.keys.sorted() where name.hasPrefix(variablePrefix) {
      guard !known.contains(name), !variablesOfOtherCommands.contains(name) else { continue }
      throw ConfigurationError("the environment variable \(name) is unknown" + hint(name, known))
    }
  }

  private func hint(_ name: String, _ known: [String]) -> String {
    let plain = { (name: String) in name.lowercased().filter { $0 != "-" && $0 != "_" } }
    let distances = known.map { plain($0).difference(from: plain(name)).count }
    guard let least = distances.min(), least <= max(2, plain(name).count / 3), let index = distances.firstIndex(of: least)
    else { return "; device-rpc serve --help lists all" }
    return "; did you mean \(known[index])?"
  }

  // MARK: Where values come from

  /// Says where the options come from that `error` names, if one is in the environment or in a file.
  func explained(_ error: ValidationError) -> any Error {
    let named = error.message.matches(of: /--([a-z-]+)/).map { String($0.1) }
    let places = settings.compactMap { setting -> String? in
      guard named.contains(setting.name), let source = sources[setting.name] else { return nil }
      switch source {
      case .commandLine, .standard: return nil
      case .variable, .file: return "--\(setting.name) comes from \(source)"
      }
    }
    guard !places.isEmpty else { return error }
    return ConfigurationError("\(error.message) \(places.joined(separator: ", ")).")
  }

  /// A table of all options for `--print-config`.
  var lines: [String] {
    table(
      [["key", "value", "source"]]
        + settings.map { setting in
          let texts = setting.read(options)
          let value = texts.isEmpty ? setting.fallback(options) : setting.isSecret ? "********" : texts.joined(separator: ",")
          return [setting.name, value, "\(sources[setting.name] ?? .standard)"]
        })
  }
}

/// Where the value of an option comes from.
enum SettingSource: Hashable, CustomStringConvertible {
  case commandLine
  case variable(String)
  case file(String)
  case standard

  var description: String {
    switch self {
    case .commandLine: "command line"
    case .variable(let name): name
    case .file(let path): path
    case .standard: "default"
    }
  }

  /// How the user has written the option there.
  func place(of name: String) -> String {
    switch self {
    case .commandLine, .standard: "--\(name)"
    case .variable(let variable): variable
    case .file(let path): "\(name) in \(path)"
    }
  }
}

/// The variable with the path of the file, in place of `--config`.
let configVariable = "DEVICE_RPC_CONFIG"

private let variablePrefix = "DEVICE_RPC_"

/// Variables of other commands than `serve`, which it passes over.
private let variablesOfOtherCommands: Set = ["DEVICE_RPC_SERVER", "DEVICE_RPC_API_KEY"]

extension Setting {
  fileprivate var key: AbsoluteConfigKey { AbsoluteConfigKey([name]) }
}
