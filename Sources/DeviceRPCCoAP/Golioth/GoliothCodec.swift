internal import CBOR
internal import CoAP
internal import DeviceRPC

/// The settings for calls to devices with Golioth's firmware.
public struct GoliothSettings: Sendable, Hashable {
  /// How numbers are encoded in CBOR.
  public enum Numbers: Sendable, Hashable {
    /// Every number is sent as a CBOR double, the only kind that stock firmware reads (`zcbor_float_decode` in
    /// golioth-firmware-sdk; its sample `multiply` answers INVALID_ARGUMENT to integers).
    case floats
    /// Integers are sent as integers, other numbers as doubles.
    case asWritten
  }

  /// How numbers are sent in CBOR; in JSON they are always sent as written. `.floats` by default.
  public var numbers = Numbers.floats
  /// The longest encoded call, in bytes; a longer one fails with `CallError.invalidCall`. 1,096.
  ///
  /// The default fits the datagram size of stock firmware, which has no block-wise transfer and silently drops longer messages.
  /// For a device with block-wise transfer (RFC 7959) it may be as large as the device's buffer.
  public var maximumPayload = 1_096
  /// Calls that may be sent and not have ended; the next one waits until one of them has ended, by its result, its deadline or
  /// its cancellation. 5, at least 1; `Int.max` for no limit.
  ///
  /// Stock firmware acknowledges a call before its result is sent. It keeps 10 to 20 requests of its own in a queue, of which
  /// cloud logging takes one or more per call, and silently drops what does not fit.
  public var unansweredCalls = 5

  public init() {}
}

/// Golioth's RPC messages, as pure functions between bytes and values.
enum GoliothCodec {
  enum Format: Sendable {
    case json
    case cbor

    init?(_ format: ContentFormat) {
      switch format {
      case .json: self = .json
      case .cbor: self = .cbor
      default: return nil
      }
    }

    var contentFormat: ContentFormat { self == .json ? .json : .cbor }
    var name: String { self == .json ? "JSON" : "CBOR" }
  }

  /// The first answer to an observation: the text `OK`. Firmware expects exactly this.
  static func established(_ format: Format) -> [UInt8] {
    format == .json ? establishedJSON : establishedCBOR
  }

  // One copy for all devices.
  private static let establishedJSON = Array("\"OK\"".utf8)
  private static let establishedCBOR: [UInt8] = [0x62, 0x4f, 0x4b]

  /// `{"id":…,"method":…,"params":[…]}`. Throws `CallError.invalidCall` for what the firmware would drop silently.
  static func encode(
    _ call: Call, id: String, format: Format, settings: GoliothSettings
  ) throws(CallError) -> [UInt8] {
    guard case .array = call.params else {
      throw .invalidCall("params must be a list: Golioth firmware drops a call with anything else")
    }
    let payload: [UInt8]
    switch format {
    case .json:
      let message: RPCValue = ["id": .string(id), "method": .string(call.method), "params": call.params]
      var bytes: [UInt8] = []
      do throws(JSONWriteError) {
        try JSONWriter.write(message, to: &bytes)
      } catch {
        throw .invalidCall(error.description)
      }
      payload = bytes
    case .cbor:
      var writer = CBORWriter(capacity: 128)
      writer.beginMap(count: 3)
      writer.appendText("id")
      writer.appendText(id)
      writer.appendText("method")
      writer.appendText(call.method)
      writer.appendText("params")
      try write(call.params, to: &writer, numbers: settings.numbers, depth: 0)
      payload = writer.bytes
    }
    guard payload.count <= settings.maximumPayload else {
      throw .invalidCall(
        "the call is \(payload.count) bytes long and the device takes \(settings.maximumPayload); "
          + "raise its maximum payload if it does block-wise transfer")
    }
    return payload
  }

  private static func write(
    _ value: RPCValue, to writer: inout CBORWriter, numbers: GoliothSettings.Numbers, depth: Int
  ) throws(CallError) {
    guard depth <= CBORLimits.default.maxDepth else {
      throw .invalidCall("params are nested more than \(CBORLimits.default.maxDepth) levels deep")
    }
    switch value {
    case .null: writer.appendNull()
    case .bool(let value): writer.appendBool(value)
    case .integer(let value):
      guard numbers == .floats else { return writer.appendInteger(value) }
      guard let float = Double(exactly: value) else { throw inexact("\(value)") }
      writer.appendDouble(float)
    case .unsigned(let value):
      guard numbers == .floats else { return writer.appendUnsigned(value) }
      guard let float = Double(exactly: value) else { throw inexact("\(value)") }
      writer.appendDouble(float)
    case .double(let value): writer.appendDouble(value)
    case .string(let value): writer.appendText(value)
    case .bytes(let value): writer.appendBytes(value)
    case .array(let items):
      writer.beginArray(count: items.count)
      for item in items { try write(item, to: &writer, numbers: numbers, depth: depth + 1) }
    case .object(let object):
      writer.beginMap(count: object.count)
      for (key, value) in object {
        writer.appendText(key)
        try write(value, to: &writer, numbers: numbers, depth: depth + 1)
      }
    }
  }

  private static func inexact(_ number: String) -> CallError {
    .invalidCall(
      "\(number) is no floating-point number, as which all numbers go to this device; if its firmware reads integers, have "
        + "them sent as written (GoliothSettings.numbers, serve --numbers as-written)")
  }

  /// Why a payload is not a result; the text goes back to the device.
  struct Malformed: Error {
    let diagnostic: String
    /// The id of the call that it answers, if that can be read.
    var id: String?

    static let notAMap = Malformed(diagnostic: "a result is a map with id, status and detail")
  }

