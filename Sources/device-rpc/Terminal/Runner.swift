internal import Glibc
internal import Logging
internal import ServiceLifecycle
internal import UnixSignals

/// Runs services until somebody ends them.
struct Runner {
  private let group: ServiceGroup
  private let ending: @Sendable () -> Void

  /// `ending` is called once, when the end begins. Services end in the reverse order, one after the other.
  init(_ services: [any Service], logger: Logger, ending: @escaping @Sendable () -> Void) {
    group = ServiceGroup(services: services, logger: logger)
    self.ending = ending
  }

  /// Returns after the first SIGINT or SIGTERM, after `time`, or when `isOver` returns, and when everything has ended.
  /// A second signal ends the process at once, with the exit code that a shell gives to such an end.
  func run(for time: Duration? = nil, until isOver: (@Sendable () async -> Void)? = nil) async throws {
    // The group's own handling of signals has no second stage.
    let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm)
    try await withThrowingTaskGroup(of: Void.self) { tasks in
      let (reasons, reason) = AsyncStream.makeStream(of: Void.self)
      tasks.addTask {
        var isFirst = true
        for await signal in signals {
          guard isFirst else { exit(128 + signal.rawValue) }
          isFirst = false
          reason.yield()
        }
      }
      tasks.addTask {
        guard let isOver else { return }
        await isOver()
        if !Task.isCancelled { reason.yield() }
      }
      tasks.addTask {
        guard let time, (try? await Task.sleep(for: time)) != nil else { return }
        reason.yield()
      }
      tasks.addTask {
        guard await reasons.first(where: { true }) != nil else { return }
        ending()
        await group.triggerGracefulShutdown()
      }
      defer { tasks.cancelAll() }
      try await group.run()
    }
  }
}
