public import DeviceRPC
public import Logging

/// Devices in memory, for tests of a back end that calls devices: no network, no waiting.
///
/// ```swift
/// let devices = InMemoryDevices()
/// let server = DeviceRPCServer(devices)
/// try await server.start()
/// await devices.connect("sensor-1") { method, params in
///   method == "reboot" ? .ok() : .result(.notFound)
/// }
/// try await server.device("sensor-1").call("reboot")
/// ```
///
/// The server's clock stands still except for `advance(by:)`, so that a test decides when a deadline passes. The devices belong
/// to one server; its loops keep them until it is shut down. All methods may be called from anywhere except from a `Firmware`.
public final class InMemoryDevices: Sendable {
  let transport: InMemoryTransport

  /// - Parameter loops: the number of loops of the server, 1 or more; devices are assigned to them by their names.
  public init(loops: Int = 1) { transport = InMemoryTransport(loops: loops) }

  /// How a device reacts to a call.
  public enum Reaction: Sendable, Hashable {
    /// The device acknowledges the call and answers.
    case result(RPCStatus, RPCValue? = nil)
    /// The device acknowledges the call and never answers.
    case silence
    /// The message is lost: the call is neither acknowledged nor answered.
    case lost

    /// The device acknowledges the call and answers OK.
    public static func ok(_ detail: RPCValue? = nil) -> Reaction { .result(.ok, detail) }
  }

  /// The firmware of a device: called with the method and the parameters of each call, in the order in which they are sent.
  ///
  /// It runs on the server's loop and must not block. The parameters are sent as JSON, as for most firmware: a call with a byte
  /// string, NaN or an infinity fails with `CallError.invalidCall`.
  public typealias Firmware = @Sendable (_ method: String, _ params: RPCValue) -> Reaction

  /// Connects a device, and returns when it can be called. Before `DeviceRPCServer.start()`, the device connects at the start.
  ///
  /// A connected device of the same name is replaced, as if it had restarted.
  ///
  /// - Returns: false when the server has no room for another device, or has been shut down.
  @discardableResult
  public func connect(_ name: String, firmware: @escaping Firmware) async -> Bool {
    await transport.connect(name, FirmwareLink(name, firmware))
  }

  /// Disconnects a device, and returns when the server knows. Does nothing if the device is not connected.
  public func disconnect(_ name: String) async { await transport.disconnect(name) }

  /// Advances the server's clock, and ends the calls whose deadline has passed by then. Negative durations count as zero.
  public func advance(by duration: Duration) async { await transport.advance(by: duration) }
}

extension DeviceRPCServer {
  /// Creates a server whose devices are in memory.
  ///
  /// - Parameter journal: where persistent calls are kept; nil for in memory, by the clock that stands still.
  public convenience init(
    _ devices: InMemoryDevices, limits: Limits = Limits(), journal: (any CallJournal)? = nil,
    logger: Logger = Logger(label: "device-rpc")
  ) {
    let transport = devices.transport
    self.init(
      transport: transport, limits: limits, log: logger,
      journal: journal ?? InMemoryCallJournal(date: { [clock = transport.loops[0]] in clock.date }))
  }
}
