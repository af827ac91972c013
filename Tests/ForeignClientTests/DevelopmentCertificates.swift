import DeviceRPCCoAP
import Foundation

/// A CA of its own and what it issues, made with `device-rpc certs`.
struct DevelopmentCertificates {
  let folder: String

  /// What the server proves itself with.
  var server: ServerCertificate {
    ServerCertificate(certificate: "\(folder)/server.pem", key: "\(folder)/server.key", trusted: "\(folder)/ca.pem")
  }

  /// Issues a certificate for a device. Returns the options with which `coap-client` uses it.
  func device(_ name: String = "sensor-1", _ options: String...) async throws -> [String] {
    try await certs(["issue", "device", name, "--force"] + options)
    return self.options(name.replacing("/", with: "%2F"))
  }

  /// The same with a certificate that `device-rpc certs` does not issue.
  func device(subject: String) async throws -> [String] {
    try await run(
      "/usr/bin/openssl",
      [
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject, "-CA",
        "\(folder)/ca.pem", "-CAkey", "\(folder)/ca.key", "-out", "\(folder)/other.pem", "-keyout", "\(folder)/other.key",
      ])
    return options("other")
  }

  private func options(_ file: String) -> [String] {
    ["-c", "\(folder)/\(file).pem", "-j", "\(folder)/\(file).key", "-C", "\(folder)/ca.pem"]
  }

  /// Puts files of another server in the place of this one's, in this order.
  func take(_ files: [KeyPath<ServerCertificate, String>], from others: DevelopmentCertificates) throws {
    for file in files {
      let contents = try Data(contentsOf: URL(fileURLWithPath: others.server[keyPath: file]))
      try contents.write(to: URL(fileURLWithPath: server[keyPath: file]), options: .atomic)
    }
  }

  fileprivate func certs(_ arguments: [String]) async throws {
    try await run(deviceRPC, ["certs"] + arguments + ["--dir", folder])
  }

  private func run(_ program: String, _ arguments: [String]) async throws {
    try await withProcess(program, arguments) { process in
      let printed = await process.printed()
      guard await process.exitCode() == 0 else { throw ForeignProcess.Ended(said: printed.error) }
    }
  }
}

/// A CA with a server's certificate in a folder that is gone after `body`.
func withCertificates<Result>(_ body: (DevelopmentCertificates) async throws -> Result) async throws -> Result {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
  defer { try? FileManager.default.removeItem(atPath: folder) }
  let certificates = DevelopmentCertificates(folder: folder)
  try await certificates.certs(["init"])
  try await certificates.certs(["issue", "server"])
  return try await body(certificates)
}
