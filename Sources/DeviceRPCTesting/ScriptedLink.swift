package import DeviceRPC
internal import Synchronization

/// A link that only records what is transmitted; the test decides what happens to it.
package final class ScriptedLink: InMemoryLink {
  /// A call that was sent.
  package struct Transmission: Sendable, Hashable {
    package let serial: UInt32
    package let message: CallMessage
    package var id: String { message.id }
  }

  private struct State {
    // Weak, since the home loop keeps its links.
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
  // Unchecked, because it is used by the home loop only.
  package nonisolated(unsafe) var record: DeviceRecord?
  private let refuses: @Sendable (Call) -> String?
  private let state = Mutex(State())

  /// - Parameters:
  ///   - address: the address of the device; nil for one in memory, with its name.
  ///   - window: how many messages may be under way unacknowledged.
  ///   - unansweredWindow: how many calls may be sent and not have ended.
  ///   - acknowledgement: how it learns that its messages have arrived.
  ///   - answersProbes: whether the device answers probes by itself.
  ///   - refuses: returns why a call cannot be encoded; nil when it can.
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

  // MARK: Records

  package var transmissions: [Transmission] { state.withLock { $0.all } }
  package var methods: [String] { transmissions.map(\.message.method) }
  package var isReplaced: Bool { state.withLock { $0.isReplaced } }
  /// The number of times that a call was encoded, whether or not it was sent.
  package var encodings: Int { state.withLock { $0.encoded } }

  /// The calls for which `confirm(_:)` was called.
  package var confirmed: [UInt32] { state.withLock { $0.confirmed } }

  /// The number of probes.
  package var probes: Int { state.withLock { $0.probes } }
  /// The reasons with which the home loop has ended this link.
  package var endings: [String] { state.withLock { $0.endings } }

  /// Waits for the next transmission that was not taken yet, and returns it.
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

  // MARK: Reactions

  package func acknowledge(_ transmission: Transmission) async {
    heard()
    await home?.acknowledged(transmission.serial, on: self)
  }

  package func fail(_ transmission: Transmission, _ failure: LinkFailure) async {
    await home?.failed(transmission.serial, on: self, failure)
  }

  /// The device sends a result that cannot be read.
  package func garble(_ id: String?, _ reason: String) async {
    heard()
    await home?.unreadable(id: id, reason: reason, on: self)
  }

  package func answer(_ transmission: Transmission, _ status: RPCStatus = .ok, _ detail: RPCValue? = nil) async {
    heard()
    await home?.received(id: transmission.id, status: status, detail: detail, from: name)
  }

  /// A probe ends, answered or not.
  package func endProbe(isAnswered: Bool) async {
    if isAnswered { heard() }
    await home?.probeEnded(isAnswered: isAnswered, on: self)
  }

  /// A packet of the device arrives; the home loop is notified only if it has asked for it.
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
