// DeviceRPCTesting: devices in memory, for tests of back ends and of this package.
// `InMemoryDevices` is for users; the rest is for the tests here.

package import DeviceRPC

/// A call as it is sent to a device in memory: one JSON object.
package struct CallMessage: Sendable, Hashable {
  package let id: String
  package let method: String
  package let params: RPCValue

  init(_ call: Call, id: String) {
    self.id = id
    method = call.method
    params = call.params
  }

  init?(_ payload: [UInt8]) {
    guard let object = try? JSONReader.read(payload), let id = object["id"]?.stringValue,
      let method = object["method"]?.stringValue, let params = object["params"]
    else { return nil }
    self.id = id
    self.method = method
    self.params = params
  }

  func encoded() throws(CallError) -> [UInt8] {
    var bytes: [UInt8] = []
    do {
      try JSONWriter.write(["id": .string(id), "method": .string(method), "params": params], to: &bytes)
    } catch {
      throw .invalidCall("\(error)")
    }
    // A message that the device's reader refuses would be dropped silently.
    guard CallMessage(bytes) != nil else { throw .invalidCall("the parameters are nested too deep, or too many") }
    return bytes
  }
}
