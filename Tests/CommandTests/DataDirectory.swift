import DeviceRPCStore
import Foundation
import Testing

/// A directory for a store, which is not there yet and is gone after the test.
struct DataDirectory {
  let directory: String

  func devices(_ arguments: String...) async throws -> Finished { try await devices(arguments) }

  func devices(_ arguments: [String]) async throws -> Finished { try await command(["devices"] + arguments) }

  func keys(_ arguments: String...) async throws -> Finished { try await keys(arguments) }

  func keys(_ arguments: [String]) async throws -> Finished { try await command(["keys"] + arguments) }

  func command(_ arguments: [String]) async throws -> Finished {
    try await run(arguments + ["--data", directory])
  }

  /// The JSON object that `device-rpc devices` prints.
  func object(_ arguments: String...) async throws -> [String: Any] { try Self.object(try await devices(arguments)) }

  /// The JSON object that `device-rpc keys` prints.
  func keyObject(_ arguments: String...) async throws -> [String: Any] { try Self.object(try await keys(arguments)) }

  private static func object(_ finished: Finished) throws -> [String: Any] {
    try #require(finished.output.count == 1, "\(finished.error)")
    return try #require(try JSONSerialization.jsonObject(with: Data(finished.output[0].utf8)) as? [String: Any])
  }

  func store() throws -> DeviceStore { try DeviceStore(directory: directory, creating: false) }
}

func withData<Result>(_ body: (DataDirectory) async throws -> Result) async throws -> Result {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("device-rpc-\(UUID())").path
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try await body(DataDirectory(directory: path))
}
