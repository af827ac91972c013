internal import Glibc
internal import Logging
internal import ServiceLifecycle
internal import UnixSignals

/// Runs services until a signal, a time limit or a condition ends them.
struct Runner {
  private let group: ServiceGroup
  private let ending: @Sendable () -> Void

  /// `ending` is called once, when the shutdown begins. Services are shut down in reverse order, one after the other.
  init(_ services: [any Service], logger: Logger, ending: @escaping @Sendable () -> Void) {
    group = ServiceGroup(services: services, logger: logger)
    self.ending = ending
  }

  /// Shuts down after the first SIGINT or SIGTERM, after `time`, or when `isOver` returns, and returns when all services have
  /// ended. A second signal ends the process at once, with the exit code that a shell uses for that signal.
  func run(for time: Duration? = nil, until isOver: (@Sendable () async -> Void)? = nil) async throws {
    // The signal handling of `ServiceGroup` does not treat a second signal differently.
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
