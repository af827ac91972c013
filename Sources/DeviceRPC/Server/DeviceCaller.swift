// Server: `DeviceRPCServer`, the type that a back end uses, with its limits and events.
// The top layer of this module. The lower rooms use its limits and events; only `Device` uses the server.

internal import Logging

/// Whatever calls devices on behalf of others: the interface that HTTP, consoles and other front ends are built on.
///
/// `DeviceRPCServer` is one. Calls are objects here: a call is begun, looked at, waited for and cancelled by its `CallID`, from
/// anywhere and by anybody who knows it. Cancelling a task that waits ends the waiting and not the call.
public protocol DeviceCaller: Sendable {
  /// Begins a call, and returns it when it has ended or when `patience` is over, whichever is first.
  ///
  /// - Parameters:
  ///   - call: what is called.
  ///   - device: the name of the device.
  ///   - patience: how long to wait for the end: zero returns at once, nil waits for as long as it takes, which the deadlines
  ///     of the call bound.
  /// - Throws: `CallError` when the call was refused before it was entered, and so has no id. How a call ended that was
  ///   entered says `CallInfo.outcome`.
  nonisolated(nonsending) func begin(
    _ call: Call, on device: String, waiting patience: Duration?
  ) async throws(CallError) -> CallInfo

  /// Makes a persistent call, which is kept until it is done, and returns it when the journal has it. By default no calls are kept.
  ///
  /// - Parameters:
  ///   - call: what is called; its `wait` does not count.
  ///   - persistence: how long it is kept, and how often it may be sent.
  ///   - device: the name of the device, which need not have connected yet.
  /// - Throws: `CallError` when the call was refused, and so has no id: `.notKept` when there is no journal, or it cannot be
  ///   written to, `.limitExceeded` when it is full.
  nonisolated(nonsending) func submit(
    _ call: Call, _ persistence: CallPersistence, on device: String
  ) async throws(CallError) -> CallInfo

  /// Looks at a call, when it has ended or when `patience` is over. Nil when no such call is known, or it has ended and is not
  /// remembered: see `Limits.endedCalls`.
  nonisolated(nonsending) func info(of call: CallID, waiting patience: Duration?) async -> CallInfo?

  /// Ends a call as cancelled, and returns it. A call that has ended before stays as it is. Nil when no such call is known.
  ///
  /// A call that was sent may still be run by the device; its evidence tells.
  nonisolated(nonsending) func cancel(_ call: CallID) async -> CallInfo?

  /// The calls that a query asks for, newest first: of those that are open, those that are remembered, and persistent ones.
  nonisolated(nonsending) func calls(_ query: CallQuery) async -> [CallInfo]

  /// What is known of a device. Nil when it has never connected.
  nonisolated(nonsending) func info(of device: String) async -> DeviceInfo?

  /// The devices that a query asks for, in the order of their names.
  nonisolated(nonsending) func devices(_ query: DeviceQuery) async -> [DeviceInfo]

  /// What happens from now on, until the subscriber's task or the server ends. A subscriber that reads too slowly loses the oldest
  /// events.
  func events() -> AsyncStream<DeviceEvent>

  /// The same, for a subscriber that has to know when it has lost events. By default it is not told.
  ///
  /// - Parameter onLoss: called once for each event that was dropped, from any thread. It must not block.
  func events(onLoss: @escaping @Sendable () -> Void) -> AsyncStream<DeviceEvent>

  /// How things are: how many devices and calls there are, and how full the tables are.
  func status() async -> ServerStatus

  /// Sets the metrics that say how things are at a moment. By default there are none.
  func recordMetrics() async
}

extension DeviceCaller {
  public func recordMetrics() async {}

  nonisolated(nonsending) public func submit(
    _ call: Call, _ persistence: CallPersistence, on device: String
  ) async throws(CallError) -> CallInfo {
    throw .notKept(reason: "this server has no journal of calls")
  }

  public func events(onLoss: @escaping @Sendable () -> Void) -> AsyncStream<DeviceEvent> { events() }

  /// The calls to a device, or with nil to all devices, newest first.
  ///
  /// - Parameters:
  ///   - device: the name of the device.
  ///   - limit: how many at most.
  ///   - id: only calls that were made before this one; nil for the newest.
  nonisolated(nonsending) public func calls(
    of device: String? = nil, limit: Int = 100, before id: CallID? = nil
  ) async -> [CallInfo] {
    await calls(CallQuery(device: device, before: id, limit: limit))
  }
}

/// Which calls are asked for.
public struct CallQuery: Sendable, Hashable {
  /// Only calls to this device; nil for all devices.
  public var device: String?
  /// Only calls that are in one of these states.
  public var states: Set<CallInfo.State>
  /// Only persistent calls that are in one of these states; nil for all calls.
  public var persistentStates: Set<PersistentCall.State>?
  /// Only persistent calls with this reference, if `persistentStates` is set; nil for all.
  public var reference: String?
  /// Only calls that were made before this one, the last one of the page before; nil for the newest.
  public var before: CallID?
  /// How many at most.
  public var limit: Int

