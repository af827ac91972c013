import Foundation

/// A device in Python, with aiocoap for CoAP and cbor2 for CBOR.
enum AioCoAPDevice {
  /// Runs the device until `body` is done, from the moment at which the server has answered its observation.
  static func observing<Result>(
    _ port: String, as name: String = "sensor-1", _ format: Format = .cbor,
    _ body: (ForeignProcess) async throws -> Result
  ) async throws -> Result {
    try await observing(at: "coap://127.0.0.1:\(port)", ["--name", name], format, body)
  }

  static func observing<Result>(
    at uri: String, _ options: [String], _ format: Format = .cbor, _ body: (ForeignProcess) async throws -> Result
  ) async throws -> Result {
    let here = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    let python = here.appendingPathComponent("../../.build-python/bin/python").standardized.path
    guard FileManager.default.isExecutableFile(atPath: python) else { throw NotInstalled(what: "aiocoap") }
    let script = here.appendingPathComponent("Resources/device.py").path
    return try await withProcess(
      python, ["-B", script, uri, "--format", format.rawValue] + options
    ) { device in
      let first = try await device.line()
      guard first == "observing 2.05 Content \(format.number) \(format == .json ? "224f4b22" : "624f4b")" else {
        throw Unexpected(description: first)
      }
      return try await body(device)
    }
  }

  struct Unexpected: Error, CustomStringConvertible {
    let description: String
  }
}
