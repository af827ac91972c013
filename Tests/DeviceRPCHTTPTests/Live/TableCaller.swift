import Foundation

@testable import DeviceRPC
@testable import DeviceRPCHTTP

/// A caller that knows one device and one call. What comes of a call is what its method says: `ok`, `open`, or a kind of problem.
struct TableCaller: DeviceCaller {
  static let known = CallID(milliseconds: 1_790_000_000_000, instance: 7, serial: 0x74e4)

  func status() async -> ServerStatus { ServerStatus(devices: [.observing: 1], tables: [.init(.devices, used: 1, limit: 10)]) }

  /// The kinds of problems that a call may end with.
  static let failures: [ProblemKind] = [
    .unknownDevice, .offline, .invalidCall, .limitExceeded, .notSent, .undelivered, .unconfirmed, .unanswered, .rejected, .unreadable,
    .revoked, .cancelled, .shuttingDown,
  ]

  private static func error(_ kind: ProblemKind?, _ device: String) -> CallError? {
    let reason = "the test wants it"
    return switch kind {
    case .unknownDevice: .unknownDevice(device)
    case .offline: .offline(device)
    case .invalidCall: .invalidCall(reason)
    case .limitExceeded: .limitExceeded(reason)
    case .notSent: .notSent(device: device, reason: reason)
    case .undelivered: .undelivered(device: device, reason: reason)
    case .unconfirmed: .unconfirmed(device: device, after: .seconds(5))
    case .unanswered: .unanswered(device: device, after: .seconds(5))
    case .rejected: .rejected(device: device, reason: reason)
    case .unreadable: .garbled(device: device, reason: reason)
    case .revoked: .revoked(device: device, reason: reason, delivery: .delivered)
    case .cancelled: .cancelled(.delivered)
    case .shuttingDown: .shuttingDown(.delivered)
    case .notKept: .notKept(reason: reason)
    case .expired: .expired(device: device, delivery: .notSent)
    default: nil
    }
  }

  private static func info(_ call: Call, on device: String) -> CallInfo {
    let isOpen = call.method == "open"
    let evidence = CallEvidence(.delivered, sentAfter: .zero, acknowledgedAfter: .zero, resultAfter: isOpen ? nil : .zero)
    let result = CallResult(id: "m/74e4", device: device, method: call.method, status: .ok, detail: nil, evidence: evidence)
    return CallInfo(
      id: known, wireID: "m/74e4", device: device, call: call, state: isOpen ? .acknowledged : .ended, created: eventTime,
      ended: isOpen ? nil : eventTime, outcome: isOpen ? nil : .result(result), evidence: evidence)
  }

  func begin(_ call: Call, on device: String, waiting patience: Duration?) async throws(CallError) -> CallInfo {
    if let error = Self.error(ProblemKind(rawValue: call.method), device) { throw error }
    return Self.info(call, on: device)
  }

  func submit(_ call: Call, _ persistence: CallPersistence, on device: String) async throws(CallError) -> CallInfo {
    try await begin(call, on: device, waiting: .zero)
  }

  func info(of call: CallID, waiting patience: Duration?) async -> CallInfo? {
    call == Self.known ? Self.info(Call("ok"), on: "known") : nil
  }

  func cancel(_ call: CallID) async -> CallInfo? { await info(of: call, waiting: nil) }
  func calls(_ query: CallQuery) async -> [CallInfo] { [Self.info(Call("ok"), on: "known")] }
  func info(of device: String) async -> DeviceInfo? { device == "known" ? .test(device) : nil }
  func devices(_ query: DeviceQuery) async -> [DeviceInfo] { [.test("known")] }
  func events() -> AsyncStream<DeviceEvent> { AsyncStream { _ in } }
}
