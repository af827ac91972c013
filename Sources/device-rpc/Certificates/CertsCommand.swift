internal import ArgumentParser
internal import DeviceRPC
internal import Foundation
internal import SwiftASN1
internal import X509

struct CertsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "certs",
    abstract: "Make certificates for development: a CA, servers and devices.",
    discussion: """
      Keys and certificates are of ECDSA over P-256, in PEM form, without passphrases. Private keys are readable to you \
      alone. Whoever has ca.key can pose as any device: this is for development, not for devices in the field.

      Examples:
        device-rpc certs init
        device-rpc certs issue server
        device-rpc certs issue device sensor-1
        device-rpc certs show certs/sensor-1.pem
      """,
    subcommands: [CertsInitCommand.self, CertsIssueCommand.self, CertsShowCommand.self])
}

/// The options of the commands that write certificates.
struct CertsOptions: ParsableArguments {
  /// The names of the CA's files.
  static let authority = (certificate: "ca.pem", key: "ca.key")

  @Option(help: ArgumentHelp("Where the CA is, and everything it issues.", valueName: "directory"), completion: .directory)
  var dir = "certs"

  @Option(
    help: ArgumentHelp(
      "Valid from this day or time in UTC, as 2026-01-31 or 2026-01-31T12:00:00Z, instead of from a day before now, "
        + "which is for devices with a slow clock. --days count from it.", valueName: "time"))
  var validFrom: CertificateTime?

  @Flag(help: "Replace files that exist.")
  var force = false

  var directory: CertificateDirectory { CertificateDirectory(path: dir) }

  func validate() throws {
    guard !dir.isEmpty else { throw ValidationError("--dir is the path of a directory.") }
  }

  func validity(days: Int) -> CertificateValidity { CertificateValidity(days: days, start: validFrom?.date) }

  static func validate(days: Int) throws {
    guard (1...36_500).contains(days) else { throw ValidationError("--days is a number from 1 to 36500.") }
  }

  static func validate(name: String, as argument: String) throws {
    guard name.unicodeScalars.count <= CertificateNames.longest else {
      throw ValidationError("\(argument) has at most \(CertificateNames.longest) characters.")
    }
    if let problem = DeviceName.problem(with: name) { throw ValidationError("\(argument) \(problem).") }
  }

  /// Writes a certificate and its key under these names, and prints what was written.
  func write(_ identity: DevelopmentCA.Identity, certificate: String, key: String) throws {
    try directory.write(
      [
        .init(name: key, text: identity.keyPEM, isPrivate: true),
        .init(name: certificate, text: try identity.certificatePEM, isPrivate: false),
      ], replacing: force)
    let output = Output()
    output.line("wrote \(directory.path(of: certificate)) and \(directory.path(of: key))")
    for line in try CertificateSummary(certificate: identity.certificate).lines() { output.line("  " + line) }
  }

  /// Prints a command to type next, with options that name files of the directory.
  func suggest(_ purpose: String, _ command: String, _ files: [(option: String, file: String)] = [], _ rest: String = "") {
    let words = files.map { "\($0) \(CertificateNames.quoted(directory.path(of: $1)))" }
    Output().line("\(purpose)  " + ([command] + words + [rest]).filter { !$0.isEmpty }.joined(separator: " "))
  }

  /// The `--dir` option, for a suggested command that needs it too.
  var dirAgain: String { dir == "certs" ? "" : "--dir \(CertificateNames.quoted(dir))" }
}

/// A day or a time in UTC.
struct CertificateTime: ExpressibleByArgument {
  let date: Date

  init?(argument: String) {
    let text = argument.contains("T") ? argument : argument + "T00:00:00Z"
    // Certificates store years of four digits, and the longest validity is added to this date.
    guard let date = try? Date(text, strategy: .iso8601), (0..<7_258_118_400).contains(date.timeIntervalSince1970) else {
      return nil
    }
    self.date = date
  }
}

struct CertsInitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init",
    abstract: "Make a CA for development: ca.pem, which all may see, and ca.key, which is yours alone.",
    discussion: """
      With --force a new CA takes the place of the old one, and nothing that the old one issued is trusted any more.

      Examples:
        device-rpc certs init
        device-rpc certs init --dir /tmp/certs --name "Bench 3" --days 30
      """)

  @OptionGroup var options: CertsOptions

  @Option(help: ArgumentHelp("What the CA is called in its certificate.", valueName: "name"))
  var name = "device-rpc development CA"

  @Option(help: ArgumentHelp("How long the CA is valid.", valueName: "days"))
  var days = 3_650

  func validate() throws {
    try CertsOptions.validate(days: days)
    try CertsOptions.validate(name: name, as: "--name")
  }

  func run() throws {
    let authority = try DevelopmentCA(name: name, validity: options.validity(days: days))
    try options.directory.create()
    let names = CertsOptions.authority
    try options.write(authority.identity, certificate: names.certificate, key: names.key)
    let words = options.dirAgain.isEmpty ? "" : " " + options.dirAgain
    options.suggest("for a server:", "device-rpc certs issue server\(words)")
    options.suggest("for a device:", "device-rpc certs issue device sensor-1\(words)")
  }
}

struct CertsShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Show what is in a certificate.",
    discussion: """
      Examples:
        device-rpc certs show certs/server.pem
      """)

  @Argument(help: ArgumentHelp("A file in PEM form, with one certificate or more.", valueName: "file"), completion: .file())
  var file: String

  func run() throws {
    let text = try readText(file)
    guard let documents = try? PEMDocument.parseMultiple(pemString: text), let first = documents.first else {
      throw CommandFailure("\(file) holds no certificate in PEM form")
    }
    let certificates = documents.filter { $0.discriminator == Certificate.defaultPEMDiscriminator }
    guard !certificates.isEmpty else { throw CommandFailure("\(file) holds a \(first.discriminator), not a certificate") }
    let output = Output()
    for (index, document) in certificates.enumerated() {
      guard let certificate = try? Certificate(pemDocument: document) else {
        throw CommandFailure("\(file): certificate \(index + 1) cannot be read")
      }
      if index > 0 { output.line("") }
      for line in try CertificateSummary(certificate: certificate).lines() { output.line(line) }
    }
  }
}
