internal import Synchronization

/// What a simulated device has besides its functions: eight pins, a switch, a slider and a lamp, as ThingsBoard's dashboards
/// control them.
///
/// Its methods are those that ThingsBoard's widgets call by default: `getGpioStatus` and `setGpioStatus`, `getValue` and
/// `setValue`, `getState` and `setState`, and `checkStatus`, which tells whether a pin is on. As in Golioth's firmware, results
/// are objects.
public final class SimulatedPanel: Sendable {
  fileprivate struct State {
    // A bit for each pin, pin 1 first.
    var pins: UInt8 = 0
    var value = SimulatedValue.bool(false)
    var state = SimulatedValue.int(0)
  }

  private let state = Mutex(State())

  public init() {}

  /// The result of a call; nil for a method that the panel does not have.
  public func result(_ method: String, _ params: [SimulatedValue]) -> SimulatedResult? {
    state.withLock { state in
      switch method {
      case "getGpioStatus": SimulatedResult(detail: state.gpioStatus)
      case "setGpioStatus": state.setPin(params)
      case "getValue": SimulatedResult(detail: ["value": state.value])
      case "setValue": Self.set(&state.value, params)
      case "getState": SimulatedResult(detail: ["value": state.state])
      case "setState": Self.set(&state.state, params)
      case "checkStatus": SimulatedResult(detail: ["value": .bool(state.pins != 0)])
      default: nil
      }
    }
  }

  /// Sets what one parameter says, which is true, false or a number, and returns it. The status is 3 for anything else.
  private static func set(_ value: inout SimulatedValue, _ params: [SimulatedValue]) -> SimulatedResult {
    guard params.count == 1 else { return .invalidArgument }
    switch params[0] {
    case .bool, .int, .double: value = params[0]
    default: return .invalidArgument
    }
    return SimulatedResult(detail: ["value": value])
  }
}

extension SimulatedPanel.State {
  /// Each pin by its number: `{"1": true, "2": false, …}`.
  fileprivate var gpioStatus: SimulatedValue { .map((1...8).map { .init("\($0)", .bool(pins & 1 << ($0 - 1) != 0)) }) }

  /// Sets a pin, `{"pin": 1, "enabled": true}`, and returns all. The status is 3 for anything else, and 11 for a pin that is not
  /// there.
  fileprivate mutating func setPin(_ params: [SimulatedValue]) -> SimulatedResult {
    guard params.count == 1, let number = params[0]["pin"]?.number, case .bool(let isEnabled) = params[0]["enabled"] else {
      return .invalidArgument
    }
    guard let pin = Int(exactly: number), (1...8).contains(pin) else { return .outOfRange }
    let bit: UInt8 = 1 << (pin - 1)
    pins = isEnabled ? pins | bit : pins & ~bit
    return SimulatedResult(detail: gpioStatus)
  }
}
