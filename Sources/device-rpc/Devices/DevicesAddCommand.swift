// Devices: `device-rpc devices`: the devices of a data directory or of a server, their keys, and the settings that firmware needs.
// Uses DeviceRPCStore, the rooms Terminal and Certificates, the room Client, and the log of Serve.

internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCStore

struct DevicesAddCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "add",
    abstract: "Add a device, or to one that is there the key or certificate that it lacks.",
    discussion: """
      Without other options the device gets a new key, which is printed this once, with what to write into its firmware. \
      The first device makes the directory.

      Examples:
        device-rpc devices add sensor-1
        device-rpc devices add sensor-1 --project lab --coap-host coap.example.org
        device-rpc devices add sensor-1 --identity sensor-1@greenhouse --key supersecret
        device-rpc devices add sensor-1 --certificate certs/sensor-1.pem
        device-rpc devices add sensor-1 --common-name sensor-1
        device-rpc devices add sensor-1 --server https://rpc.example.org
      """)

  @OptionGroup var options: DevicesOptions
  @OptionGroup var firmware: FirmwareOptions
  @OptionGroup var key: KeyOptions

  @Argument(help: ArgumentHelp("The device's name, by which it is called.", valueName: "name"))
  var name: String

  @Option(help: ArgumentHelp("The PSK identity. (default: the name, or NAME@PROJECT with --project)", valueName: "id"))
  var identity: String?

  @Option(help: ArgumentHelp("The project in the PSK identity, as Golioth has it.", valueName: "name"))
  var project: String?

  @Option(
    help: ArgumentHelp("The one certificate that is accepted of the device, in PEM form.", valueName: "file"), completion: .file())
  var certificate: String?

  @Option(
    help: ArgumentHelp(
      "The common name in the device's certificates; any of that name is accepted that a CA issued which the server "
        + "trusts.", valueName: "name"))
  var commonName: String?

  @Flag(help: "Print JSON, for programs.")
  var json = false

  func validate() throws {
    guard certificate != "" else { throw ValidationError("--certificate is the path of a file.") }
    if let project, let problem = DeviceName.problem(with: project) { throw ValidationError("--project \(problem).") }
    guard certificate == nil || commonName == nil else {
      throw ValidationError("--certificate has a common name; --common-name is for any certificate of that name.")
    }
    guard certificate == nil && commonName == nil || identity == nil && project == nil && key.text == nil else {
      throw ValidationError("--identity, --project and --key are for a key, not for a certificate.")
    }
    guard identity == nil || project == nil else {
      throw ValidationError("--project is for the identity NAME@PROJECT; give that or --identity.")
    }
  }

  func run() async throws {
    let output = Output()
    let secret = try secret()
    let device = try await options.withRegistry(creating: true, output) {
      try await $0.add(name, identity: secret.identity, proof: secret.proof)
    }
    output.show(
      ["\(name) added to \(options.place)"] + secret.lines(firmware), device.json(key: secret.key), json: json)
  }

  private func secret() throws(CommandFailure) -> DeviceSecret {
    if let certificate { return .certificate(try CertificateFile(path: certificate)) }
    if let commonName { return .commonName(commonName) }
    let identity = identity ?? project.map { "\(name)@\($0)" } ?? name
    return .key(identity: identity, try key.key())
  }
}

struct DevicesRotateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rotate",
    abstract: "Give a device a new key, or accept a new certificate instead of the old one.",
    discussion: """
      Its identity stays, unless --identity or --project says another one for the new key. The old key or certificate is \
      refused from then on.

      Examples:
        device-rpc devices rotate sensor-1
        device-rpc devices rotate sensor-1 --key supersecret
        device-rpc devices rotate sensor-1 --project greenhouse
        device-rpc devices rotate sensor-1 --certificate certs/sensor-1.pem
      """)

  @OptionGroup var options: DevicesOptions
  @OptionGroup var firmware: FirmwareOptions
  @OptionGroup var key: KeyOptions

  @Argument(help: ArgumentHelp("The device's name.", valueName: "name"), completion: .knownDevices)
  var name: String

  @Option(help: ArgumentHelp("Another PSK identity. (default: the one that it has)", valueName: "id"))
  var identity: String?

  @Option(help: ArgumentHelp("Another project in the PSK identity, NAME@PROJECT.", valueName: "name"))
  var project: String?

  @Option(
    help: ArgumentHelp("The one certificate that is accepted from now on, in PEM form.", valueName: "file"), completion: .file())
  var certificate: String?

  @Flag(help: "Print JSON, for programs.")
  var json = false

  func validate() throws {
    guard certificate != "" else { throw ValidationError("--certificate is the path of a file.") }
    guard certificate == nil || key.text == nil else { throw ValidationError("Give --key or --certificate.") }
    guard certificate == nil || identity == nil && project == nil else {
      throw ValidationError("--identity and --project are for a key, not for a certificate.")
    }
    guard identity == nil || project == nil else {
      throw ValidationError("--project is for the identity NAME@PROJECT; give that or --identity.")
    }
    if let project, let problem = DeviceName.problem(with: project) { throw ValidationError("--project \(problem).") }
  }

  func run() async throws {
    let output = Output()
    let file = try certificate.map { path throws(CommandFailure) in try CertificateFile(path: path) }
    let key = try key.key()
    let (device, secret) = try await options.withRegistry(output) { registry in
      let kind: DeviceCredential.Kind = file == nil ? .preSharedKey : .certificate
      guard let known = try await registry.existing(name).credentials.first(where: { $0.kind == kind })?.identity else {
        throw DeviceStoreError.noCredential(device: name, kind)
      }
      let identity = identity ?? project.map { "\(name)@\($0)" } ?? known
      if let file, file.identity != identity {
        throw CommandFailure(
          Output.safe("\(file.path) is the certificate of \"\(file.identity)\"; \"\(name)\" has those of \"\(identity)\""))
      }
      let secret = file.map(DeviceSecret.certificate) ?? .key(identity: identity, key)
      return (try await registry.rotate(name, to: secret.proof, identity: identity), secret)
    }
    output.show(
      ["\(name) has a new \(file == nil ? "key" : "certificate")"] + secret.lines(firmware),
      device.json(key: secret.key), json: json)
  }
}

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
