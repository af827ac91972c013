// Configuration: the options of `serve`, and what is in force of the command line, the environment and a file.
// `ServeOptions.settings` and the tables of its groups are the only lists of options. Reads files as Certificates does.

internal import DeviceRPC
internal import Foundation

/// Something in the environment or in a file that cannot be used. It ends the command with the exit code of wrong usage.
struct ConfigurationError: Error, Hashable, CustomStringConvertible {
  let description: String

  init(_ description: String) { self.description = description }
}

/// A file with options: a JSON object whose keys are the names of options.
struct ConfigurationFile {
  /// The length of the longest file: 1 MiB.
  static let longest = 1_048_576

  let path: String
  let object: RPCObject

  init(path: String) throws(ConfigurationError) {
    guard !path.isEmpty else { throw ConfigurationError("the path of the configuration file is empty") }
    let data: Data
    do {
      data = try readData(path, upTo: Self.longest + 1)
    } catch {
      throw ConfigurationError(error.description)
    }
    guard data.count <= Self.longest else { throw ConfigurationError("\(path) is longer than 1 MiB, the longest that is read") }
    try self.init(path: path, bytes: [UInt8](data))
  }

  init(path: String, bytes: [UInt8]) throws(ConfigurationError) {
    self.path = path
    let value: RPCValue
    do {
      value = try JSONReader.read(bytes)
    } catch {
      let lines = bytes[..<error.offset].split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      let column = String(decoding: lines.last ?? [], as: UTF8.self).count + 1
      throw ConfigurationError("\(path), line \(lines.count), column \(column): \(error)")
    }
    guard let object = value.objectValue else {
      throw ConfigurationError("\(path) must be a JSON object, with a key for each option")
    }
    self.object = object
  }

  /// The values of an option as text; nil when it is not in the file.
  ///
  /// Relative paths start at the folder of the file, so that they mean the same wherever the command is started.
  func texts<Options>(_ setting: Setting<Options>) throws(ConfigurationError) -> [String]? {
    guard let value = object[setting.name] else { return nil }
    let items = setting.isList ? value.arrayValue : [value]
    let texts = items?.compactMap { item -> String? in
      switch setting.form {
      case .text: item.stringValue
      case .path: item.stringValue.map(resolved)
      case .number: item.intValue.map(String.init) ?? item.doubleValue?.description
      case .flag: item.boolValue?.description
      }
    }
    if let texts, texts.count == items?.count { return texts }
    let kind =
      switch setting.form {
      case .text, .path: setting.isList ? "an array of strings, each " : "a string, "
      case .number: "a number, "
      case .flag: ""
      }
    throw ConfigurationError(
      "\(setting.name) in \(path) must be \(kind)\(setting.allowed)" + (setting.isSecret ? "" : ", not \(value)"))
  }

  private func resolved(_ name: String) -> String {
    guard !name.isEmpty, !name.hasPrefix("/"), let end = path.lastIndex(of: "/") else { return name }
    return String(path[...end]) + name
  }
}