  public init(
    device: String? = nil, states: Set<CallInfo.State> = Set(CallInfo.State.allCases),
    persistentStates: Set<PersistentCall.State>? = nil, before: CallID? = nil, limit: Int = 100
  ) {
    self.device = device
    self.states = states
    self.persistentStates = persistentStates
    self.before = before
    self.limit = limit
  }
}

/// Which devices are asked for.
public struct DeviceQuery: Sendable, Hashable {
  /// Only devices in these states.
  public var states: Set<DeviceInfo.State>
  /// Only devices whose names begin with this text.
  public var prefix: String
  /// Only devices whose names come after this one: the last one of the page before. Devices that come and go meanwhile change
  /// nothing about the others.
  public var after: String?
  /// How many at most.
  public var limit: Int

  public init(
    states: Set<DeviceInfo.State> = Set(DeviceInfo.State.allCases), prefix: String = "", after: String? = nil,
    limit: Int = .max
  ) {
    self.states = states
    self.prefix = prefix
    self.after = after
    self.limit = limit
  }
}

extension DeviceRPCServer: DeviceCaller {
  nonisolated(nonsending) public func begin(
    _ call: Call, on device: String, waiting patience: Duration? = .zero
  ) async throws(CallError) -> CallInfo {
    try await directory.home(of: device).begin(call, on: device, waiting: patience)
  }

  nonisolated(nonsending) public func submit(
    _ call: Call, _ persistence: CallPersistence = CallPersistence(), on device: String
  ) async throws(CallError) -> CallInfo {
    try await directory.home(of: device).submit(call, persistence, on: device)
  }

  nonisolated(nonsending) public func info(of call: CallID, waiting patience: Duration? = .zero) async -> CallInfo? {
    let loop = directory.loop(of: call)
    if let info = await loop?.call(call, waiting: patience) { return info }
    guard let (kept, home) = await kept(call) else { return nil }
    // One that is open was made when there were more or fewer loops.
    if !kept.isOver, home !== loop, let info = await home.call(call, waiting: patience) { return info }
    return kept.info
  }

  @discardableResult
  nonisolated(nonsending) public func cancel(_ call: CallID) async -> CallInfo? {
    let loop = directory.loop(of: call)
    if let info = await loop?.delete(call) { return info }
    if let info = await loop?.cancel(call) { return info }
    // It may have been made when there were more or fewer loops.
    if let (kept, home) = await kept(call), !kept.isOver, let info = await home.delete(call) { return info }
    return await info(of: call)
  }

  /// Takes back a persistent call that is open, and has the journal show one that is over as deleted. False when there is no such
  /// call, or it cannot be written.
  nonisolated(nonsending) package func discard(_ call: CallID) async -> Bool {
    if await directory.loop(of: call)?.delete(call) != nil { return true }
    guard let (kept, home) = await kept(call) else { return false }
    if !kept.isOver { return await home.delete(call) != nil }
    var progress = kept.progress
    progress.state = .deleted
    let outcomes = try? await journal?.write([.update(call, revision: kept.revision, progress)])
    return outcomes == [.done]
  }

  // What the journal has of a call, and the home of its device.
  nonisolated(nonsending) private func kept(_ id: CallID) async -> (call: PersistentCall, home: DeviceLoop)? {
    do throws(CallJournalError) {
      return try await journal?.call(id).map { ($0, directory.home(of: $0.device)) }
    } catch {
      log.error("cannot read the journal of calls", metadata: ["error": "\(error)"])
      return nil
    }
  }

  nonisolated(nonsending) public func calls(_ query: CallQuery) async -> [CallInfo] {
    var all: [CallInfo] = []
    if query.persistentStates == nil {
      let loops = query.device.map { [directory.home(of: $0)] } ?? directory.loops
      for loop in loops { all += await loop.calls(query) }
    }
    do throws(CallJournalError) {
      if let journal { all += try await Self.kept(query, journal) }
    } catch {
      log.error("cannot read the journal of calls", metadata: ["error": "\(error)"])
    }
    return Array(all.sorted { $0.id > $1.id }.prefix(max(0, query.limit)))
  }

  nonisolated(nonsending) private static func kept(
    _ query: CallQuery, _ journal: any CallJournal
  ) async throws(CallJournalError) -> [CallInfo] {
    var kept: [CallInfo] = []
    var page = CallJournalQuery(
      device: query.device, states: query.persistentStates ?? Set(PersistentCall.State.allCases), reference: query.reference,
      before: query.before, limit: query.limit)
    while kept.count < query.limit {
      let found = try await journal.calls(page)
      kept += found.map(\.info).filter { query.states.contains($0.state) }
      guard found.count == page.limit, let last = found.last else { break }
      page.before = last.id
      // Some states are rare, so further looks are longer.
      page.limit = max(page.limit, 1_000)
    }
    return kept
  }

  nonisolated(nonsending) public func info(of device: String) async -> DeviceInfo? {
    await directory.home(of: device).device(device)
  }

  nonisolated(nonsending) public func devices(_ query: DeviceQuery) async -> [DeviceInfo] {
    var all: [DeviceInfo] = []
    for loop in directory.loops { all += await loop.devices(query) }
    return Array(all.sorted { $0.name < $1.name }.prefix(max(0, query.limit)))
  }
}
