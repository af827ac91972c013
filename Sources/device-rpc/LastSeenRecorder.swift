internal import DeviceRPC
internal import DeviceRPCStore
internal import Foundation
internal import Logging
internal import ServiceLifecycle

/// Keeps the times at which devices were last heard in the store, for when the server is not running.
struct LastSeenRecorder: Service {
  // One write to the disk for all devices.
  private static let interval = Duration.seconds(60)

  let server: DeviceRPCServer
  let store: DeviceStore
  let logger: Logger

  func run() async throws {
    await cancelWhenGracefulShutdown {
      while (try? await Task.sleep(for: Self.interval)) != nil { await record() }
    }
    await record()
  }

  private func record() async {
    let times = await server.devices().map { ($0.name, $0.lastHeard) }
    do {
      try await store.noteSeen(Dictionary(times) { max($0, $1) })
    } catch {
      logger.error("when devices were last seen is not kept", metadata: ["reason": "\(error)"])
    }
  }
}
