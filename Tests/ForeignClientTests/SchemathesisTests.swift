import Foundation
import Testing

/// Requests that schemathesis makes from the OpenAPI document, to `serve --http` with a simulated device behind it: nothing may be
/// answered that the document does not name, and what it does not allow must be refused.
///
/// By hand with more of them: `SCHEMATHESIS_EXAMPLES=500 SCHEMATHESIS_SEED=7 swift test --filter SchemathesisTests`.
@Suite(.timeLimit(.minutes(10))) struct SchemathesisTests {
  private static let resources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Resources")

  @Test(arguments: ["without keys", "with a key and a store"])
  func `nothing comes of any request that the document does not name`(_ access: String) async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let data = folder + "/data"
    var (store, headers): ([String], [String]) = ([], [])
    if access != "without keys" {
      store = ["--data", data, "--listen", "coap://127.0.0.1:0"]
      headers = ["--header", "x-api-key: \(try await addAPIKey("schemathesis", ["--admin"], in: data))"]
    }
    try await withProcess(deviceRPC, ["serve", "--http", "0"] + (store.isEmpty ? ["--port", "0"] : store)) { serve in
      let (coap, url) = try await serve.addresses()
      try await withProcess(deviceRPC, ["simulate", "--port", coap, "--quiet"]) { _ in
        _ = try await serve.line(with: "sensor-1 connected")
        let report = try await schemathesis(url, in: folder, headers)
        #expect(report.code == 0, "\(report.text)")
      }
    }
  }

  /// It leaves files in `folder`.
  private func schemathesis(_ url: String, in folder: String, _ options: [String]) async throws -> (code: Int32?, text: String) {
    let program = Self.resources.appendingPathComponent("../../../.build-python/bin/schemathesis").standardized.path
    guard FileManager.default.isExecutableFile(atPath: program) else { throw NotInstalled(what: "schemathesis") }
    let environment = ProcessInfo.processInfo.environment
    return try await withProcess(
      "/usr/bin/env",
      [
        "--chdir", folder, "SCHEMATHESIS_HOOKS=\(Self.resources.appendingPathComponent("schemathesis_hooks.py").path)", "PYTHONDONTWRITEBYTECODE=1", program,
        "--config-file", Self.resources.appendingPathComponent("schemathesis.toml").path, "run", url + "/v1/openapi.json", "--no-color",
        "--max-examples", environment["SCHEMATHESIS_EXAMPLES"] ?? "10", "--seed", environment["SCHEMATHESIS_SEED"] ?? "1",
      ] + options
    ) { process in
      let printed = await process.printed()
      return (await process.exitCode(), "\(printed.output)\n\(printed.error)")
    }
  }
}
