import DeviceRPC
import DeviceSimulator
import Testing

/// A way by which devices reach a server: a vendor's API over a transport, or none at all, in memory.
enum Door: Sendable, Hashable {
  case golioth(SimulatedFormat, SimulatedTransport)
  /// With an access token; over DTLS with a key instead, and without a token.
  case thingsBoardCoAP(SimulatedTransport)
  /// A device that asks for its calls, with an access token.
  case thingsBoardHTTP
  case memory

  /// How it becomes known that a call has arrived.
  enum Acknowledgements: Sendable {
    /// Each message is acknowledged.
    case each
    /// Only the answer to a ping tells, as over TCP.
    case ping
    /// Only a result tells.
    case none
  }

  /// The transport of CoAP; nil for a door without.
  var transport: SimulatedTransport? {
    switch self {
    case .golioth(_, let transport), .thingsBoardCoAP(let transport): transport
    case .thingsBoardHTTP, .memory: nil
    }
  }

  /// Whether the device has a key, for DTLS or TLS.
  var hasKey: Bool { transport == .coaps || transport == .coapsTCP }

  /// Whether the device has an access token.
  var hasToken: Bool {
    switch self {
    case .thingsBoardCoAP: !hasKey
    case .thingsBoardHTTP: true
    case .golioth, .memory: false
    }
  }

  // MARK: What it can express

  var acknowledgements: Acknowledgements {
    switch transport {
    case .coap?, .coaps?: .each
    case .coapTCP?, .coapsTCP?: .ping
    case nil: self == .memory ? .each : .none
    }
  }

  /// What is known of a one-way call that has ended well.
  var deliveryOfOneWay: Delivery { acknowledgements == .none ? .sentNoAck : .delivered }

  /// Whether a device can answer with another status than OK. In ThingsBoard's API any answer is a success.
  var hasStatuses: Bool {
    switch self {
    case .golioth, .memory: true
    case .thingsBoardCoAP, .thingsBoardHTTP: false
    }
  }

  /// How long a test waits for an answer that does not come.
  ///
  /// Longer over TCP, since the ping is sent when a quarter of the time is left, and over HTTP, where the device has to ask first: a
  /// busy machine must not be taken for a device that is not there.
  var silence: Duration {
    switch acknowledgements {
    case .each: .milliseconds(300)
    case .ping: .seconds(2)
    case .none: .seconds(1)
    }
  }

  /// How the server names the dialect of a device at this door.
  var dialect: String {
    switch self {
    case .golioth(let format, _): "Golioth, \(format.rawValue.uppercased())"
    case .thingsBoardCoAP: "ThingsBoard, JSON"
    case .thingsBoardHTTP: "ThingsBoard, HTTP"
    case .memory: "in memory"
    }
  }
}

extension Door: CaseIterable {
  static var allCases: [Door] {
    var all: [Door] = []
    for format in SimulatedFormat.allCases {
      for transport in SimulatedTransport.allCases { all.append(.golioth(format, transport)) }
    }
    all += [.thingsBoardCoAP(.coap), .thingsBoardCoAP(.coaps), .thingsBoardCoAP(.coapTCP), .thingsBoardHTTP, .memory]
    return all
  }
}

extension Door: CustomTestStringConvertible {
  var testDescription: String {
    switch self {
    case .golioth(let format, let transport): "Golioth/\(format.rawValue.uppercased()) over \(transport.rawValue)"
    case .thingsBoardCoAP(let transport): "ThingsBoard/CoAP over \(transport.rawValue)"
    case .thingsBoardHTTP: "ThingsBoard/HTTP"
    case .memory: "in memory"
    }
  }
}
