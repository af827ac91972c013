import DeviceRPC
import DeviceRPCTesting
import Foundation
import Testing
import TestSupport

@testable import DeviceRPCHTTP

extension API.Answer {
  /// A member of each element of the list.
  func list(_ member: String = "name") -> [String] {
    self["list"]?.arrayValue?.compactMap { $0[member]?.stringValue } ?? []
  }
}

@Suite(.timeLimit(.minutes(1))) struct GoliothDeviceTests {
  private let devices = ["a": "a@plant", "b": "b@plant", "c": "c@lab@north", "d": "d", "e": "e@", "new": ""]

  @Test func `a project is what stands behind the last @ of an identity`() async throws {
    try await withAPI(administration: InMemoryRegistry(devices)) { (api) async throws in
      let projects = try await api.get("/v1/projects")
      #expect(projects.status == 200 && projects.list("id") == ["default", "north", "plant"])
      #expect(projects["list"]?[0] == ["id": "default", "name": "default", "organizationId": "default"])
      #expect(try await api.get("/v1/projects/plant")["data"] == ["id": "plant", "name": "plant", "organizationId": "default"])
      #expect(try await api.get("/v1/projects/default").status == 200)
      for name in ["lab", "Plant", "a@plant", "%20"] { #expect(try await api.get("/v1/projects/\(name)").isGolioth(5, 404)) }
      for (project, names) in [
        ("plant", ["a", "b", "new"]), ("north", ["c", "new"]), ("default", ["d", "e", "new"]), ("other", ["new"]),
      ] {
        #expect(try await api.get("/v1/projects/\(project)/devices").list() == names)
      }
    }
    try await withAPI(administration: InMemoryRegistry()) { (api) async throws in
      #expect(try await api.get("/v1/projects").list() == ["default"])
    }
    try await withAPI(administration: InMemoryRegistry(["a": "a@x/y ä"])) { (api) async throws in
      let project = try #require(try await api.get("/v1/projects")["list"]?[0])
      let id = try #require(project["id"]?.stringValue)
      #expect(project["name"] == "x/y ä" && id.hasPrefix("~"))
      #expect(try await api.get("/v1/projects/\(id)")["data"] == project)
      #expect(try await api.get("/v1/projects/\(id)/devices/a").status == 200)
      #expect(try await api.get("/v1/projects/x%2Fy%20%C3%A4/devices").list() == ["a"])
    }
  }

  @Test func `devices are found by name, and listed in pages`() async throws {
    let registry = InMemoryRegistry(Dictionary(uniqueKeysWithValues: (10..<30).map { ("d\($0)", "d\($0)@plant") }))
    try await withAPI(administration: registry) { (api) async throws in
      let found = try await api.get("/v1/projects/plant/devices?deviceName=d17&unknown=1")
      #expect(found.list() == ["d17"] && found["total"] == 1)
      let device = try #require(found["list"]?[0])
      #expect(device["id"] == "d17" && device["enabled"] == true && device["status"] == "-")
      #expect(device["lastReport"] == RPCValue.null)
      #expect(device["createdAt"] == "2026-05-28T20:26:40.000Z" && device["tagIds"] == [])
      for query in ["deviceName=d", "deviceName=D17", "deviceName=", "deviceName=d17%00"] {
        #expect(try await api.get("/v1/projects/plant/devices?\(query)").list().isEmpty, "\(query)")
      }
      var names: [String] = []
      for page in 0..<4 {
        let answer = try await api.get("/v1/projects/plant/devices?page=\(page)&perPage=7")
        #expect(answer["page"] == RPCValue(page) && answer["perPage"] == 7 && answer["total"] == 20)
        names += answer.list()
      }
      #expect(names == (10..<30).map { "d\($0)" })
      for query in ["page=-1", "page=x", "perPage=0", "perPage=1001", "page=99999999999999999999", "page=", "page=1&page=1", "deviceName=a&deviceName=b"] {
        #expect(try await api.get("/v1/projects/plant/devices?\(query)").isGolioth(3, 400), "\(query)")
      }
      #expect(try await api.get("/v1/projects/plant/devices?page=2147483647").list().isEmpty)
    }
  }

  @Test func `connected devices are shown, whether or not they are registered`() async throws {
    try await withAPI(administration: InMemoryRegistry(["a": "a@plant"])) { (api) async throws in
      for name in ["a", "stranger"] { await api.devices.connect(name) { _, _ in .ok() } }
      #expect(try await api.get("/v1/projects/plant/devices/a")["data"]?["status"] == "online")
      #expect(try await api.get("/v1/projects/default/devices").list() == ["stranger"])
      for name in ["a", "stranger"] { await api.devices.disconnect(name) }
      let away = try await api.get("/v1/projects/plant/devices/a")["data"]
      #expect(away?["status"] == "offline" && away?["lastReport"]?.stringValue != nil)
      #expect(away?["metadata"] == ["status": "offline", "lastReport": away?["lastReport"] ?? .null])
      // Otherwise a device that was removed would be shown for as long as the server remembers it.
      #expect(try await api.get("/v1/projects/default/devices").list().isEmpty)
      #expect(try await api.get("/v1/projects/default/devices?deviceName=stranger").list().isEmpty)
      #expect(try await api.get("/v1/projects/default/devices/stranger").isGolioth(5, 404))
    }
  }

  @Test func `without a registry the devices are those that have connected, in every project`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .ok() }
      #expect(try await api.get("/v1/projects").list() == ["default"])
      for project in ["default", "plant"] {
        #expect(try await api.get("/v1/projects/\(project)").status == 200)
        #expect(try await api.get("/v1/projects/\(project)/devices?deviceName=sensor-1").list("id") == ["sensor-1"])
        #expect(try await api.golioth("sensor-1", #"{"method":"m"}"#, project: project).status == 200)
      }
      let place = "/v1/projects/default/devices"
      for answer in [
        try await api.ask(.post, place, #"{"name":"x"}"#), try await api.ask(.delete, "\(place)/sensor-1"),
        try await api.get("\(place)/sensor-1/credentials"),
        try await api.ask(.post, "\(place)/sensor-1/credentials", #"{"identity":"i","preSharedKey":"k"}"#),
      ] {
        #expect(answer.isGolioth(12, 501))
      }
    }
  }

  @Test(arguments: ["sensor-1", "a.b_c~d@x:y", "a/b", "a b", "ä", "~x", "~YWI", "~YS9i", ".", "..", "%41", "a?b#c", "+", "🙂"])
  func `an id stands in a path as it is, whatever the name`(_ name: String) async throws {
    let id = GoliothID.id(of: name)
    #expect(GoliothID.name(of: id) == name)
    #expect(id.utf8.allSatisfy { "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~@:".utf8.contains($0) })
    #expect(id != "." && id != "..")
    try await withAPI(administration: InMemoryRegistry([name: "i@plant"])) { (api) async throws in
      #expect(try await api.get("/v1/projects/plant/devices").list("id") == [id])
      #expect(try await api.get("/v1/projects/plant/devices/\(id)")["data"]?["name"] == .string(name))
      await api.devices.connect(name) { _, _ in .ok() }
      #expect(try await api.golioth(id, #"{"method":"m"}"#, project: "plant").status == 200)
    }
  }

  @Test func `what is no id is a name`() {
    for text in ["", "~", "~~", "~YWI", "~YWI=", "~!", "~4", "~_w", "~Li5h", "x~YS9i"] { #expect(GoliothID.name(of: text) == text) }
    #expect(GoliothID.name(of: "~YS9i") == "a/b" && GoliothID.name(of: "~Lg") == ".")
  }

  // MARK: Managing

  @Test func `a key is given, shown and replaced, and says in which project the device is`() async throws {
    let registry = InMemoryRegistry(["other": "other@plant"])
    try await withAPI(administration: registry) { (api) async throws in
      let place = "/v1/projects/plant/devices"
      let created = try await api.ask(.post, place, #"{"name":"a","hardwareIds":["x"],"tagIds":[]}"#)
      #expect(created.status == 200 && created["data"]?["id"] == "a" && created["data"]?["enabled"] == true)
      #expect(try await api.get("\(place)/a/credentials").json == ["list": []])
      func add(_ body: String, to place: String = place) async throws -> API.Answer {
        try await api.ask(.post, "\(place)/a/credentials", body)
      }
      let added = try await add(#"{"type":"PRE_SHARED_KEY","identity":"a","preSharedKey":"secret"}"#)
      let credential: RPCValue = ["id": "psk", "type": "PRE_SHARED_KEY", "identity": "a@plant", "preSharedKey": "secret"]
      #expect(added.status == 200 && added.json == ["data": credential])
      #expect(try await api.get("\(place)/a/credentials").json == ["list": [credential]])
      #expect(try await api.get("/v1/projects/default/devices").list().isEmpty)
      #expect(try await api.get("/v1/projects/default/devices/a/credentials").isGolioth(5, 404))
      #expect(try await add(#"{"identity":"b@plant","preSharedKey":"new"}"#)["data"]?["identity"] == "b@plant")
      #expect(try await api.get("\(place)/a/credentials").list("preSharedKey") == ["new"])
      for body in [
        #"{"identity":"a@lab","preSharedKey":"k"}"#, #"{"identity":"a@","preSharedKey":"k"}"#,
        #"{"identity":"","preSharedKey":"k"}"#, #"{"preSharedKey":"k"}"#, #"{"identity":"a"}"#,
        #"{"identity":"a","preSharedKey":""}"#, #"{"identity":"a","preSharedKey":7}"#,
        "{\"identity\":\"a\",\"preSharedKey\":\"\(String(repeating: "k", count: 65))\"}", "[]",
        #"{"type":"CERTIFICATE","identity":"a","preSharedKey":"k"}"#,
      ] {
        #expect(try await add(body).isGolioth(3, 400), "\(body)")
      }
      #expect(try await add(#"{"identity":"other","preSharedKey":"k"}"#).isGolioth(6, 409))
      #expect(try await api.ask(.post, place, #"{"name":"a"}"#).isGolioth(6, 409))
      for body in ["{}", #"{"name":""}"#, #"{"name":7}"#, #"{"name":" a"}"#, "[]"] {
        #expect(try await api.ask(.post, place, body).isGolioth(3, 400), "\(body)")
      }
      #expect(try await api.ask(.delete, "/v1/projects/default/devices/a").isGolioth(5, 404))
      let deleted = try await api.ask(.delete, "\(place)/a")
      #expect(deleted.status == 200 && deleted.text == "{}")
      #expect(try await api.ask(.delete, "\(place)/a").isGolioth(5, 404))
      #expect(try await api.get("\(place)/a").isGolioth(5, 404))
      #expect(try await registry.registeredDevices().map(\.name) == ["other"])
    }
  }

  @Test func `a key that is no text is not shown`() async throws {
    let registry = InMemoryRegistry(["a": ""])
    _ = try registry.setCredential(.preSharedKey(try #require(DeviceKey([0xff, 0]))), identity: "a", of: "a", .set)
    _ = try registry.setCredential(.certificate(fingerprint: nil), identity: "a", of: "a", .set)
    try await withAPI(administration: registry) { (api) async throws in
      let list = try await api.get("/v1/projects/default/devices/a/credentials")
      #expect(list.json == ["list": [["id": "psk", "type": "PRE_SHARED_KEY", "identity": "a", "preSharedKey": nil]]])
    }
  }

  @Test func `reading needs a key that may read, managing and secrets one that may administer`() async throws {
    let keys = InMemoryAPIKeys()
    let reader = keys.add("reader")
    let admin = keys.add("admin", APIPermissions(devices: .only(names: [], prefixes: ["p-"]), allowsAdministering: true))
    let blind = keys.add("blind", APIPermissions(allowsReading: false))
    let registry = InMemoryRegistry(["p-1": "p-1@plant", "q-1": "q-1@quarry"])
    try await withAPI(keys: keys, administration: registry) { (api) async throws in
      func status(_ method: String, _ path: String, _ key: String) async throws -> Int {
        let body = method == "POST" ? #"{"name":"p-2","identity":"i","preSharedKey":"k"}"# : nil
        let answer = try await api.ask(
          .init(method)!, "/v1/projects\(path)", body, headers: ["x-api-key": key])
        return answer.status
      }
      for (method, path, forReader, forAdmin, forBlind) in [
        ("GET", "/plant", 200, 200, 404), ("GET", "/quarry", 200, 404, 404), ("GET", "/default", 200, 200, 200),
        ("GET", "/plant/devices/p-1", 200, 200, 403), ("GET", "/quarry/devices/q-1", 200, 403, 403),
        ("GET", "/plant/devices/p-1/credentials", 403, 200, 403), ("GET", "/quarry/devices/q-1/credentials", 403, 403, 403),
        ("POST", "/plant/devices/p-1/credentials", 403, 200, 403), ("POST", "/quarry/devices/q-1/credentials", 403, 403, 403),
        ("POST", "/plant/devices", 403, 200, 403), ("DELETE", "/quarry/devices/q-1", 403, 403, 403),
        ("DELETE", "/plant/devices/p-1", 403, 200, 403), ("DELETE", "/plant/devices/nobody", 403, 403, 403),
      ] {
        #expect(try await status(method, path, reader) == forReader, "\(method) \(path)")
        #expect(try await status(method, path, blind) == forBlind, "\(method) \(path)")
        #expect(try await status(method, path, admin) == forAdmin, "\(method) \(path)")
      }
      func names(_ path: String, _ key: String) async throws -> [String] {
        try await api.get("/v1/projects\(path)", headers: ["x-api-key": key]).list()
      }
      #expect(try await names("/quarry/devices", reader) == ["p-2", "q-1"])
      #expect(try await names("/quarry/devices?deviceName=q-1", admin).isEmpty)
      #expect(try await names("/quarry/devices", blind).isEmpty)
      #expect(try await names("", reader) == ["quarry"])
      #expect(try await names("", admin) == ["default"])
    }
  }

  @Test func `what the registry could not do is in the log, and only there`() async throws {
    let log = RecordedLog()
    var logger = log.logger
    logger.logLevel = .info
    let registry = InMemoryRegistry(["a": "a"])
    registry.fail("/var/lib/devices.db is damaged")
    try await withAPI(administration: registry, log: logger) { (api) async throws in
      await api.devices.connect("a") { _, _ in .ok() }
      let place = "/v1/projects/default/devices"
      for answer in [
        try await api.get("/v1/projects"), try await api.get(place), try await api.get("\(place)/a/credentials"),
        try await api.golioth("a", #"{"method":"m"}"#), try await api.ask(.post, place, #"{"name":"b"}"#),
      ] {
        #expect(answer.isGolioth(13, 500) && !answer.text.contains("/var"))
      }
    }
    #expect(log.lines.count { $0.metadata["error"] == "/var/lib/devices.db is damaged" } == 5)
    let actions = log.lines.filter { $0.metadata["action"] != nil }
    #expect(actions.map { $0.metadata["action"] } == ["read key", "add"])
    #expect(actions.allSatisfy { $0.metadata["outcome"] == "internal-error" && $0.metadata["key"] == "admin" })
  }

  @Test func `where no key is needed, nobody administers devices without one`() async throws {
    try await withAPI(keys: InMemoryAPIKeys(), administration: InMemoryRegistry(["a": "a"])) { (api) async throws in
      let place = "/v1/projects/default/devices"
      #expect(try await api.get(place).status == 200)
      for answer in [
        try await api.get("\(place)/a/credentials"), try await api.ask(.post, place, #"{"name":"b"}"#),
        try await api.ask(.delete, "\(place)/a"),
      ] { #expect(answer.isGolioth(7, 403)) }
    }
  }

  // MARK: As the tools do it

  /// The requests of python-golioth-tools 0.9, as httpx sends them: its fixtures for tests of firmware, and `golioth call`.
  @Test func `Golioth's tools make a device, call it and remove it, over a socket`() async throws {
    let keys = InMemoryAPIKeys()
    let headers = ["x-api-key": keys.add("tools", .all), "User-Agent": "python-httpx/0.27.0", "Accept": "*/*"]
    try await withAPI(keys: keys, administration: InMemoryRegistry(), setup: .live) { (api) async throws in
      func ask(_ method: String, _ path: String, _ body: String? = nil) async throws -> RPCValue {
        let answer = try await api.ask(.init(method)!, path, body, headers: headers)
        #expect(answer.status == 200, "\(method) \(path): \(answer.text)")
        return answer.json
      }
      let project = try #require(try await ask("GET", "/v1/projects")["list"]?[0]?["id"]?.stringValue)
      #expect(try await ask("GET", "/v1/projects/\(project)")["data"]?["name"] == .string(project))
      let name = "generated-QwErTyUiOpAsDfGh"
      let device = try await ask(
        "POST", "/v1/projects/\(project)/devices", "{\"name\": \"\(name)\", \"hardwareIds\": [\"\(name)\"], \"tagIds\": []}")
      let id = try #require(device["data"]?["id"]?.stringValue)
      let place = "/v1/projects/\(project)/devices/\(id)"
      _ = try await ask(
        "POST", "\(place)/credentials", "{\"type\": \"PRE_SHARED_KEY\", \"identity\": \"\(name)\", \"preSharedKey\": \"\(name)\"}")
      let credential = try await ask("GET", "\(place)/credentials")["list"]?[0]
      #expect(credential?["identity"] == .string(name) && credential?["preSharedKey"] == .string(name))
      await api.devices.connect(name) { method, params in
        method == "multiply" ? .ok(["value": 42]) : method == "no_response" && params == [] ? .ok() : .result(.notFound)
      }
      #expect(try await ask("GET", "/v1/projects/\(project)/devices?deviceName=\(name)")["list"]?[0]?["id"] == .string(id))
      let rpc = "\(place)/rpc"
      let product = try await ask("POST", rpc, #"{"method": "multiply", "params": [7, 6]}"#)
      #expect(product == ["statusCode": 0, "detail": ["value": 42]])
      let nothing = try await ask("POST", rpc, #"{"method": "no_response", "params": {}}"#)
      #expect(nothing == ["statusCode": 0, "detail": .object(RPCObject())])
      #expect(try await ask("POST", rpc, #"{"method": "not_registered", "params": [[]]}"#)["statusCode"] == 5)
      _ = try await ask("DELETE", place)
      await api.devices.disconnect(name)
      #expect(try await ask("GET", "/v1/projects/\(project)/devices?deviceName=\(name)")["list"] == [])
    }
  }
}
