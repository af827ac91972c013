import DeviceRPC
import DeviceRPCTesting
import Foundation
import Testing

@testable import DeviceRPCHTTP

@Suite(.timeLimit(.minutes(1))) struct ServiceRouteTests {
  @Test func `devices are listed in pages, by state and by the beginning of their names`() async throws {
    try await withAPI { (api) async throws in
      for number in 10..<30 { await api.devices.connect("d&\(number)") { _, _ in .ok() } }
      await api.devices.connect("x") { _, _ in .ok() }
      for number in 15..<20 { await api.devices.disconnect("d&\(number)") }
      var names: [String] = []
      var path = "/v1/devices?prefix=d%26&limit=7"
      while true {
        let page = try await api.get(path)
        #expect(page.status == 200)
        names += page["devices"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
        guard let link = page.header("Link") else { break }
        path = "/v1/devices" + link.dropFirst().prefix { $0 != ">" }
      }
      #expect(names == (10..<30).map { "d&\($0)" })
      let offline = try await api.get("/v1/devices?state=offline")
      #expect(offline["devices"]?.arrayValue?.count == 5)
      #expect(try await api.get("/v1/devices?state=on").status == 400)
      let device = try await api.get("/v1/devices/x")
      #expect(device["state"] == "observing" && device["openCalls"] == 0 && device["evidence"]?.stringValue?.hasPrefix("observation open") == true)
      #expect(try await api.get("/v1/devices/nobody").type == "/v1/problems/unknown-device")
    }
  }

  @Test func `other paths are 404, other methods 405 with those that are allowed`() async throws {
    try await withAPI { (api) async throws in
      for path in ["/v1", "/v2/devices", "/v1/devices/a/b/c", "/console", "/console/a/b"] {
        let answer = try await api.get(path)
        #expect(answer.status == 404 && answer.type == "/v1/problems/not-found", "\(path)")
      }
      let answer = try await api.ask(.put, "/v1/devices/x/calls", "{}")
      #expect(answer.status == 405 && answer.header("Allow") == "GET, POST, HEAD")
      #expect(answer.type == "/v1/problems/method-not-allowed")
      for method in DeviceRPCRoutes.methods where ![.get, .head].contains(method) {
        #expect(try await api.ask(method, "/healthz").status == 405, "\(method)")
      }
      let head = try await api.ask(.head, "/healthz")
      #expect(head.status == 200)
    }
  }

  @Test func `the server tells how many devices and calls it has, and its limits`() async throws {
    try await withAPI { (api) async throws in
      for name in ["a", "b", "c"] { await api.devices.connect(name) { _, _ in .ok() } }
      await api.devices.disconnect("c")
      _ = try await api.call("a", #"{"method":"m"}"#)
      let status = try await api.get("/v1/server")
      #expect(status.status == 200 && status["devices"] == ["observing": 2, "quiet": 0, "offline": 1])
      #expect(status["openCalls"] == ["queued": 0, "sent": 0] && status["waiters"] == 0)
      let tables = try #require(status["tables"]?.arrayValue)
      #expect(tables.compactMap { $0["name"]?.stringValue } == ServerStatus.Table.Name.allCases.map(\.rawValue))
      #expect(tables.first == ["name": "devices", "summary": "Devices remembered", "used": 3, "limit": 200_000])
      #expect(tables.first { $0["name"] == "endedCalls" }?["used"] == 1)
      #expect(status["started"]?.stringValue?.hasSuffix("Z") == true)
    }
  }

  @Test func `the document describes each route, and nothing else`() async throws {
    try await withAPI { (api) async throws in
      let document = try await api.get("/v1/openapi.json").json
      #expect(document["openapi"] == "3.1.0")
      let routes = DeviceRPCRoutes(api.server, configuration: .init()).table
      var described: Set<String> = []
      for (path, operations) in try #require(document["paths"]?.objectValue) {
        for (method, operation) in try #require(operations.objectValue) {
          described.insert("\(method.uppercased()) \(path)")
          // Each name in the path is a parameter.
          let names = operation["parameters"]?.arrayValue?.filter { $0["in"] == "path" }.compactMap { $0["name"]?.stringValue } ?? []
          #expect(Set(names) == Set(path.split(separator: "{").dropFirst().map { String($0.prefix { $0 != "}" }) }), "\(path)")
        }
      }
      #expect(described == Set(routes.map { "\($0.method.rawValue) \($0.path)" }))
      #expect(Set(routes.map(\.description.name)).count == routes.count)
      // Each schema that is referred to is there.
      let text = document.description
      let schemas = try #require(document["components"]?["schemas"]?.objectValue)
      for part in text.split(separator: "#/components/schemas/").dropFirst() {
        let name = String(part.prefix { $0 != "\"" })
        #expect(schemas[name] != nil, "\(name)")
      }
    }
  }

  @Test func `each kind of problem explains itself at its own path`() async throws {
    try await withAPI { (api) async throws in
      let all = try #require(try await api.get("/v1/problems")["problems"]?.arrayValue)
      #expect(all.count == ProblemKind.allCases.count)
      for kind in all {
        let answer = try await api.get(try #require(kind["type"]?.stringValue))
        #expect(answer.status == 200 && answer.json == kind)
      }
      #expect(try await api.get("/v1/problems/none").status == 404)
    }
  }

  @Test func `the server says whether it is alive, and whether it is ready`() async throws {
    try await withAPI { (api) async throws in
      #expect(try await api.get("/healthz").text == #"{"status":"ok"}"#)
      #expect(try await api.get("/readyz").status == 200)
    }
    let routes = DeviceRPCRoutes(
      ScriptedCaller { _ throws(CallError) in throw .offline("d") }, isReady: { "the disk is full" })
    let route = try #require(routes.table.first { $0.path == "/readyz" })
    let request = APIRequest(sender: Sender(key: nil), headers: [:], parameters: [:], query: [], body: nil, bytes: [])
    #expect(try await route.handler(request).status == .serviceUnavailable)
  }
}
