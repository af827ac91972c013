// ThingsBoard: ThingsBoard's device API for RPC on the wire: its paths, its JSON, its codes.
// Called by the CoAP endpoint for each request, and by the loops for each call.

internal import CoAP
internal import DeviceRPC

/// The settings for calls to devices with firmware for ThingsBoard's device API.
public struct ThingsBoardSettings: Sendable, Hashable {
  /// The longest encoded call, in bytes; a longer one fails with `CallError.invalidCall`. 65,536, as ThingsBoard's limit over HTTP. A
  /// call of more than 1,024 bytes travels block-wise (RFC 7959).
  public var maximumPayload = 65_536
  /// Calls that may be sent and not have ended; the next one waits until one of them has ended. 20, at least 1; `Int.max` for no
  /// limit, as ThingsBoard.
  public var unansweredCalls = 20

  public init() {}
}

/// ThingsBoard's RPC messages, as pure functions between bytes and values.
enum ThingsBoardCodec {
  /// What a path below `api/v1` means.
  enum Path: Equatable {
    /// `{token}/rpc`, or `rpc` of a device that its session has proved: a device observes it, and POSTs its own calls there.
    case rpc(token: String?)
    /// `{token}/rpc/{id}` or `rpc/{id}`: a device POSTs the result of a call there.
    case result(token: String?, id: String)
    /// Something else of ThingsBoard's device API, such as telemetry.
    case other(feature: String)

    static let root = "api/v1"

    /// - Parameter path: a path of a request, without a leading slash, with `/` and `%` percent-encoded inside its segments. Nil for
    ///   one that is not below `api/v1`.
    init?(_ path: String) {
      var segments = path.split(separator: "/", omittingEmptySubsequences: false).map { Self.decoded($0) }
      // Some clients put the whole path into one option, with or without a leading slash.
      if segments.count == 1, segments[0].contains("/") {
        segments = segments[0].split(separator: "/").map(String.init)
      }
      guard segments.count >= 2, segments[0] == "api", segments[1] == "v1" else { return nil }
      segments.removeFirst(2)
      // `rpc/12` is a result of a device without a token. (`CoapTransportResource.getFeatureType`)
      let hasToken = segments.count >= 2 && !(segments.count == 2 && Self.isNumber(segments[1]))
      let token = hasToken ? segments.removeFirst() : nil
      guard let feature = segments.first else { return nil }
      guard feature.lowercased() == "rpc", segments.count <= 2 else {
        self = .other(feature: segments.joined(separator: "/"))
        return
      }
      self = segments.count == 1 ? .rpc(token: token) : .result(token: token, id: segments[1])
    }

    private static func isNumber(_ text: String) -> Bool { !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) } }

    // Only these two are ever encoded.
    private static func decoded(_ segment: Substring) -> String {
      segment.contains("%") ? String(segment.replacing("%2F", with: "/").replacing("%25", with: "%")) : String(segment)
    }
  }

  /// `{"id":7,"method":"setGpio","params":{"pin":1}}`, with the members in this order, and nothing else. The id is the number of the
  /// call, since firmware reads a whole number.
  static func encode(_ call: Call, id: String, settings: ThingsBoardSettings) throws(CallError) -> [UInt8] {
    let number = PendingCalls<DeviceState, Never>.serial(in: id) ?? 0
    let message: RPCValue = ["id": .integer(Int64(number)), "method": .string(call.method), "params": call.params]
    var bytes: [UInt8] = []
    do throws(JSONWriteError) {
      try JSONWriter.write(message, to: &bytes)
    } catch {
      throw .invalidCall(error.description)
    }
    guard bytes.count <= settings.maximumPayload else {
      throw .invalidCall("the call is \(bytes.count) bytes long and the device takes \(settings.maximumPayload)")
    }
    return bytes
  }

  /// Why a payload cannot be read; the text goes back to the device.
  struct Malformed: Error, Equatable {
    let diagnostic: String
  }

  /// The result of a call: any JSON. ThingsBoard takes only an object over CoAP, and any text over HTTP; nothing is lost by taking
  /// any value here. An empty payload is no detail.
  static func result(_ payload: [UInt8]) throws(Malformed) -> RPCValue? { payload.isEmpty ? .none : try .some(json(payload)) }

  /// What a device asks of the server: `{"method":"getTime","params":{}}`. Without `params`, they are null.
  static func request(_ payload: [UInt8], from device: String) throws(Malformed) -> DeviceRequest {
    guard case .object(let object) = try json(payload), let method = object["method"]?.stringValue else {
      throw Malformed(diagnostic: "a call to the server is an object with method, a text, and params")
    }
    return DeviceRequest(device: device, method: method, params: object["params"] ?? .null)
  }

  private static func json(_ payload: [UInt8]) throws(Malformed) -> RPCValue {
    do throws(JSONError) {
      return try JSONReader.read(payload)
    } catch {
      throw Malformed(diagnostic: error.description)
    }
  }
}
