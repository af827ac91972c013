package import DeviceRPC
internal import Dispatch
package import FoundationEssentials
internal import Synchronization

/// A loop without its own thread, with a clock that stands still until a test advances it.
///
/// Jobs run one after the other on a serial queue, without delay; only alarms wait for `advance(by:)`.
package final class ManualLoop: LoopDriver {
  // Unchecked, because alarms are used on the queue only.
  private final class Alarms: @unchecked Sendable {
    var all: [Alarm] = []
  }

  private let queue = DispatchQueue(label: "manual-loop")
  private let time: Mutex<Duration>
  // The wall clock at zero of `time`.
  private let epoch: Mutex<Date>
  private let alarms = Alarms()
  private static let key = DispatchSpecificKey<ObjectIdentifier>()

  /// - Parameter start: the first time of the clock; not zero, so that nothing relies on that.
  package init(start: Duration = .seconds(1_000)) {
    time = Mutex(start)
    epoch = Mutex(Date(timeIntervalSince1970: 1_790_000_000))
    queue.setSpecific(key: Self.key, value: ObjectIdentifier(self))
  }

  package var now: Duration { time.withLock { $0 } }
  /// The wall clock; it advances with `now`, until it is set.
  package var date: Date { epoch.withLock { $0 }.addingTimeInterval(Double(now.components.seconds) + Double(now.components.attoseconds) * 1e-18) }
  package var isCurrent: Bool { DispatchQueue.getSpecific(key: Self.key) == ObjectIdentifier(self) }

  /// Sets the wall clock forward, or back if `seconds` is negative.
  package func setWallClock(forward seconds: Double) { epoch.withLock { $0 += seconds } }

  package func execute(_ action: @escaping @Sendable () -> Void) { queue.async(execute: action) }

  /// Returns when everything that was queued before has run.
  package func settle() async {
    await withCheckedContinuation { continuation in execute { continuation.resume() } }
  }

  /// Advances the clock, and fires the alarms that become due, earliest first and each at its own time. Must not be called from
  /// the loop's own jobs.
  package func advance(by duration: Duration) async {
    await withCheckedContinuation { continuation in
      execute {
        let target = self.now + max(duration, .zero)
        while let due = self.earliestAlarm, let deadline = due.deadline, deadline <= target {
          self.time.withLock { $0 = max($0, deadline) }
          due.fire()
        }
        self.time.withLock { $0 = target }
        continuation.resume()
      }
    }
  }

  package func makeAlarm(_ action: @escaping @Sendable () -> Void) -> any LoopAlarm {
    checkIsolated()
    let alarm = Alarm(loop: self, action: action)
    alarms.all.append(alarm)
    return alarm
  }

  private var earliestAlarm: Alarm? {
    alarms.all.filter { $0.deadline != nil }.min { ($0.deadline ?? .zero) < ($1.deadline ?? .zero) }
  }

  /// The number of alarms that are set.
  package var alarmCount: Int {
    get async {
      await withCheckedContinuation { continuation in
        execute { continuation.resume(returning: self.alarms.all.count { $0.deadline != nil }) }
      }
    }
  }

  private final class Alarm: LoopAlarm {
    private(set) var deadline: Duration?
    private unowned let loop: ManualLoop
    private let action: @Sendable () -> Void

    init(loop: ManualLoop, action: @escaping @Sendable () -> Void) {
      self.loop = loop
      self.action = action
    }

    func set(_ deadline: Duration?) {
      loop.checkIsolated()
      self.deadline = deadline
      // An alarm that is already due fires without a call of `advance(by:)`.
      if let deadline, deadline <= loop.now { loop.execute { [loop] in loop.fireOverdue() } }
    }

    func cancel() {
      deadline = nil
      loop.alarms.all.removeAll { $0 === self }
    }

    func fire() {
      deadline = nil
      action()
    }
  }

  private func fireOverdue() {
    while let due = earliestAlarm, let deadline = due.deadline, deadline <= now { due.fire() }
  }

  // MARK: SerialExecutor

  package func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { job.runSynchronously(on: self.asUnownedSerialExecutor()) }
  }

  package func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }
  package func checkIsolated() { precondition(isCurrent, "not on the manual loop") }
  package func isIsolatingCurrentContext() -> Bool? { isCurrent }
}
