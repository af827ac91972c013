import DeviceRPC
import DeviceRPCTesting
import Foundation
import HTTPTypes
import HummingbirdTesting
import Testing
import TestSupport

@testable import DeviceRPCHTTP

@Suite(.timeLimit(.minutes(1))) struct AdministrationAccessTests {
  @Test func `only a key that may administer the device changes it, and sees its credentials`() async throws {
    let keys = InMemoryAPIKeys()
    let texts = [
      "": "", "reader": keys.add("reader"), "caller": keys.add("caller", APIPermissions(allowsReading: false)),
      "other": keys.add("other", APIPermissions(devices: .only(names: ["q"], prefixes: ["p-"]), allowsAdministering: true)),
      "admin": keys.add(
        "admin", APIPermissions(devices: .only(names: ["a"]), methods: .none, allowsReading: false, allowsAdministering: true)),
    ]
    for name in texts.keys.sorted() {
      let registry = InMemoryRegistry(["a": "a@lab"])
      try await withAPI(keys: name.isEmpty ? InMemoryAPIKeys() : keys, administration: registry) { (api) async throws in
        let headers = name.isEmpty ? [:] : ["x-api-key": try #require(texts[name])]
        let isAdmin = name == "admin"
        for (method, path) in AdministrationTests.routes.reversed() {
          let answer = try await api.ask(method, "/v1/devices/a\(path)", headers: headers)
          #expect(answer.isProblem(.forbidden) == !isAdmin, "\(name) \(method) \(path): \(answer.text)")
          // Whether there is such a device is not told, either.
          let unknown = try await api.ask(method, "/v1/devices/nobody\(path)", headers: headers)
          #expect(unknown.isProblem(.forbidden), "\(name) \(method) \(path)")
        }
        guard !isAdmin else { return }
        #expect(try await registry.registeredDevices().map(\.name) == ["a"])
        #expect(try registry.registeredDevice("a")?.isEnabled == true)
        let mayLook = name.isEmpty || name == "reader"
        let device = try await api.get("/v1/devices/a", headers: headers)
        #expect(device.status == (mayLook ? 200 : 403) && !device.text.contains("a@lab"))
        let list = try await api.get("/v1/devices", headers: headers)
        #expect(list["devices"]?.arrayValue?.count == (mayLook ? 1 : 0) && !list.text.contains("a@lab"))
        #expect(device["registration"]?.objectValue?.keys == (mayLook ? ["enabled", "created", "lastSeen"] : nil))
      }
    }
  }

  @Test func `a key that may only administer sees its devices, and not their calls`() async throws {
    let keys = InMemoryAPIKeys()
    let key = keys.add(
      "admin", APIPermissions(devices: .only(names: [], prefixes: ["p-"]), methods: .none, allowsReading: false, allowsAdministering: true))
    try await withAPI(keys: keys, administration: InMemoryRegistry(["p-1": "p-1", "q-1": "q-1"])) { (api) async throws in
      let headers = ["x-api-key": key]
      #expect(try await api.get("/v1/devices/p-1", headers: headers).identities == ["p-1"])
      #expect(try await api.get("/v1/devices", headers: headers)["devices"]?.arrayValue?.map { $0["name"] } == ["p-1"])
      #expect(try await api.get("/v1/devices/q-1", headers: headers).isProblem(.forbidden))
      #expect(try await api.get("/v1/devices/p-1/calls", headers: headers).isProblem(.forbidden))
      // The beginning of a name is not in its encoded form, and not in what stands behind a slash.
      for (path, isAllowed) in [
        ("p%2D2", true), ("%70-3", true), ("P-2", false), ("q%2Fp-2", false), ("%2E%2E%2Fp-2", false), ("%70%252D2", false),
        (".%2Fp-2", false),
      ] {
        #expect(try await api.ask(.put, "/v1/devices/\(path)", headers: headers).status == (isAllowed ? 201 : 403), "\(path)")
      }
      let names = try await api.get("/v1/devices", headers: headers)["devices"]?.arrayValue?.compactMap { $0["name"]?.stringValue }
      #expect(names == ["p-1", "p-2", "p-3"])
    }
  }

  @Test(arguments: [".", "..", "a/b", "../x", "%2E", "a%2Fb", "a?b#c", "+", "~", "a b", "ä", "🙂", "credentials", "*", ";x=1", "a\\b"])
  func `a name in a path is what it stands for, once decoded`(_ name: String) async throws {
    let encoded = name.utf8.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true) }.joined()
    let registry = InMemoryRegistry()
    for setup in [TestingSetup.router, .live] {
      try await withAPI(administration: registry, setup: setup) { (api) async throws in
        let place = "/v1/devices/\(encoded)"
        #expect(try await api.ask(.put, place).status == 201)
        #expect(try await registry.registeredDevices().map(\.name) == [name])
        #expect(try await api.get(place)["name"] == .string(name))
        #expect(try await api.ask(.post, "\(place)/credentials").identities == [name])
        #expect(try await api.ask(.post, "\(place)/disable")["registration"]?["enabled"] == false)
        #expect(try await api.ask(.delete, place).status == 204)
        #expect(try await registry.registeredDevices().isEmpty)
      }
    }
  }

  @Test func `each action is a line in the log, without secrets`() async throws {
    let log = RecordedLog()
    var logger = log.logger
    logger.logLevel = .trace
    let keys = InMemoryAPIKeys()
    let (admin, reader) = (keys.add("admin", .all), keys.add("reader"))
    try await withAPI(keys: keys, administration: InMemoryRegistry(), log: logger) { (api) async throws in
      let headers = ["x-api-key": admin]
      var secrets = ["supersecret", "anothersecret", admin, reader]
      let place = "/v1/devices/a"
      for (method, path, body) in [
        (.put, "", #"{"credential":{"key":"supersecret"}}"#), (.post, "/credentials", #"{"key":"anothersecret"}"#),
        (.post, "/rotate", nil), (.get, "/credentials", nil), (.post, "/disable", nil), (.post, "/enable", nil), (.delete, "", nil),
        (.delete, "", nil),
      ] as [(HTTPRequest.Method, String, String?)] {
        let answer = try await api.ask(method, place + path, body, headers: headers)
        if let key = answer["key"]?.stringValue { secrets.append(key) }
      }
      _ = try await api.ask(.put, place, headers: ["x-api-key": reader])
      #expect(secrets.count == 5)
      let text = log.lines.map { "\($0)" }.joined()
      for secret in secrets { #expect(!text.contains(secret)) }
    }
    let lines = log.lines.filter { $0.metadata["action"] != nil }.map(\.metadata)
    #expect(lines.map { $0["action"] } == ["add", "add credential", "rotate", "disable", "enable", "remove", "remove", "add"])
    #expect(
      lines.map { $0["outcome"] } == ["done", "already-exists", "done", "done", "done", "done", "unknown-device", "forbidden"])
    #expect(lines.map { $0["key"] } == Array(repeating: "admin", count: 7) + ["reader"])
    #expect(lines.allSatisfy { $0["device"] == "a" })
  }
}
