// Requests: calls that devices make to the server, the functions that answer them, and their limits.
// The embedding program adds the functions; a transport asks for their results.

/// A call that a device makes to the server.
///
/// ThingsBoard calls it client-side RPC. Golioth's device API has no such request.
public struct DeviceRequest: Sendable, Hashable {
  /// The name of the device.
  public let device: String
  /// The name of the function.
  public let method: String
  /// The parameters, in any form; null when the device gave none.
  public let params: RPCValue

  public init(device: String, method: String, params: RPCValue = .null) {
    self.device = device
    self.method = method
    self.params = params
  }
}

/// Why a device did not get a result of its call. The description is sent to the device.
public enum DeviceRequestError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The request cannot be read.
  case malformed(String)
  /// There is no function of that name.
  case unknownMethod(String)
  /// The parameters do not have the form that the function takes.
  case invalidParams(String)
  /// The function has failed. Throw it from a function to say why; of other errors the device is told nothing but that it failed.
  case failed(String)
  /// The function has not returned within `Limits.deviceRequestTimeout`.
  case deadlineExceeded(Duration)
  /// The device, or all devices together, have as many calls under way as they may.
  case tooMany(limit: Int)
  /// The server is shutting down.
  case shuttingDown

  public var description: String {
    switch self {
    case .unknownMethod(let name): "this server has no function \"\(name.prefix(64))\""
    case .invalidParams(let reason): "the parameters are not those of the function: \(reason)"
    case .malformed(let reason), .failed(let reason): reason
    case .deadlineExceeded(let time): "the function has not returned within \(time.readable)"
    case .tooMany(let limit): "\(limit) calls are under way, as many as there may be"
    case .shuttingDown: "the server is shutting down"
    }
  }
}

extension DeviceRPCServer {
  /// Adds a function that devices can call; it replaces the one of the same name.
  ///
  /// ```swift
  /// server.handle("getTime") { _ in .double(Date().timeIntervalSince1970) }
  /// ```
  ///
  /// The function runs in a task of its own, which is cancelled at its deadline, `Limits.deviceRequestTimeout`, and when the server
  /// shuts down. It may call this and other devices. It may run more than once for one request of a device that repeats it.
  ///
  /// - Parameters:
  ///   - method: the name by which devices call it.
  ///   - body: returns the result. The device is told of a `DeviceRequestError` in its own words, and of any other error only that
  ///     the function has failed.
  public func handle(_ method: String, _ body: @escaping @Sendable (DeviceRequest) async throws -> RPCValue) {
    directory.requests.set(method, body)
  }

  /// Adds a function with typed parameters and a typed result.
  ///
  /// ```swift
  /// server.handle("sum", as: [Double].self) { numbers, _ in numbers.reduce(0, +) }
  /// ```
  ///
  /// A device whose parameters do not have that type is told so. `RPCValueDecoder` and `RPCValueEncoder` say how types are read and
  /// written.
  public func handle<Params: Decodable & Sendable, Value: Encodable & SendableMetatype>(
    _ method: String, as type: Params.Type, _ body: @escaping @Sendable (Params, DeviceRequest) async throws -> Value
  ) {
    directory.requests.set(method) { request in
      let params: Params
      do {
        params = try RPCValueDecoder().decode(type, from: request.params)
      } catch {
        throw DeviceRequestError.invalidParams("they are no \(type)")
      }
      return try RPCValueEncoder().encode(try await body(params, request))
    }
  }

  /// Removes a function; does nothing if there is none.
  public func removeHandler(_ method: String) { directory.requests.set(method, nil) }
}
