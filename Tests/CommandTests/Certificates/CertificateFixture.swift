import Foundation
import Testing

/// What a program printed, and its exit code.
struct Finished: Equatable {
  let output: [String]
  let error: [String]
  let code: Int32?

  var isSuccess: Bool { code == 0 }
}

/// Runs a program to its end; `device-rpc` when none is named.
func run(program: String? = nil, _ arguments: [String]) async throws -> Finished {
  let command = try RunningCommand(program: program, arguments)
  defer { command.send(SIGKILL) }
  let output = await command.rest()
  let error = await command.rest(.error)
  return Finished(output: output, error: error, code: await command.exitCode())
}

/// A directory for certificates that is gone after the test.
struct Certificates {
  let directory: URL

  func path(_ name: String) -> String { directory.appendingPathComponent(name).path }

  /// `device-rpc certs …` for this directory.
  func certs(_ arguments: String...) async throws -> Finished {
    try await run(["certs"] + arguments + ["--dir", directory.path])
  }

  /// As `certs`, where a failure is none of the test's business.
  func make(_ arguments: String...) async throws {
    let finished = try await run(["certs"] + arguments + ["--dir", directory.path])
    try #require(finished.isSuccess, "\(finished.error)")
  }

  /// `openssl verify` of a certificate, against the CA of this directory.
  func verify(_ name: String, _ options: String..., in other: Certificates? = nil) async throws -> Finished {
    try await run(
      program: "openssl", ["verify", "-x509_strict", "-CAfile", path("ca.pem")] + options + [(other ?? self).path(name)])
  }

  /// The one line that `openssl` prints of a certificate.
  func read(_ name: String, _ options: String...) async throws -> String {
    try await run(program: "openssl", ["x509", "-noout", "-in", path(name)] + options).output.joined(separator: "\n")
  }

  var files: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: directory.path)) ?? []).sorted() }

  func mode(_ name: String) throws -> Int? {
    (try FileManager.default.attributesOfItem(atPath: path(name))[.posixPermissions] as? NSNumber)?.intValue
  }

  func text(_ name: String) throws -> String { try String(contentsOfFile: path(name), encoding: .utf8) }
}

func withCertificates<Result>(_ body: (Certificates) async throws -> Result) async throws -> Result {
  let parent = FileManager.default.temporaryDirectory.appendingPathComponent("device-rpc-\(UUID())")
  defer { try? FileManager.default.removeItem(at: parent) }
  return try await body(Certificates(directory: parent.appendingPathComponent("certs")))
}
