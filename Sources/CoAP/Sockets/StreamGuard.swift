// For `timespec`, which belongs to this module when it is built before Glibc's.
internal import CLibcoap
internal import Glibc
internal import Synchronization

/// Ends a connection that keeps libcoap busy for too long.
///
/// libcoap continues to read from a connection as long as each read fills its buffer (`coap_read_session`). One peer that
/// sends faster than its messages are handled would block the loop, and all devices on it, forever. libcoap cannot be
/// interrupted meanwhile. A second thread checks ten times a second whether the loop is reading from a connection. If so, it
/// checks more often whether it is still the same one. When that has taken too much processor time, it shuts the connection
/// down: the kernel then answers what arrives with a reset, and reading ends.
final class StreamGuard: Sendable {
  private struct State {
    var descriptor: Int32 = -1
    var turn: UInt64 = 0
    var isOver = false
  }

  /// Nanoseconds of processor time that the messages of one connection may take without a pause. 50 ms are about 50,000
  /// messages.
  private static let patience: UInt64 = 50_000_000

  private let state = Mutex(State())
  private let clock: clockid_t

  /// Must be called on the loop's thread.
  init() throws(CoAPSystemError) {
    var clock = clockid_t()
    guard pthread_getcpuclockid(pthread_self(), &clock) == 0 else { throw CoAPSystemError("pthread_getcpuclockid") }
    self.clock = clock
    pthread_detach(try startThread("stream-guard") { [self] in run() })
  }

  /// Ends the thread within a tenth of a second. The loop must live until this is called, because its clock is read.
  func stop() { state.withLock { $0.isOver = true } }

  /// Runs `body`, in which libcoap reads from `descriptor`.
  func watch(_ descriptor: Int32, _ body: () -> Void) {
    state.withLock { state in
      state.descriptor = descriptor
      state.turn += 1
    }
    body()
    state.withLock { $0.descriptor = -1 }
  }

  private func run() {
    var seen: UInt64 = 0
    var start: UInt64 = 0
    var isReading = false
    while true {
      usleep(isReading ? 10_000 : 100_000)
      let isOver = state.withLock { state in
        guard !state.isOver else { return true }
        isReading = state.descriptor >= 0
        guard isReading else { return false }
        if state.turn != seen {
          (seen, start) = (state.turn, processorTime())
        } else if processorTime() > start + Self.patience {
          shutdown(state.descriptor, Int32(SHUT_RDWR))
          state.descriptor = -1
        }
        return false
      }
      if isOver { return }
    }
  }

  // The processor time of the loop's thread, and not the time of day: other threads may have kept the machine busy.
  private func processorTime() -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
