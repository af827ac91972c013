public import DeviceRPC
public import Logging

/// Devices in the memory of a test, for back ends that call devices: no network, no waiting.
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
/// Time stands still but for `advance(by:)`, so that a test decides when a deadline passes. The devices belong to one
/// server; its loops keep them until it is shut down. All methods may be called from anywhere, but not by a device.
public final class InMemoryDevices: Sendable {
  let transport: InMemoryTransport

  /// - Parameter loops: over how many of the server's loops the devices are spread, by their names; 1 or more.
  public init(loops: Int = 1) { transport = InMemoryTransport(loops: loops) }

  /// What a device makes of a call.
  public enum Reaction: Sendable, Hashable {
    /// It acknowledges the call and answers.
    case result(RPCStatus, RPCValue? = nil)
    /// It acknowledges the call and never answers.
    case silence
    /// The message is lost: the call is neither acknowledged nor answered.
    case lost

    /// It acknowledges the call and answers OK.
    public static func ok(_ detail: RPCValue? = nil) -> Reaction { .result(.ok, detail) }
  }

  /// A device's firmware: gets the method and the parameters of each call, in the order in which they are sent.
  ///
  /// It runs on the server's loop and must not block. The parameters have travelled as JSON, as they do to most
  /// firmware: a byte string arrives as its base64 text.
  public typealias Firmware = @Sendable (_ method: String, _ params: RPCValue) -> Reaction

  /// Connects a device, and returns when it can be called; before the server is started, it connects at the start.
  ///
  /// A device of the same name that is connected has its connection replaced, as if it had restarted.
  ///
  /// - Returns: false when the server has no room for another device, or has been shut down.
  @discardableResult
  public func connect(_ name: String, firmware: @escaping Firmware) async -> Bool {
    await transport.connect(name, FirmwareLink(name, firmware))
  }

  /// Ends a device's connection, and returns when the server knows; does nothing when there is none.
  public func disconnect(_ name: String) async { await transport.disconnect(name) }

  /// Moves the server's clock, and ends the calls whose time is over by then. Negative durations count as zero.
  public func advance(by duration: Duration) async { await transport.advance(by: duration) }
}

extension DeviceRPCServer {
  /// A server whose devices live in memory.
  public convenience init(
    _ devices: InMemoryDevices, limits: Limits = Limits(), logger: Logger = Logger(label: "device-rpc")
  ) {
    self.init(transport: devices.transport, limits: limits, log: logger)
  }
}
