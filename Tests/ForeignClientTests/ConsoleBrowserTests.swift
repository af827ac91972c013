import Foundation
import Testing

/// The console in a real browser: Chromium, driven by selenium, in front of `serve --http` with simulated devices. What is looked
/// at is in `console.py`.
///
/// By hand with pictures of all views: `CONSOLE_SCREENSHOTS=folder swift test --filter ConsoleBrowserTests`.
@Suite(.timeLimit(.minutes(10))) struct ConsoleBrowserTests {
  private static let resources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Resources")
  private static let count = 10_000
  private static let fleet = 500

  @Test func `the console shows and calls devices, and survives a restart of the server`() async throws {
    try await withProcess(deviceRPC, ["serve", "--port", "0", "--http", "0"]) { large in
      let (coap, url) = try await large.addresses()
      // Several processes, since each device needs a descriptor, and one process may not be allowed so many.
      var fleets: [ForeignProcess] = []
      defer { for fleet in fleets { fleet.send(SIGKILL) } }
      for number in 0..<Self.count / Self.fleet {
        fleets.append(
          try ForeignProcess(
            deviceRPC, ["simulate", "--port", coap, "--name", "fleet-\(number)-", "--devices", "\(Self.fleet)", "--quiet"]))
      }
      for fleet in fleets { _ = try await fleet.line(with: "\(Self.fleet) devices connected") }
      try await look(["--large", url, "--count", "\(Self.count)", "--restart"])
    }
  }

  @Test func `the console asks for a key where one is needed`() async throws {
    let data = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
    defer { try? FileManager.default.removeItem(atPath: data) }
    let key = try await addAPIKey("console", ["--call", "--read", "--admin"], in: data)
    try await withProcess(deviceRPC, ["devices", "add", "valve-1", "--data", data]) { process in
      _ = await process.printed()
      #expect(await process.exitCode() == 0)
    }
    try await look(["--api-key", key, "--registered", "valve-1"], serving: ["--data", data])
  }

  /// Runs `console.py` with a server that has `sensor-1` and had `pump-1`.
  private func look(_ options: [String], serving more: [String] = []) async throws {
    let python = Self.resources.appendingPathComponent("../../../.build-python/bin/python").standardized.path
    guard FileManager.default.isExecutableFile(atPath: python) else { throw NotInstalled(what: "selenium") }
    let screenshots = ProcessInfo.processInfo.environment["CONSOLE_SCREENSHOTS"].map { ["--screenshots", $0] } ?? []
    let first = try ForeignProcess(deviceRPC, serve(coap: "0", http: "0", more))
    defer { first.send(SIGKILL) }
    let (coap, url) = try await first.addresses()
    try await withProcess(deviceRPC, ["simulate", "--port", coap, "--name", "pump-1"]) { pump in
      // The device must know of it, too: before that, it has nothing to deregister, and is offline only after two minutes of silence.
      _ = try await pump.line(with: "pump-1 connected")
      pump.send(SIGTERM)
      _ = try await first.line(with: "pump-1 disconnected")
    }
    try await withProcess(deviceRPC, ["simulate", "--port", coap, "--quiet"]) { _ in
      _ = try await first.line(with: "sensor-1 connected")
      try await withProcess(python, ["-B", Self.resources.appendingPathComponent("console.py").path, url] + options + screenshots) { browser in
        var report: [String] = []
        var second: ForeignProcess?
        defer { second?.send(SIGKILL) }
        while let bytes = await browser.bytes() {
          let line = String(decoding: bytes, as: UTF8.self)
          report.append(line)
          guard line == "restart?" else { continue }
          first.send(SIGTERM)
          _ = await first.exitCode()
          let port = try #require(url.split(separator: ":").last)
          second = try ForeignProcess(deviceRPC, serve(coap: coap, http: String(port), more))
          if let second { _ = try await second.addresses() }
          browser.type("restarted")
        }
        let error = await browser.printed().error
        #expect(await browser.exitCode() == 0, "\((report.filter { !$0.hasPrefix("ok ") } + [error]).joined(separator: "\n"))")
        #expect(report.contains { $0.hasPrefix("ok ") })
      }
    }
  }

  private func serve(coap: String, http: String, _ more: [String]) -> [String] {
    let listen = more.isEmpty ? ["--port", coap] : ["--listen", "coap://127.0.0.1:\(coap)"]
    return ["serve", "--http", http, "--max-payload", "1048576"] + listen + more
  }
}
