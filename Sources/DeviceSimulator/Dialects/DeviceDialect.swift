// Dialects: what the vendors' devices say differently, read and written from the vendors' documents.
// Pure: a dialect makes and reads messages, and sends none. `DeviceSession` knows only the protocol.

internal import CoAP

/// The device API that a simulated device speaks.
public enum SimulatedDialect: String, Sendable, CaseIterable {
  /// Golioth's, as its firmware SDK speaks it.
  case golioth
  /// ThingsBoard's over CoAP, with payloads in JSON.
  case thingsboard
}

/// What a device of one vendor says, and what it understands.
protocol DeviceDialect: Sendable {
  /// The GET that registers for calls. The same with another Observe option deregisters.
  var observeRequest: CoAPClientRequest { get }

  /// What a device sends when it has heard nothing for a while; nil if the vendor has no such request.
  var keepAliveRequest: CoAPClientRequest? { get }

  /// Why a successful first answer with the Observe option is not that of the vendor's server; nil if it is.
  func problem(withFirst answer: CoAPResponse) -> String?

  /// Reads a call. Throws why a device would acknowledge and drop the message.
  func call(in notification: CoAPResponse) throws(NoCall) -> SimulatedCall

  /// The request that has the result of a call.
  func request(_ result: SimulatedResult, of call: SimulatedCall) -> CoAPClientRequest
}

/// A call as it arrived.
struct SimulatedCall: Sendable, Hashable {
  var id: String
  var method: String
  var params: [SimulatedValue]
}

/// Why a message is not a call: the rest of a sentence.
struct NoCall: Error, Hashable {
  let reason: String

  init(_ reason: String) { self.reason = reason }
}

extension SimulatedDevice {
  var messages: any DeviceDialect {
    switch dialect {
    case .golioth: GoliothDialect(self)
    case .thingsboard: ThingsBoardDialect(self)
    }
  }
}
