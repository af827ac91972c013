import DeviceRPC
import Foundation
import Testing

@testable import DeviceRPCStore
@testable import device_rpc

@Suite struct GreetingTests {
  private func device(_ name: String, _ kind: DeviceCredential.Kind, isEnabled: Bool = true) -> StoredDevice {
    StoredDevice(
      name: name, isEnabled: isEnabled, created: Date(), lastSeen: nil,
      credentials: [StoredCredential(kind: kind, identity: "\(name)@lab", fingerprint: nil, created: Date(), rotated: nil)])
  }

  private func hints(_ addresses: [String], _ devices: [StoredDevice]? = nil) -> [String] {
    let lines = Greeting.lines(addresses: addresses, devices: devices, dataAgain: " --data here")
    return lines.filter { !$0.hasPrefix("listening on ") }
  }

  @Test func `without credentials a device comes over plain CoAP, wherever that listens`() {
    #expect(
      hints(["coap://127.0.0.1:5683"]) == [
        "connect a device:  device-rpc simulate --port 5683",
        "or by hand:        coap-client-openssl -w -s 600 -A 50 'coap://127.0.0.1:5683/.rpc?ep=sensor-1'",
        "then call it here: sensor-1 multiply 7 191        (\"help\" shows more)",
      ])
    #expect(hints(["coap://[::1]:7"])[0] == "connect a device:  device-rpc simulate --server ::1 --port 7")
    #expect(hints(["coap://127.0.0.2:7"])[0] == "connect a device:  device-rpc simulate --server 127.0.0.2 --port 7")
    #expect(
      hints(["coap+tcp://127.0.0.1:7"]).prefix(2) == [
        "connect a device:  device-rpc simulate --transport coap+tcp --port 7",
        "or by hand:        coap-client-openssl -w -s 600 -A 50 'coap+tcp://127.0.0.1:7/.rpc?ep=sensor-1'",
      ])
  }

  @Test func `a device with a key comes with it, and not one that is disabled`() {
    let devices = [device("a", .preSharedKey, isEnabled: false), device("b", .certificate), device("c d", .preSharedKey)]
    #expect(
      hints(["coaps://[::]:5684", "coap://127.0.0.1:5683"], devices) == [
        "connect a device:  device-rpc simulate --transport coaps --server ::1 --port 5684 --name 'c d' --identity 'c d@lab' --key KEY",
        "or by hand:        coap-client-openssl -w -s 600 -A 50 -u 'c d@lab' -k KEY 'coaps://[::1]:5684/.rpc'",
        "then call it here: \"c d\" multiply 7 191        (\"help\" shows more)",
      ])
    #expect(hints(["coaps+tcp://0.0.0.0:5"], devices)[0].contains("--transport coaps+tcp --port 5 --name 'c d'"))
  }

  @Test func `where all names have certificates another one comes over plain CoAP`() {
    let addresses = ["coaps://0.0.0.0:5684", "coap://127.0.0.1:5683"]
    #expect(
      hints(addresses, [device("sensor-1", .certificate)])[0] == "connect a device:  device-rpc simulate --port 5683 --name sensor-2")
    #expect(hints(["coaps://0.0.0.0:5684"], [device("sensor-1", .certificate)]).isEmpty)
    #expect(hints(addresses, [])[0] == "no device may connect with a key yet: device-rpc devices add sensor-1 --data here")
  }
}
