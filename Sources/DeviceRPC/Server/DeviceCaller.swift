// Server: `DeviceRPCServer`, the type that a back end uses, with its limits and events.
// The top layer of this module. The lower rooms use its limits and events; only `Device` uses the server.

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

  /// Looks at a call, when it has ended or when `patience` is over. Nil when no such call is known, or it has ended and is not
  /// remembered: see `Limits.endedCalls`.
  nonisolated(nonsending) func info(of call: CallID, waiting patience: Duration?) async -> CallInfo?

  /// Ends a call as cancelled, and returns it. A call that has ended before stays as it is. Nil when no such call is known.
  ///
  /// A call that was sent may still be run by the device; its evidence tells.
  nonisolated(nonsending) func cancel(_ call: CallID) async -> CallInfo?

  /// The calls to a device, or with nil to all devices, newest first: those that are open and those that are remembered.
  ///
  /// - Parameters:
  ///   - device: the name of the device.
  ///   - limit: how many at most.
  ///   - id: only calls that were made before this one; nil for the newest.
  nonisolated(nonsending) func calls(of device: String?, limit: Int, before id: CallID?) async -> [CallInfo]

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

  public func events(onLoss: @escaping @Sendable () -> Void) -> AsyncStream<DeviceEvent> { events() }
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

  nonisolated(nonsending) public func info(of call: CallID, waiting patience: Duration? = .zero) async -> CallInfo? {
    await directory.loop(of: call)?.call(call, waiting: patience)
  }

  @discardableResult
  nonisolated(nonsending) public func cancel(_ call: CallID) async -> CallInfo? {
    await directory.loop(of: call)?.cancel(call)
  }

  nonisolated(nonsending) public func calls(
    of device: String? = nil, limit: Int = 100, before id: CallID? = nil
  ) async -> [CallInfo] {
    if let device { return await directory.home(of: device).calls(of: device, limit: limit, before: id) }
    var all: [CallInfo] = []
    for loop in directory.loops { all += await loop.calls(of: nil, limit: limit, before: id) }
    return Array(all.sorted { $0.id > $1.id }.prefix(max(0, limit)))
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
