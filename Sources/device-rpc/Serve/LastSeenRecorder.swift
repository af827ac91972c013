internal import DeviceRPC
internal import DeviceRPCStore
internal import Foundation
internal import Logging
internal import ServiceLifecycle

/// Stores the times at which devices were last heard, for other commands and for when the server is not running.
struct LastSeenRecorder: Service {
  let server: DeviceRPCServer
  let store: DeviceStore
  let logger: Logger

  func run() async throws {
    var last = await cancelWhenGracefulShutdown {
      var record = Record()
      while (try? await Task.sleep(for: record.interval)) != nil { await write(&record) }
      return record
    }
    await write(&last)
  }

  private struct Record {
    var last: ContinuousClock.Instant?
    var interval = Duration.seconds(3)
    var problem: DeviceStoreError?
  }

  private func write(_ record: inout Record) async {
    let now = ContinuousClock.now
    // Slightly more than the time since the last write: a packet that arrived during that write would otherwise be missed.
    let times = await server.heard(within: record.last.map { now - $0 + .seconds(1) } ?? .seconds(86_400))
    // One write to the disk for all devices, and less often when there are so many that it takes long.
    record.interval = max(.seconds(3), .microseconds(300) * times.count)
    do throws(DeviceStoreError) {
      try await store.noteSeen(times)
      record.last = now
      record.problem = nil
    } catch {
      // Logged once, not every few seconds.
      guard record.problem != error else { return }
      record.problem = error
      logger.error("when devices were last seen is not kept", metadata: ["reason": "\(error)"])
    }
  }
}
