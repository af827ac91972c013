import Foundation
import Testing

/// ThingsBoard's own Python clients, against `serve --thingsboard`: what they do is in the script.
@Suite(.timeLimit(.minutes(3))) struct ThingsBoardRESTTests {
  private static let resources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Resources")

  @Test("tb-ce-client and tb-rest-client log in, add a device, and call it in each way")
  func clients() async throws {
    let python = Self.resources.appendingPathComponent("../../../.build-python/bin/python").standardized.path
    guard FileManager.default.isExecutableFile(atPath: python) else { throw NotInstalled(what: "tb-ce-client") }
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let data = folder + "/data"
    let (user, password) = ("tenant@thingsboard.org", "a long password")
    let added = try await withProcess(
      "/bin/sh", ["-c", #"printf '%s\n' "$3" | "$0" users add "$1" --data "$2""#, deviceRPC, user, data, password]
    ) { await $0.printed() }
    #expect(added == .init(output: "\(user) added to \(data)"))
    try await withProcess(
      deviceRPC, ["serve", "--thingsboard", "--data", data, "--listen", "coap://127.0.0.1:0", "--http", "0"]
    ) { serve in
      let (_, url) = try await serve.addresses()
      try await withProcess(
        "/usr/bin/env",
        ["PYTHONDONTWRITEBYTECODE=1", python, Self.resources.appendingPathComponent("thingsboard_clients.py").path, url, user, password]
      ) { clients in
        let printed = await clients.printed()
        #expect(printed.output == "ok", "\(printed)")
      }
    }
  }
}
