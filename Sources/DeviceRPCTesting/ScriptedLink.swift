package import DeviceRPC
internal import Synchronization

/// A link that does nothing by itself: it keeps what is transmitted, and the test says what becomes of it.
package final class ScriptedLink: InMemoryLink {
  /// A call that has left.
  package struct Transmission: Sendable, Hashable {
    package let serial: UInt32
    package let message: CallMessage
    package var id: String { message.id }
  }

  private struct State {
    // Weak because the home keeps its links.
    weak var home: DeviceLoop?
    var all: [Transmission] = []
    var taken = 0
    var readers: [CheckedContinuation<Transmission, Never>] = []
    var encoded = 0
    var confirmed: [UInt32] = []
    var isReplaced = false
    var probes = 0
    var endings: [String] = []
    var lastHeard: Duration = .zero
    var isAwaited = false
  }

  package let name: String
  package let address: String
  package let window: Int
  package let unansweredWindow: Int
  package let acknowledgement: Acknowledgement
  private let answersProbes: Bool
  // Unchecked because it is touched by the home loop only.
  package nonisolated(unsafe) var record: DeviceRecord?
  private let refuses: @Sendable (Call) -> String?
  private let state = Mutex(State())

  /// - Parameters:
  ///   - address: where the device is; nil: in memory, under its name.
  ///   - window: how many messages may be under way unacknowledged.
  ///   - unansweredWindow: how many calls the device may have that it has not answered.
  ///   - acknowledgement: what it learns of the arrival of its messages.
  ///   - answersProbes: whether it gives a sign of life by itself when it is asked.
  ///   - refuses: why a call cannot be encoded; nil when it can.
  package init(
    _ name: String, address: String? = nil, window: Int = 1, unansweredWindow: Int = .max,
    acknowledgement: Acknowledgement = .each, answersProbes: Bool = true,
    refuses: @escaping @Sendable (Call) -> String? = { _ in nil }
  ) {
    self.name = name
    self.address = address ?? "memory:\(name)"
    self.window = window
    self.unansweredWindow = unansweredWindow
    self.acknowledgement = acknowledgement
    self.answersProbes = answersProbes
    self.refuses = refuses
  }

  // MARK: What the test sees

  package var transmissions: [Transmission] { state.withLock { $0.all } }
  package var methods: [String] { transmissions.map(\.message.method) }
  package var isReplaced: Bool { state.withLock { $0.isReplaced } }
  /// How many times a call was encoded, whether or not it left.
  package var encodings: Int { state.withLock { $0.encoded } }

  /// The calls of which it was asked whether they have arrived.
  package var confirmed: [UInt32] { state.withLock { $0.confirmed } }

  /// How often it was asked for a sign of life.
  package var probes: Int { state.withLock { $0.probes } }
  /// Why the home loop has given it up.
  package var endings: [String] { state.withLock { $0.endings } }

  /// The next transmission that has not been taken; waits for it.
  package func next() async -> Transmission {
    await withCheckedContinuation { continuation in
      let ready: Transmission? = state.withLock { state in
        guard state.taken < state.all.count else {
          state.readers.append(continuation)
          return nil
        }
        defer { state.taken += 1 }
        return state.all[state.taken]
      }
      if let ready { continuation.resume(returning: ready) }
    }
  }

  // MARK: What the test says

  package func acknowledge(_ transmission: Transmission) async {
    heard()
    await home?.acknowledged(transmission.serial, on: self)
  }

  package func fail(_ transmission: Transmission, _ failure: LinkFailure) async {
    await home?.failed(transmission.serial, on: self, failure)
  }

  /// The device sends something for a result that cannot be read.
  package func garble(_ id: String?, _ reason: String) async {
    heard()
    await home?.unreadable(id: id, reason: reason, on: self)
  }

  package func answer(_ transmission: Transmission, _ status: RPCStatus = .ok, _ detail: RPCValue? = nil) async {
    heard()
    await home?.received(id: transmission.id, status: status, detail: detail, from: name)
  }

  /// The end of a probe.
  package func endProbe(isAnswered: Bool) async {
    if isAnswered { heard() }
    await home?.probeEnded(isAnswered: isAnswered, on: self)
  }

  /// A packet of the device of which the home loop is told only if it has asked to be.
  package func heard() {
    let wasAwaited = state.withLock { state in
      state.lastHeard = state.home?.driver.now ?? .zero
      defer { state.isAwaited = false }
      return state.isAwaited
    }
    if wasAwaited { home?.noteHeard(on: self) }
  }

  private var home: DeviceLoop? { state.withLock { $0.home } }

  // MARK: DeviceLink

  package func attach(to home: DeviceLoop) {
    state.withLock { $0.home = home }
    heard()
  }

  package var dialect: String { "scripted" }
  package var lastHeard: Duration { state.withLock { $0.lastHeard } }

  package func encode(_ call: Call, id: String) throws(CallError) -> [UInt8] {
    state.withLock { $0.encoded += 1 }
    if let reason = refuses(call) { throw .invalidCall(reason) }
    return try CallMessage(call, id: id).encoded()
  }

  package func transmit(_ payload: [UInt8], serial: UInt32) {
    guard let message = CallMessage(payload) else { return }
    let transmission = Transmission(serial: serial, message: message)
    let reader: CheckedContinuation<Transmission, Never>? = state.withLock { state in
      state.all.append(transmission)
      guard let reader = state.readers.first else { return nil }
      state.readers.removeFirst()
      state.taken += 1
      return reader
    }
    reader?.resume(returning: transmission)
  }

  package func confirm(_ serial: UInt32) { state.withLock { $0.confirmed.append(serial) } }

  package func tellWhenHeard() { state.withLock { $0.isAwaited = true } }

  package func probe() {
    state.withLock { $0.probes += 1 }
    guard answersProbes else { return }
    heard()
    home?.noteProbeEnded(isAnswered: true, on: self)
  }

  package func end(_ reason: String) { state.withLock { $0.endings.append(reason) } }

  package func replaced(by newer: any DeviceLink) { state.withLock { $0.isReplaced = true } }
}
