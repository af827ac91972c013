import DeviceRPC
import DeviceRPCTesting
import Foundation
import Testing

@testable import DeviceRPCHTTP

@Suite(.timeLimit(.minutes(1))) struct KnownDevicesTests {
  @Test(arguments: [1, 2, 3, 7, 100])
  func `registered and connected devices are one list, page for page`(_ limit: Int) async throws {
    let registered = ["a", "b", "c", "d", "ga", "gb", "gc", "z"]
    try await withAPI(administration: InMemoryRegistry(Dictionary(uniqueKeysWithValues: registered.map { ($0, $0) }))) { (api) async throws in
      // In the store or not, connected, and connected some time ago.
      for name in ["b", "d", "e", "f", "gb", "h", "i"] { await api.devices.connect(name) { _, _ in .ok() } }
      for name in ["d", "f", "i"] { await api.devices.disconnect(name) }
      func names(_ query: String = "") async throws -> [String] {
        var names: [String] = []
        var path = "/v1/devices?limit=\(limit)\(query)"
        while true {
          let page = try await api.get(path)
          let found = page["devices"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
          #expect(page.status == 200 && found.count <= limit)
          names += found
          guard let link = page.header("Link") else { return names }
          #expect(found.count == limit)
          path = "/v1/devices" + link.dropFirst().prefix { $0 != ">" }
        }
      }
      // What is not in the store is there while it is connected.
      #expect(try await names() == ["a", "b", "c", "d", "e", "ga", "gb", "gc", "h", "z"])
      #expect(try await names("&state=observing") == ["b", "e", "gb", "h"])
      #expect(try await names("&state=offline") == ["a", "c", "d", "ga", "gc", "z"])
      #expect(try await names("&prefix=g") == ["ga", "gb", "gc"])
      #expect(try await names("&prefix=g&state=offline") == ["ga", "gc"])
      #expect(try await names("&after=gb") == ["gc", "h", "z"])
    }
  }

  @Test func `a call to a registered device that has not connected finds it offline, and not unknown`() async throws {
    try await withAPI(administration: InMemoryRegistry(["a": "a@p"])) { (api) async throws in
      for (device, type, status) in [("a", "offline", 503), ("b", "unknown-device", 404)] {
        let refused = try await api.call(device, #"{"method":"m"}"#)
        #expect(refused.status == status && refused.type == "/v1/problems/\(type)")
        async let waiting = api.call(device, #"{"method":"m","wait":5}"#)
        while await api.server.calls(of: device).isEmpty { await Task.yield() }
        await api.devices.advance(by: .seconds(5))
        let waited = try await waiting
        #expect(waited.status == status && waited.type == "/v1/problems/\(type)" && waited["call"] != nil)
      }
    }
  }

  @Test func `a device shows whether it is registered, and what is known of its connection`() async throws {
    let seen = Date(timeIntervalSince1970: 1_790_000_000)
    let registry = InMemoryRegistry(["a": "a", "b": "b"], lastSeen: ["b": seen])
    try await withAPI(administration: registry) { (api) async throws in
      for name in ["a", "stranger"] { await api.devices.connect(name) { _, _ in .ok() } }
      let a = try await api.get("/v1/devices/a")
      #expect(a["state"] == "observing" && a["registration"]?["enabled"] == true && a["firstSeen"]?.stringValue != nil)
      let b = try await api.get("/v1/devices/b")
      #expect(b["state"] == "offline" && b["lastHeard"] == "2026-09-21T14:13:20.000Z" && b["firstSeen"] == RPCValue.null)
      #expect(b["evidence"] == "it has not connected since the server was started")
      #expect(b["registration"]?["lastSeen"] == b["lastHeard"])
      #expect(try await api.get("/v1/devices/stranger")["registration"] == RPCValue.null)
      await api.devices.disconnect("stranger")
      #expect(try await api.get("/v1/devices/stranger").isProblem(.unknownDevice))
      // A device that is connected is registered by the same request, and goes on.
      await api.devices.connect("stranger") { _, _ in .ok() }
      let added = try await api.ask(.put, "/v1/devices/stranger")
      #expect(added.status == 201 && added["state"] == "observing")
    }
  }
}
