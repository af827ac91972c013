import DeviceRPC
import DeviceRPCTesting
import DeviceSimulator
import Synchronization

/// A call as a device has received it.
struct ReceivedCall: Sendable, Hashable {
  let method: String
  let params: [RPCValue]
}

/// A device that is connected through some door, with the calls that it has received.
final class ConformanceDevice: Sendable {
  let name: String
  private let memory: InMemoryDevices?
  private let received = Mutex<[ReceivedCall]>([])
  private let arrivals = AsyncStream.makeStream(of: Void.self)

  /// - Parameter memory: whose clock stands still; nil if the server's clock is the real one.
  init(_ name: String, memory: InMemoryDevices?) {
    self.name = name
    self.memory = memory
  }

  /// All calls, in the order in which they have arrived.
  var calls: [ReceivedCall] { received.withLock { $0 } }
  var methods: [String] { calls.map(\.method) }
  /// The first parameter of each call, as far as that is a whole number.
  var numbers: [Int] { calls.compactMap { $0.params.first?.intValue } }

  /// A call has arrived.
  func take(_ method: String, _ params: [RPCValue]) {
    received.withLock { $0.append(ReceivedCall(method: method, params: params)) }
    arrivals.continuation.yield()
  }

  /// Returns when so many calls have arrived.
  func untilCalls(_ count: Int) async throws {
    while calls.count < count {
      let arrival: Void? = await arrivals.stream.first(where: { _ in true })
      if arrival == nil { throw CancellationError() }
    }
  }

  /// Lets that time pass where the clock stands still. Elsewhere it passes by itself.
  func letPass(_ time: Duration) async { await memory?.advance(by: time) }

  /// What it does in memory.
  var firmware: InMemoryDevices.Firmware {
    { method, params in
      let list = params.arrayValue ?? [params]
      self.take(method, list)
      switch ConformanceFunctions.reply(to: method, list) {
      case .result(let status, let detail): return .result(status, detail)
      case .silence: return .silence
      }
    }
  }
}

/// The functions of the devices, the same at every door: `echo`, `add`, `fail`, and `hang`, which never answers.
enum ConformanceFunctions {
  enum Reply: Sendable {
    case result(RPCStatus, RPCValue)
    case silence
  }

  static func reply(to method: String, _ params: [RPCValue]) -> Reply {
    switch method {
    case "echo": .result(.ok, ["value": params.count == 1 ? params[0] : .array(params)])
    case "add": .result(.ok, ["value": .integer(sum(params))])
    case "fail": .result(RPCStatus(rawValue: params.first?.intValue ?? 13), ["error": params.last ?? .null])
    case "hang": .silence
    default: .result(.notFound, ["error": "there is no such function"])
    }
  }

  private static func sum(_ params: [RPCValue]) -> Int64 {
    params.reduce(Int64(0)) { $0 + Int64($1.intValue ?? 0) }
  }

  /// The functions for a simulated device.
  static var simulated: [String: SimulatedFunction] {
    var functions: [String: SimulatedFunction] = [:]
    for name in ["echo", "add", "fail", "hang"] { functions[name] = { await answer(name, $0) } }
    return functions
  }

  /// The result of a function. Of one that never answers it comes when the task is cancelled, and is not to be sent.
  static func answer(_ method: String, _ params: [SimulatedValue]) async -> SimulatedResult {
    switch reply(to: method, params.map { RPCValue($0) }) {
    case .result(let status, let detail):
      return SimulatedResult(status: status.rawValue, detail: SimulatedValue(detail))
    case .silence:
      await untilCancelled()
      return SimulatedResult(status: 1)
    }
  }

  private static func untilCancelled() async {
    let (stream, continuation) = AsyncStream.makeStream(of: Void.self)
    for await _ in stream {}
    // The stream must not end before.
    continuation.finish()
  }
}

extension RPCValue {
  init(_ value: SimulatedValue) {
    switch value {
    case .null: self = .null
    case .bool(let value): self = .bool(value)
    case .int(let value): self = .integer(value)
    case .double(let value): self = .double(value)
    case .text(let value): self = .string(value)
    case .bytes(let value): self = .bytes(value)
    case .array(let items): self = .array(items.map { RPCValue($0) })
    case .map(let members): self = .object(RPCObject(members.map { ($0.key, RPCValue($0.value)) }))
    }
  }
}

extension SimulatedValue {
  init(_ value: RPCValue) {
    switch value {
    case .null: self = .null
    case .bool(let value): self = .bool(value)
    case .integer(let value): self = .int(value)
    case .unsigned(let value): self = .double(Double(value))
    case .double(let value): self = .double(value)
    case .string(let value): self = .text(value)
    case .bytes(let value): self = .bytes(value)
    case .array(let items): self = .array(items.map { SimulatedValue($0) })
    case .object(let object): self = .map(object.map { Member($0.key, SimulatedValue($0.value)) })
    }
  }
}
