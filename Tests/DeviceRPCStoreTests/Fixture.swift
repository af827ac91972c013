import DeviceRPC
import DeviceRPCStore
import Foundation
import GRDB
import Logging
import Synchronization
import Testing

/// A directory that is not there yet, for the length of `body`.
func withDirectory<Result>(_ body: (String) async throws -> Result) async throws -> Result {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("devices-\(UUID().uuidString)").path
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try await body(path)
}

/// An open store in a new directory.
func withStore<Result>(_ body: (DeviceStore) async throws -> Result) async throws -> Result {
  try await withDirectory { directory in
    let store = try DeviceStore(directory: directory)
    defer { store.close() }
    return try await body(store)
  }
}

func key(_ text: String) throws -> DeviceCredential.Proof { .preSharedKey(try #require(DeviceKey(text.utf8))) }

/// A directory of that mode, whatever the umask is.
func makeDirectory(_ path: String, mode: mode_t = 0o700) throws {
  guard mkdir(path, mode) == 0, chmod(path, mode) == 0 else { throw POSIXError(.EIO) }
}

/// The permission bits of a file, nil when it is not there.
func mode(_ path: String) -> mode_t? {
  var status = stat()
  return stat(path, &status) == 0 ? status.st_mode & 0o7777 : nil
}

extension DeviceStore {
  var directory: String { URL(fileURLWithPath: path).deletingLastPathComponent().path }

  /// What SQLite says of the file: `ok`.
  func integrity() throws -> [String] {
    try DatabaseQueue(path: path).read { try String.fetchAll($0, sql: "PRAGMA integrity_check") }
  }
}

/// Waits for a change until what is looked at is as it should be.
func awaitChange(
  _ changes: inout AsyncStream<Void>.Iterator, until condition: () -> Bool
) async throws {
  while !condition() { try #require(await changes.next() != nil, "the store was closed") }
}

/// The lines that are logged.
final class RecordingLog: LogHandler {
  let lines = Mutex<[String]>([])
  private let news = AsyncStream.makeStream(of: String.self)

  var logLevel: Logger.Level {
    get { .trace }
    set {}
  }
  var metadata: Logger.Metadata {
    get { [:] }
    set {}
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { nil }
    set {}
  }

  func log(event: LogEvent) {
    lines.withLock { $0.append("\(event.message)") }
    news.continuation.yield("\(event.message)")
  }

  /// Waits for a line; those before it are passed over.
  func line(_ text: String) async { _ = await news.stream.first { $0 == text } }
}
