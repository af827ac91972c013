/// A function of a simulated device, from the parameters of a call to its result.
///
/// It may suspend. When the device ends, its task is cancelled, and the result is not sent.
public typealias SimulatedFunction = @Sendable ([SimulatedValue]) async -> SimulatedResult

/// The result of a function of a device.
public struct SimulatedResult: Sendable, Hashable {
  /// A number of `golioth_rpc_status`: 0 is OK, the others are gRPC's codes.
  public var status: Int
  /// The result's value; nil omits it from the message.
  public var detail: SimulatedValue?

  public init(status: Int = 0, detail: SimulatedValue? = nil) {
    self.status = status
    self.detail = detail
  }

  static let invalidArgument = SimulatedResult(status: 3)
  static let notFound = SimulatedResult(status: 5)
  static let outOfRange = SimulatedResult(status: 11)
  static let internalError = SimulatedResult(status: 13)
}

/// The functions that a simulated device has by default.
public enum SimulatedFunctions {
  /// `multiply`, `echo`, `sleep` and `fail`, under these names.
  public static let standard: [String: SimulatedFunction] = [
    "multiply": multiply, "echo": echo, "sleep": sleep, "fail": fail,
  ]

  /// Returns `{"value": product}` of two numbers, like the sample in Golioth's firmware SDK.
  ///
  /// The status is 3 for anything but two numbers, and 11 if the product is not finite. The sample accepts floats only; this
  /// function also accepts integers.
  @Sendable public static func multiply(_ params: [SimulatedValue]) async -> SimulatedResult {
    guard params.count == 2, let left = params[0].number, let right = params[1].number else {
      return .invalidArgument
    }
    let product = left * right
    return product.isFinite ? SimulatedResult(detail: ["value": .double(product)]) : .outOfRange
  }

  /// Returns `{"value": …}` with the parameter, or with the list of all parameters if there is not exactly one.
  @Sendable public static func echo(_ params: [SimulatedValue]) async -> SimulatedResult {
    SimulatedResult(detail: ["value": params.count == 1 ? params[0] : .array(params)])
  }

  /// Returns `{"slept": seconds}` after that many seconds, 0 to 3,600; status 3 for anything else.
  @Sendable public static func sleep(_ params: [SimulatedValue]) async -> SimulatedResult {
    guard params.count == 1, let seconds = params[0].number, (0...3_600).contains(seconds) else {
      return .invalidArgument
    }
    // The sleep is cancelled only when the device ends, and then the result is not sent.
    try? await Task.sleep(for: .seconds(seconds))
    return SimulatedResult(detail: ["slept": params[0]])
  }

  /// Returns the first parameter as the status, 13 by default, and `{"error": text}` with the second parameter, if that is text.
  @Sendable public static func fail(_ params: [SimulatedValue]) async -> SimulatedResult {
    guard let first = params.first else { return failure(13, nil) }
    guard let number = first.number, let status = Int(exactly: number) else { return .invalidArgument }
    return failure(status, params.count > 1 ? params[1] : nil)
  }

  private static func failure(_ status: Int, _ text: SimulatedValue?) -> SimulatedResult {
    if case .text = text { return SimulatedResult(status: status, detail: ["error": text ?? .null]) }
    return SimulatedResult(status: status, detail: ["error": "failed, as it was asked to"])
  }
}

extension SimulatedValue: ExpressibleByStringLiteral {
  public init(stringLiteral value: String) { self = .text(value) }
}
