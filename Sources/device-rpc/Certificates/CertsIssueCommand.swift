internal import ArgumentParser
internal import Foundation
internal import X509

struct CertsIssueCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "issue",
    abstract: "Make a key, and have the CA issue a certificate for it.",
    discussion: """
      The CA is made before with "device-rpc certs init". No certificate outlives the one of the CA.

      Examples:
        device-rpc certs issue server --host coap.example.org --host 192.0.2.7
        device-rpc certs issue device sensor-1 --project greenhouse
      """,
    subcommands: [CertsIssueServerCommand.self, CertsIssueDeviceCommand.self])
}

struct CertsIssueServerCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "server",
    abstract: "For a server: server.pem and server.key.",
    discussion: """
      The names and addresses are those under which devices connect; some firmware compares them.

      Examples:
        device-rpc certs issue server
        device-rpc certs issue server --host coap.example.org --host 192.0.2.7 --days 30
      """)

  @OptionGroup var options: CertsOptions

  @Option(
    help: ArgumentHelp(
      "A DNS name, IPv4 or IPv6 address of the server; may be given again for more. "
        + "(default: localhost, 127.0.0.1 and ::1)", valueName: "name"))
  var host: [String] = []

  @Option(help: ArgumentHelp("How long the certificate is valid.", valueName: "days"))
  var days = 365

  func validate() throws {
    try CertsOptions.validate(days: days)
    for host in host where CertificateHost(host) == nil {
      throw ValidationError("--host \(Output.safe(host)) is neither a DNS name nor an IPv4 or IPv6 address.")
    }
  }

  func run() throws {
    let hosts = (host.isEmpty ? ["localhost", "127.0.0.1", "::1"] : host).compactMap(CertificateHost.init)
    let identity = try options.issue(to: .server(hosts), days: days)
    try options.write(identity, certificate: "server.pem", key: "server.key")
    options.suggest(
      "run it:", "device-rpc serve --data device-rpc-data",
      [("--certificate", "server.pem"), ("--key", "server.key"), ("--ca", CertsOptions.authority.certificate)])
  }
}

struct CertsIssueDeviceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "device",
    abstract: "For a device: NAME.pem and NAME.key.",
    discussion: """
      As Golioth has it, the subject's organisation is the project and its common name is the device. Characters that \
      file names had better not contain are percent-encoded in these: device "a/b" has the files a%2Fb.pem and a%2Fb.key.

      Examples:
        device-rpc certs issue device sensor-1
        device-rpc certs issue device sensor-1 --project greenhouse --days 30
      """)

  @OptionGroup var options: CertsOptions

  @Argument(help: ArgumentHelp("The device's name.", valueName: "name"))
  var name: String

  @Option(help: ArgumentHelp("The project that the device belongs to.", valueName: "name"))
  var project = "development"

  @Option(help: ArgumentHelp("How long the certificate is valid.", valueName: "days"))
  var days = 365

  func validate() throws {
    try CertsOptions.validate(days: days)
    try CertsOptions.validate(name: name, as: "The device's name")
    try CertsOptions.validate(name: project, as: "--project")
  }

  func run() throws {
    let identity = try options.issue(to: .device(name: name, project: project), days: days)
    let file = CertificateNames.fileName(ofDevice: name)
    try options.write(identity, certificate: "\(file).pem", key: "\(file).key")
    options.suggest("let it in:    ", "device-rpc devices add \(CertificateNames.quoted(name))", [("--certificate", "\(file).pem")])
    options.suggest(
      "be the device:", "coap-client-openssl -w -s 600 -A 50",
      [("-c", "\(file).pem"), ("-j", "\(file).key"), ("-C", CertsOptions.authority.certificate)],
      "coaps://127.0.0.1:5684/.rpc")
  }
}

extension CertsOptions {
  /// Issues a certificate with the CA in the directory.
  fileprivate func issue(to holder: DevelopmentCA.Holder, days: Int) throws -> DevelopmentCA.Identity {
    let names = Self.authority
    let make = ["device-rpc certs init", dirAgain].filter { !$0.isEmpty }.joined(separator: " ")
    guard directory.has(names.certificate) || directory.has(names.key) else {
      throw CommandFailure("there is no CA in \(dir); make one first: \(make)")
    }
    let certificate = try readText(directory.path(of: names.certificate))
    let key = try readText(directory.path(of: names.key))
    do {
      let authority = try DevelopmentCA(certificatePEM: certificate, keyPEM: key)
      let validity = validity(days: days)
      let end = authority.identity.certificate.notValidAfter
      guard validity.start < end else {
        throw DevelopmentCA.Unusable(reason: "the certificate has expired, at \(end.formatted(.iso8601))")
      }
      return try authority.issue(to: holder, validity: validity)
    } catch let error as DevelopmentCA.Unusable {
      throw CommandFailure("the CA in \(dir) cannot be used, \(error.reason); make a new one: \(make) --force")
    }
  }
}
