/// ThingsBoard's RPC messages, the same over CoAP and HTTP, as pure functions between bytes and values.
package enum ThingsBoardMessage {
  /// `{"id":7,"method":"setGpio","params":{"pin":1}}`, with the members in this order, and nothing else. The id is the number of the
  /// call, since firmware reads a whole number.
  ///
  /// - Throws: `CallError.invalidCall` for a call that is longer than `limit` bytes, or has what JSON cannot express.
  package static func encode(_ call: Call, id: String, limit: Int) throws(CallError) -> [UInt8] {
    let number = PendingCalls<DeviceState, Never>.serial(in: id) ?? 0
    let message: RPCValue = ["id": .integer(Int64(number)), "method": .string(call.method), "params": call.params]
    var bytes: [UInt8] = []
    do throws(JSONWriteError) {
      try JSONWriter.write(message, to: &bytes)
    } catch {
      throw .invalidCall(error.description)
    }
    guard bytes.count <= limit else {
      throw .invalidCall("the call is \(bytes.count) bytes long and the device takes \(limit)")
    }
    return bytes
  }

  /// Whether a text can be the id of a call: a whole number of 32 bits.
  package static func isID(_ text: String) -> Bool {
    !text.utf8.contains(UInt8(ascii: "/")) && PendingCalls<DeviceState, Never>.serial(in: text) != nil
  }

  /// The result of a call: any JSON. ThingsBoard takes only an object over CoAP, and any text over HTTP. An empty payload is no
  /// detail.
  package static func result(_ payload: [UInt8]) throws(JSONError) -> RPCValue? {
    payload.isEmpty ? .none : try .some(JSONReader.read(payload))
  }

  /// What a device asks of the server: `{"method":"getTime","params":{}}`. Without `params`, they are null.
  ///
  /// - Throws: `malformed` for anything else.
  package static func request(_ payload: [UInt8], from device: String) throws(DeviceRequestError) -> DeviceRequest {
    let value: RPCValue
    do throws(JSONError) {
      value = try JSONReader.read(payload)
    } catch {
      throw .malformed(error.description)
    }
    guard case .object(let object) = value, let method = object["method"]?.stringValue else {
      throw .malformed("a call to the server is an object with method, a text, and params")
    }
    return DeviceRequest(device: device, method: method, params: object["params"] ?? .null)
  }
}
