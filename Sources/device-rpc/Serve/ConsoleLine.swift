internal import DeviceRPC

/// The meaning of a line typed into `serve`.
enum ConsoleLine: Equatable {
  case empty
  case help
  case devices
  case quit
  case device(String)
  case call(device: String, method: String, params: [RPCValue])

  /// Why a line is not valid, as one sentence for the user.
  struct Problem: Error, Equatable {
    let text: String
  }

  init(_ line: String) throws(Problem) {
    let tokens = try Self.tokens(of: line)
    guard let first = tokens.first else {
      self = .empty
      return
    }
    if tokens.count == 1 {
      switch first {
      case "help", "?": self = .help
      case "devices": self = .devices
      case "quit", "exit": self = .quit
      default: self = .device(try Self.name(first))
      }
      return
    }
    var params: [RPCValue] = []
    for token in tokens[2...] { params.append(try Self.value(token)) }
    self = .call(device: try Self.name(first), method: try Self.name(tokens[1]), params: params)
  }

  /// Splits the line at white space. A token that begins with a quote, a bracket or a brace extends at least to the matching end,
  /// including white space inside. Any other token is taken as it is.
  static func tokens(of line: String) throws(Problem) -> [String] {
    var tokens: [String] = []
    var rest = line[...]
    while let start = rest.firstIndex(where: { !$0.isWhitespace }) {
      rest = rest[start...]
      let closed = try endOfJSON(rest)
      let end = rest[closed...].firstIndex(where: \.isWhitespace) ?? rest.endIndex
      tokens.append(String(rest[..<end]))
      rest = rest[end...]
    }
    return tokens
  }

  /// The end of the string, array or object with which `text` begins; its start if it does not begin with one.
  private static func endOfJSON(_ text: Substring) throws(Problem) -> String.Index {
    var depth = 0
    var isString = false
    var isEscaped = false
    // By scalars, since a quote followed by a combining mark would be a different character.
    for index in text.unicodeScalars.indices {
      let scalar = text.unicodeScalars[index]
      if isString {
        if isEscaped { isEscaped = false } else if scalar == "\\" { isEscaped = true } else if scalar == "\"" { isString = false }
      } else {
        switch scalar {
        case "\"": isString = true
        case "[", "{": depth += 1
        case "]", "}": depth -= 1
        default: break
        }
        if depth < 0 { return text.startIndex }
      }
      if depth == 0, !isString { return index == text.startIndex ? index : text.unicodeScalars.index(after: index) }
    }
    throw Problem(text: isString ? "a quote \" is not closed" : "a bracket is not closed")
  }

  /// A parameter as typed on a command line, where the shell has taken the quotes: JSON, or else text.
  static func parameter(_ text: String) throws(Problem) -> RPCValue { text.isEmpty ? "" : try value(text) }

  private static func name(_ token: String) throws(Problem) -> String {
    guard token.hasPrefix("\"") else { return token }
    guard case .string(let name) = try value(token) else { throw Problem(text: "\(token) is not a name") }
    return name
  }

  /// Reads the token as JSON, or else as text. It throws for a token that begins like JSON and is not valid, and for a number
  /// that cannot be represented.
  private static func value(_ token: String) throws(Problem) -> RPCValue {
    do throws(JSONError) {
      return try JSONReader.read(Array(token.utf8))
    } catch {
      switch error.kind {
      case .numberOutOfRange, .inexactInteger: break
      default: guard let first = token.first, "[{\"".contains(first) else { return .string(token) }
      }
      throw Problem(text: "\(token) is not JSON: \(error)")
    }
  }
}