  /// The documentation calls the code `status`, the firmware `statusCode`; both are read.
  static func decodeResult(_ payload: [UInt8], format: Format) throws(Malformed) -> DeviceAnswer {
    guard !payload.isEmpty else { throw Malformed(diagnostic: "empty payload") }
    var id: RPCValue?
    var code: RPCValue?
    var detail: RPCValue?
    func take(_ key: String, _ value: RPCValue) {
      switch key {
      case "id": id = value
      case "status": code = code ?? value
      case "statusCode": code = value
      case "detail": detail = value
      default: break
      }
    }
    switch format {
    case .json:
      let value: RPCValue
      do throws(Malformed) {
        value = try decode(payload, format: format)
      } catch {
        throw Malformed(diagnostic: error.diagnostic, id: topLevelID(inJSON: payload))
      }
      guard case .object(let object) = value else { throw Malformed.notAMap }
      for (key, value) in object { take(key, value) }
    case .cbor:
      // Without an intermediate dictionary, since this runs for every call.
      var reader = CBORReader(payload)
      do throws(CBORError) {
        let first = try untagged(item(&reader), &reader)
        guard case .beginMap = first else {
          _ = try value(first, &reader)
          throw CBORError(.unexpectedType, .map, at: 0)
        }
        while let key = try key(&reader) {
          switch key {
          case "id", "status", "statusCode", "detail": take(key, try value(item(&reader), &reader))
          default: try reader.skip()
          }
        }
        try reader.finish()
      } catch {
        throw error.kind == .unexpectedType
          ? Malformed.notAMap : Malformed(diagnostic: error.description, id: id?.stringValue)
      }
    }
    guard let id = id?.stringValue else { throw Malformed(diagnostic: "id is missing or not text") }
    guard let code else { throw Malformed(diagnostic: "status is missing", id: id) }
    guard let status = code.intValue else { throw Malformed(diagnostic: "status is not a whole number", id: id) }
    return DeviceAnswer(id: id, status: RPCStatus(rawValue: status), detail: detail)
  }

  static func decode(_ payload: [UInt8], format: Format) throws(Malformed) -> RPCValue {
    switch format {
    case .json:
      do throws(JSONError) {
        return try JSONReader.read(payload)
      } catch {
        throw Malformed(diagnostic: error.description)
      }
    case .cbor:
      var reader = CBORReader(payload)
      do throws(CBORError) {
        let value = try value(item(&reader), &reader)
        try reader.finish()
        return value
      } catch {
        throw Malformed(diagnostic: error.description)
      }
    }
  }

  // The reader limits the depth of this recursion. Items that `RPCValue` cannot represent are refused: converted to another
  // value they would mislead the caller.
  private static func value(_ token: CBORToken, _ reader: inout CBORReader) throws(CBORError) -> RPCValue {
    switch token {
    case .unsigned(let value): return .number(value)
    case .negative(let value): return try negative(value, reader)
    case .bytes(let bytes): return .bytes(bytes)
    case .text(let text): return .string(text)
    case .float(let value, _): return .double(value)
    case .bool(let value): return .bool(value)
    case .null: return .null
    case .undefined, .simple: throw CBORError(.unkeepable, .number, at: reader.tokenOffset)
    case .tag: return try tagged(token, &reader)
    case .beginArray(let count):
      var items: [RPCValue] = []
      if let count { items.reserveCapacity(min(count, 64)) }
      while true {
        let token = try item(&reader)
        if token == .end { return .array(items) }
        items.append(try value(token, &reader))
      }
    case .beginMap:
      var object = RPCObject()
      while let key = try key(&reader) { object.updateValue(try value(item(&reader), &reader), forKey: key) }
      return .object(object)
    case .end: throw CBORError(.unexpectedBreak, at: reader.tokenOffset)
    }
  }

  // Tags are ignored, except those of bignums (RFC 8949 §3.4.3).
  private static func tagged(_ token: CBORToken, _ reader: inout CBORReader) throws(CBORError) -> RPCValue {
    var (token, last) = (token, UInt64(0))
    while case .tag(let tag) = token { (token, last) = (try item(&reader), tag) }
    guard last == 2 || last == 3 else { return try value(token, &reader) }
    guard case .bytes(let bytes) = token else { throw CBORError(.malformed, .tag, at: reader.tokenOffset) }
    let digits = bytes.drop { $0 == 0 }
    guard digits.count <= 8 else { throw CBORError(.unkeepable, .integer, at: reader.tokenOffset) }
    let number = digits.reduce(0) { $0 << 8 | UInt64($1) }
    return last == 2 ? .number(number) : try negative(number, reader)
  }

  // A negative integer of CBOR is encoded as n, and means -1 - n.
  private static func negative(_ value: UInt64, _ reader: CBORReader) throws(CBORError) -> RPCValue {
    guard let small = Int64(exactly: value) else { throw CBORError(.unkeepable, .integer, at: reader.tokenOffset) }
    return .integer(-1 - small)
  }

  // Nil at the end of the map.
  private static func key(_ reader: inout CBORReader) throws(CBORError) -> String? {
    switch try item(&reader) {
    case .end: return nil
    case .text(let key): return key
    default: throw CBORError(.keyNotText, at: reader.tokenOffset)
    }
  }

  // Skips tags, of which any number may precede an item.
  private static func untagged(_ token: CBORToken, _ reader: inout CBORReader) throws(CBORError) -> CBORToken {
    var token = token
    while case .tag = token { token = try item(&reader) }
    return token
  }

  private static func item(_ reader: inout CBORReader) throws(CBORError) -> CBORToken {
    guard let token = try reader.next() else { throw CBORError(.truncated, at: reader.offset) }
    return token
  }
}
