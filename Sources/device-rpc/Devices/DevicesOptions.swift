internal import ArgumentParser
internal import DeviceRPC

/// The address under which firmware reaches the server.
struct FirmwareOptions: ParsableArguments {
  @Option(
    name: .customLong("coap-host"),
    help: ArgumentHelp(
      "The name or address of the server, as devices reach it, for what is printed; a port other than 5684 behind a "
        + "colon.", valueName: "host"))
  var server = Self.thisMachine

  private static let thisMachine = "127.0.0.1"

  /// A line for users who have not given the address, since firmware seldom runs on the machine of its server.
  var hint: [String] {
    server == Self.thisMachine ? ["\(server) stands for the server; --coap-host HOST writes its real name or address here."] : []
  }

  static let defaultPort = 5_684

  /// `coaps://[2001:db8::7]:5684`.
  var uri: String {
    let (host, port) = Self.parts(server) ?? (server, Self.defaultPort)
    return "coaps://\(host):\(port)"
  }

  /// `[2001:db8::7]`, for another port than that of `coaps`.
  var host: String { Self.parts(server)?.host ?? server }

  /// `coaps://[2001:db8::7]`.
  var uriWithoutPort: String { "coaps://\(Self.parts(server)?.host ?? server)" }

  func validate() throws {
    guard Self.parts(server) != nil else {
      throw ValidationError(
        "--coap-host is a name or address, with a port if you like: coap.example.org:5684, 192.0.2.7, [2001:db8::7]:5684.")
    }
  }

  /// Host and port as in a URI, an IPv6 address in brackets. Nil for a text that is neither a name nor an address.
  private static func parts(_ server: String) -> (host: String, port: Int)? {
    if isIPv6(server) { return ("[\(server)]", defaultPort) }
    let end = server.firstIndex(of: "]").map(server.index(after:)) ?? server.firstIndex(of: ":") ?? server.endIndex
    let host = server[..<end]
    guard host.hasPrefix("[") ? host.hasSuffix("]") && isIPv6(host.dropFirst().dropLast()) : isName(host) else { return nil }
    if end == server.endIndex { return (String(host), defaultPort) }
    let digits = server[end...].dropFirst()
    guard server[end] == ":", digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits), port > 0
    else { return nil }
    return (String(host), Int(port))
  }

  private static func isIPv6(_ text: some StringProtocol) -> Bool {
    text.contains(":") && CertificateHost(String(text)) != nil
  }

  private static func isName(_ text: Substring) -> Bool {
    !text.isEmpty
      && text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "a")...UInt8(ascii: "z"):
          true
        default: "-._".utf8.contains(byte)
        }
      }
  }
}

/// The option for a key that the device already has.
struct KeyOptions: ParsableArguments {
  @Option(
    name: .customLong("key"),
    help: ArgumentHelp(
      "The key instead of a new one, 1 to 64 bytes, taken as they are; - reads it from standard input, which other users "
        + "of this machine do not see, nor who looks at the terminal.", valueName: "text"))
  var text: String?

  func validate() throws {
    guard text == nil || text == "-" || text.flatMap(Self.key) != nil else {
      throw ValidationError("--key has \(Self.form).")
    }
  }

  /// The given key, or a new one if none is given.
  func key() throws(CommandFailure) -> DeviceKey {
    guard let text else { return .generated() }
    guard let key = Self.key(text == "-" ? readSecret("key: ") ?? "" : text) else {
      throw Self.notRead
    }
    return key
  }

  static var notRead: CommandFailure { CommandFailure("the line read from standard input is no key, which has \(form)") }

  static let form = "1 to \(DeviceKey.longest) bytes, all of them of characters that are seen"

  static func key(_ text: String) -> DeviceKey? { Output.safe(text) == text ? DeviceKey(text.utf8) : nil }
}

/// The options for an access token, as ThingsBoard's devices have one.
struct TokenOptions: ParsableArguments {
  @Flag(help: "Give the device an access token, as ThingsBoard's devices have one, instead of a key.")
  var accessToken = false

  @Option(
    name: .customLong("token"),
    help: ArgumentHelp(
      "The access token instead of a new one, 1 to 255 visible characters of ASCII without a slash; - reads it from standard "
        + "input.", valueName: "text"))
  var text: String?

  var isWanted: Bool { accessToken || text != nil }

  static let alone = ValidationError("--access-token and --token are without the options for keys and certificates.")
  private static let form = "1 to \(AccessToken.longest) visible characters of ASCII without a slash"

  func validate() throws {
    guard text == nil || text == "-" || text.flatMap(AccessToken.init) != nil else { throw ValidationError("--token has \(Self.form).") }
  }

  /// The given token, or a new one if none is given.
  func token() throws(CommandFailure) -> AccessToken {
    guard let text else { return .generated() }
    guard let token = AccessToken(text == "-" ? readSecret("access token: ") ?? "" : text) else {
      throw CommandFailure("the line read from standard input is no access token, which has \(Self.form)")
    }
    return token
  }
}
