package import Logging
internal import Metrics
internal import Synchronization

/// The functions that devices call, and the calls of them that are under way.
package final class DeviceRequests: Sendable {
  typealias Handler = @Sendable (DeviceRequest) async throws -> RPCValue
  package typealias Outcome = Result<RPCValue, DeviceRequestError>

  private struct State {
    var handlers: [String: Handler] = [:]
    // The tasks of the calls under way; nil for one whose task is about to be entered.
    var running: [UInt64: Task<Void, Never>?] = [:]
    var runningOf: [String: Int] = [:]
    var lastNumber: UInt64 = 0
    var isEnding = false
  }

  private let limits: Limits
  private let clock: any Clock<Duration>
  private let log: Logger
  private let state = Mutex(State())
  private let done = Counter(label: "device_rpc_device_requests_total", dimensions: [("outcome", "ok")])
  private let failed = Counter(label: "device_rpc_device_requests_total", dimensions: [("outcome", "failed")])
  private let refused = Counter(label: "device_rpc_device_requests_total", dimensions: [("outcome", "refused")])

  /// - Parameter clock: the clock of the deadlines.
  package init(limits: Limits = Limits(), clock: any Clock<Duration> = ContinuousClock(), log: Logger) {
    self.limits = limits
    self.clock = clock
    self.log = log
  }

  func set(_ method: String, _ handler: Handler?) { state.withLock { $0.handlers[method] = handler } }

  /// Runs the function that a device calls, and returns its result, at the latest at its deadline.
  ///
  /// A function that goes on after its deadline still counts as one of those that run.
  package func answer(_ request: DeviceRequest) async -> Outcome {
    let handler: Handler
    let number: UInt64
    do throws(DeviceRequestError) {
      (handler, number) = try begin(request)
    } catch {
      refused.increment()
      return .failure(error)
    }
    let outcome = await withCheckedContinuation { continuation in
      let answer = Answer(continuation)
      let limit = limits.deviceRequestTimeout
      let task = Task {
        let timer = Task {
          guard (try? await self.clock.sleep(for: limit)) != nil else { return }
          answer.give(.failure(.deadlineExceeded(limit)))
          self.cancel(number)
        }
        let outcome = await self.run(handler, request)
        timer.cancel()
        self.end(number, request.device)
        answer.give(outcome)
      }
      enter(task, number)
    }
    if case .failure(let error) = outcome {
      failed.increment()
      log.debug("call of a device has failed", metadata: ["device": "\(request.device)", "method": "\(request.method)", "reason": "\(error)"])
    } else {
      done.increment()
    }
    return outcome
  }

  private func begin(_ request: DeviceRequest) throws(DeviceRequestError) -> (Handler, UInt64) {
    let begun: Result<(Handler, UInt64), DeviceRequestError> = state.withLock { state in
      guard !state.isEnding else { return .failure(.shuttingDown) }
      guard let handler = state.handlers[request.method] else { return .failure(.unknownMethod(request.method)) }
      guard state.running.count < limits.deviceRequests else { return .failure(.tooMany(limit: limits.deviceRequests)) }
      let own = state.runningOf[request.device, default: 0]
      guard own < limits.deviceRequestsPerDevice else { return .failure(.tooMany(limit: limits.deviceRequestsPerDevice)) }
      state.runningOf[request.device] = own + 1
      state.lastNumber += 1
      state.running[state.lastNumber] = .some(nil)
      return .success((handler, state.lastNumber))
    }
    return try begun.get()
  }

  private func run(_ handler: Handler, _ request: DeviceRequest) async -> Outcome {
    do {
      return .success(try await handler(request))
    } catch let error as DeviceRequestError {
      return .failure(error)
    } catch is CancellationError {
      return .failure(isEnding ? .shuttingDown : .failed("the function was cancelled"))
    } catch {
      // What went wrong inside is nothing for a device.
      log.error(
        "function for devices has failed", metadata: ["method": "\(request.method)", "device": "\(request.device)", "error": "\(error)"])
      return .failure(.failed("the function \"\(request.method.prefix(64))\" has failed"))
    }
  }

  private func enter(_ task: Task<Void, Never>, _ number: UInt64) {
    let isEnding = state.withLock { state in
      // It may have ended already.
      if state.running[number] != nil { state.running[number] = .some(task) }
      return state.isEnding
    }
    if isEnding { task.cancel() }
  }

  private func end(_ number: UInt64, _ device: String) {
    state.withLock { state in
      state.running[number] = nil
      let left = state.runningOf[device, default: 1] - 1
      state.runningOf[device] = left > 0 ? left : nil
    }
  }

  private func cancel(_ number: UInt64) { state.withLock { $0.running[number] ?? nil }?.cancel() }

  private var isEnding: Bool { state.withLock(\.isEnding) }

  /// Cancels the calls under way, and refuses new ones.
  func close() {
    let tasks = state.withLock { state in
      state.isEnding = true
      return state.running.values.compactMap { $0 }
    }
    for task in tasks { task.cancel() }
  }

  /// The answer to a device, which is given once.
  private final class Answer: Sendable {
    private let continuation: Mutex<CheckedContinuation<Outcome, Never>?>

    init(_ continuation: CheckedContinuation<Outcome, Never>) { self.continuation = Mutex(continuation) }

    func give(_ outcome: Outcome) {
      let waiting = continuation.withLock { continuation in
        defer { continuation = nil }
        return continuation
      }
      waiting?.resume(returning: outcome)
    }
  }
}
