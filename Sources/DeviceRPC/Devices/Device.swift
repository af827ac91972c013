/// A handle to call functions on the device with this name.
///
/// ```swift
/// let product = try await server.device("sensor-1").call("multiply", 7, 191).detail
/// ```
public struct Device: Sendable {
  public let name: String
  private let server: DeviceRPCServer

  init(name: String, server: DeviceRPCServer) {
    self.name = name
    self.server = server
  }

  /// The state of the device; nil when it has never connected and no call waits for it.
  public var info: DeviceInfo? {
    get async { await server.info(of: name) }
  }

  /// Calls a function and returns its result.
  ///
  /// - Parameters:
  ///   - method: the name of the function that the firmware registered.
  ///   - params: positional parameters: values of Swift's own types, or `RPCValue`.
  ///   - timeout: how long to wait for the result, from when the device can be reached; nil for `Limits.defaultTimeout`.
  ///   - wait: how long to wait for a device that is not connected; zero fails at once.
  /// - Throws: `CallError`; `.refused` when the device's status is not OK.
  @discardableResult
  nonisolated(nonsending) public func call(
    _ method: String, _ params: any RPCParameter..., timeout: Duration? = nil, wait: Duration = .zero
  ) async throws(CallError) -> CallResult {
    try await perform(
      Call(method, params: .array(params.map(\.rpcValue)), timeout: timeout, wait: wait))
  }

  /// Calls a function and decodes the detail of its result as `type`.
  ///
  /// - Throws: `CallError`; `.refused` when the device's status is not OK, `.unreadableResult` when the detail is not a `Result`.
  nonisolated(nonsending) public func call<Result: Decodable>(
    _ method: String, _ params: any RPCParameter..., as type: Result.Type, timeout: Duration? = nil,
    wait: Duration = .zero
  ) async throws(CallError) -> Result {
    let result = try await perform(
      Call(method, params: .array(params.map(\.rpcValue)), timeout: timeout, wait: wait))
    do {
      return try RPCValueDecoder().decode(type, from: result.detail ?? .null)
    } catch {
      throw .unreadableResult(result, reason: "it is not a \(type): \(error)")
    }
  }

  /// Calls a function without waiting for its result: returns when the device has acknowledged the call.
  ///
  /// An acknowledged call may not have run yet. The device's result is ignored.
  ///
  /// - Throws: `CallError`; `.undelivered` when no acknowledgement came in time; `.unconfirmed` when the device's connection has
  ///   no acknowledgements, as over TCP, and the device does not answer the ping sent instead (RFC 8323 §5.4).
  nonisolated(nonsending) public func callOneWay(
    _ method: String, _ params: any RPCParameter..., timeout: Duration? = nil, wait: Duration = .zero
  ) async throws(CallError) {
    _ = try await perform(
      Call(
        method, params: .array(params.map(\.rpcValue)), timeout: timeout, wait: wait, isOneWay: true))
  }

  /// Makes a call that is kept until it is done, also while the device is away and over restarts of the server, and returns it
  /// when the journal has it. `DeviceRPCServer.info(of:waiting:)` tells what has become of it.
  ///
  /// - Parameters:
  ///   - call: what is called; its `wait` does not count.
  ///   - expires: how long the device has time for it.
  ///   - attempts: how often it may be sent, if it is repeatable; nil for any number of times.
  ///   - repeatable: whether the device may run it more than once. If not, what the device may have run is never sent again.
  /// - Throws: `CallError` when it is refused; `.notKept` when the journal cannot be written to.
  @discardableResult
  nonisolated(nonsending) public func submit(
    _ call: Call, expires: Duration = .seconds(86_400), attempts: Int? = nil, repeatable: Bool = false
  ) async throws(CallError) -> CallInfo {
    try await server.submit(call, CallPersistence(expires: expires, attempts: attempts, isRepeatable: repeatable), on: name)
  }

  nonisolated(nonsending) private func perform(_ call: Call) async throws(CallError) -> CallResult {
    let result = try await server.perform(call, on: name)
    guard result.status == .ok else { throw .refused(result) }
    return result
  }
}

/// A type whose values can be parameters of a call.
public protocol RPCParameter {
  var rpcValue: RPCValue { get }
}

extension RPCValue: RPCParameter {
  public var rpcValue: RPCValue { self }
}

extension Bool: RPCParameter {
  public var rpcValue: RPCValue { .bool(self) }
}

extension String: RPCParameter {
  public var rpcValue: RPCValue { .string(self) }
}

extension Double: RPCParameter {
  public var rpcValue: RPCValue { .double(self) }
}

extension Float: RPCParameter {
  public var rpcValue: RPCValue { .double(Double(self)) }
}

extension RPCParameter where Self: FixedWidthInteger {
  public var rpcValue: RPCValue { RPCValue(self) }
}

extension Int: RPCParameter {}
extension Int8: RPCParameter {}
extension Int16: RPCParameter {}
extension Int32: RPCParameter {}
extension Int64: RPCParameter {}
extension UInt: RPCParameter {}
extension UInt8: RPCParameter {}
extension UInt16: RPCParameter {}
extension UInt32: RPCParameter {}
extension UInt64: RPCParameter {}

extension Array: RPCParameter where Element: RPCParameter {
  public var rpcValue: RPCValue { .array(map(\.rpcValue)) }
}

extension Dictionary: RPCParameter where Key == String, Value: RPCParameter {
  /// An object with its members sorted by key, so that the same call always has the same encoding.
  public var rpcValue: RPCValue {
    .object(RPCObject(sorted { $0.key < $1.key }.map { ($0.key, $0.value.rpcValue) }))
  }
}

extension Optional: RPCParameter where Wrapped: RPCParameter {
  public var rpcValue: RPCValue { self?.rpcValue ?? .null }
}
