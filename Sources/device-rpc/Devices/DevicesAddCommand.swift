// Devices: `device-rpc devices`: the devices of a data directory or of a server, their keys, and the settings that firmware needs.
// Uses DeviceRPCStore, the rooms Terminal and Certificates, the room Client, and the log of Serve.

internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCStore

struct DevicesAddCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "add",
    abstract: "Add a device, or to one that is there the key, certificate or access token that it lacks.",
    discussion: """
      Without other options the device gets a new key, which is printed this once, with what to write into its firmware. \
      The first device makes the directory.

      Examples:
        device-rpc devices add sensor-1
        device-rpc devices add sensor-1 --project lab --coap-host coap.example.org
        device-rpc devices add sensor-1 --identity sensor-1@greenhouse --key supersecret
        device-rpc devices add sensor-1 --certificate certs/sensor-1.pem
        device-rpc devices add sensor-1 --common-name sensor-1
        device-rpc devices add sensor-1 --access-token
        device-rpc devices add sensor-1 --server https://rpc.example.org
      """)

  @OptionGroup var options: DevicesOptions
  @OptionGroup var firmware: FirmwareOptions
  @OptionGroup var key: KeyOptions
  @OptionGroup var token: TokenOptions

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
    let isForKey = identity != nil || project != nil || key.text != nil
    guard certificate == nil && commonName == nil || !isForKey else {
      throw ValidationError("--identity, --project and --key are for a key, not for a certificate.")
    }
    guard !token.isWanted || certificate == nil && commonName == nil && !isForKey else { throw TokenOptions.alone }
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
      ["\(name) added to \(options.place)"] + secret.lines(firmware), device.json(new: secret), json: json)
  }

  private func secret() throws(CommandFailure) -> DeviceSecret {
    if token.isWanted { return .token(try token.token()) }
    if let certificate { return .certificate(try CertificateFile(path: certificate)) }
    if let commonName { return .commonName(commonName) }
    let identity = identity ?? project.map { "\(name)@\($0)" } ?? name
    return .key(identity: identity, try key.key())
  }
}

struct DevicesRotateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rotate",
    abstract: "Give a device a new key or access token, or accept a new certificate instead of the old one.",
    discussion: """
      Its identity stays, unless --identity or --project says another one for the new key. The old key, token or certificate is \
      refused from then on.

      Examples:
        device-rpc devices rotate sensor-1
        device-rpc devices rotate sensor-1 --key supersecret
        device-rpc devices rotate sensor-1 --project greenhouse
        device-rpc devices rotate sensor-1 --certificate certs/sensor-1.pem
        device-rpc devices rotate sensor-1 --access-token
      """)

  @OptionGroup var options: DevicesOptions
  @OptionGroup var firmware: FirmwareOptions
  @OptionGroup var key: KeyOptions
  @OptionGroup var token: TokenOptions

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
    guard !token.isWanted || certificate == nil && identity == nil && project == nil && key.text == nil else {
      throw TokenOptions.alone
    }
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
    if token.isWanted {
      let secret = DeviceSecret.token(try token.token())
      let device = try await options.withRegistry(output) { try await $0.rotate(name, to: secret.proof, identity: secret.identity) }
      return output.show(["\(name) has a new access token"] + secret.lines(firmware), device.json(new: secret), json: json)
    }
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
      device.json(new: secret), json: json)
  }
}
