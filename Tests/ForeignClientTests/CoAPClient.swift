import Foundation

/// libcoap's command-line client. It prints payloads to standard output, a newline after each with `-w`, and the code
/// of an error with its diagnostic to standard error; its exit code is 0 for both.
enum CoAPClient {
  private static func executable() throws -> String {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin").split(separator: ":")
    // Debian has one for each TLS library, and one without.
    let name = "coap-client-openssl"
    for folder in folders where FileManager.default.isExecutableFile(atPath: "\(folder)/\(name)") {
      return "\(folder)/\(name)"
    }
    throw NotInstalled(what: name)
  }

  /// Observes calls for a device until `body` is done, but at most a minute. Starts when the server has said OK.
  static func observing<Result>(
    _ port: String, as name: String = "sensor-1", _ format: Format = .json, _ options: [String] = [],
    _ body: (ForeignProcess) async throws -> Result
  ) async throws -> Result {
    try await observing(at: "coap://127.0.0.1:\(port)/.rpc?ep=\(name)", format, options, body)
  }

  static func observing<Result>(
    at uri: String, _ format: Format = .json, _ options: [String] = [],
    _ body: (ForeignProcess) async throws -> Result
  ) async throws -> Result {
    try await attempting(at: uri, ["-A", format.number] + options) { client in
      let first = await client.bytes()
      guard first == (format == .json ? Array("\"OK\"".utf8) : [0x62, 0x4f, 0x4b]) else {
        throw Unexpected(first: first ?? [], printed: await client.printed())
      }
      return try await body(client)
    }
  }

  /// The same, whatever the server says.
  static func attempting<Result>(
    at uri: String, _ options: [String], _ body: (ForeignProcess) async throws -> Result
  ) async throws -> Result {
    try await withProcess(executable(), ["-w", "-s", "60"] + options + [uri], body)
  }

  /// One request, and all that is printed because of it.
  static func request(_ port: String, _ path: String, _ options: String...) async throws -> ForeignProcess.Printed {
    try await request(port, path, options)
  }

  static func request(_ port: String, _ path: String, _ options: [String]) async throws -> ForeignProcess.Printed {
    try await request(at: "coap://127.0.0.1:\(port)\(path)", options)
  }

  static func request(at uri: String, _ options: [String]) async throws -> ForeignProcess.Printed {
    try await withProcess(executable(), ["-B", "40"] + options + [uri]) { await $0.printed() }
  }

  /// POSTs a result; nothing is printed when it is accepted.
  static func post(
    _ port: String, _ text: String, _ format: Format = .json, _ options: [String] = []
  ) async throws -> ForeignProcess.Printed {
    try await post(port, file: Array(text.utf8), format, options)
  }

  /// POSTs a result from a file.
  static func post(
    _ port: String, file bytes: [UInt8], _ format: Format = .json, _ options: [String] = []
  ) async throws -> ForeignProcess.Printed {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try Data(bytes).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    let arguments =
      ["-B", "40", "-m", "post", "-t", format.number, "-f", file.path] + options
      + ["coap://127.0.0.1:\(port)/.rpc/status"]
    return try await withProcess(executable(), arguments) { await $0.printed() }
  }

  struct Unexpected: Error, CustomStringConvertible {
    let first: [UInt8]
    let printed: ForeignProcess.Printed
    var description: String { "not OK but \"\(String(decoding: first, as: UTF8.self))\", then \(printed)" }
  }
}
