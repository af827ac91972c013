import DeviceRPC
import DeviceRPCTesting
import Logging
import Testing

typealias Outcome = Result<CallResult, CallError>

let silentLog = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

extension Limits {
  /// Open calls end at once when the server does.
  static func testing(_ change: (inout Limits) -> Void = { _ in }) -> Limits {
    var limits = Limits()
    limits.grace = .zero
    change(&limits)
    return limits
  }
}

/// A started server over manual loops, shut down afterwards. Nothing of it may be left then.
func withServer(
  loops: Int = 1, limits: Limits = .testing(), log: Logger = silentLog,
  _ body: (DeviceRPCServer, InMemoryTransport) async throws -> Void
) async throws {
  weak var leakedServer: DeviceRPCServer?
  weak var leakedTransport: InMemoryTransport?
  do {
    let transport = InMemoryTransport(loops: loops)
    let server = DeviceRPCServer(transport: transport, limits: limits, log: log, firstSerial: 0x74e4)
    try await server.start()
    try await body(server, transport)
    await server.shutdown()
    (leakedServer, leakedTransport) = (server, transport)
  }
  // A task that has just ended may hold its server for a moment yet.
  for _ in 0..<10_000 where leakedServer != nil || leakedTransport != nil { await Task.yield() }
  #expect(leakedServer == nil)
  #expect(leakedTransport == nil)
}

extension DeviceCredential {
  /// With a key that nobody else has.
  static func ofDevice(_ name: String) throws -> DeviceCredential {
    DeviceCredential(device: name, identity: "\(name)@lab", proof: .preSharedKey(try #require(DeviceKey("key of \(name)".utf8))))
  }
}

extension DeviceRPCServer {
  func outcome(_ call: Call, on device: String = "sensor-1") async -> Outcome {
    do throws(CallError) { return .success(try await perform(call, on: device)) } catch { return .failure(error) }
  }

  /// A call under way.
  func launch(_ call: Call, on device: String = "sensor-1") -> Task<Outcome, Never> {
    Task { await self.outcome(call, on: device) }
  }

  func openCalls(of device: String = "sensor-1") async -> Int { await self.device(device).info?.openCalls ?? 0 }
}

extension InMemoryTransport {
  /// A device whose messages the test answers for.
  func scripted(
    _ name: String = "sensor-1", address: String? = nil, window: Int = 1, unansweredWindow: Int = .max,
    acknowledgement: Acknowledgement = .each, answersProbes: Bool = true,
    refuses: @escaping @Sendable (Call) -> String? = { _ in nil }
  ) async -> ScriptedLink {
    let link = ScriptedLink(
      name, address: address, window: window, unansweredWindow: unansweredWindow, acknowledgement: acknowledgement,
      answersProbes: answersProbes, refuses: refuses)
    await connect(name, link)
    return link
  }
}

extension InMemoryTransport {
  /// How much the private collections of that name hold on all loops: their bounds are a promise, but nobody else's
  /// business.
  func stored(_ path: String...) async -> Int {
    var count = 0
    for loop in directory?.loops ?? [] { count += await loop.stored(path) }
    return count
  }
}

extension DeviceLoop {
  fileprivate func stored(_ path: [String]) -> Int {
    var value: Any? = self
    for label in path { value = value.flatMap { Mirror(reflecting: $0).descendant(label) } }
    return (value as? any Collection)?.count ?? 0
  }
}

/// Lets other tasks run until the condition holds; the time limit of the suite ends it otherwise.
func until(_ condition: () async -> Bool) async {
  while await !condition() { await Task.yield() }
}

extension Result where Failure == CallError {
  var error: CallError? { if case .failure(let error) = self { error } else { nil } }
}

extension Outcome {
  var detail: RPCValue? { (try? get())?.detail }
  var isOK: Bool { (try? get())?.status == .ok }
}

/// What is known of a device, in words.
func presence(_ server: DeviceRPCServer, _ name: String = "sensor-1") async -> String {
  guard let info = await server.device(name).info else { return "unknown" }
  return "\(info.state.rawValue): \(info.evidence)"
}

/// What the events say of a device, one after the other.
func told(_ events: AsyncStream<DeviceEvent>) async -> [String] {
  var told: [String] = []
  for await event in events {
    switch event {
    case .online: told.append("online")
    case .offline(_, let reason): told.append("offline: \(reason)")
    case .quiet(let info): told.append("quiet: \(info.evidence)")
    case .heardAgain(let info): told.append("heard again: \(info.state.rawValue)")
    default: break
    }
  }
  return told
}
