import DeviceRPC
import DeviceRPCTesting
import Foundation
import HTTPTypes
import Testing

@testable import DeviceRPCHTTP

/// ThingsBoard's server-side RPC: statuses and bodies of both versions, persistent calls, devices.
@Suite(.timeLimit(.minutes(1))) struct RESTCallTests {
  private static let begin = Date(timeIntervalSince1970: 1_790_000_000)

  /// A server with a device `pump` and somebody who has logged in.
  private func withPump(
    _ body: @escaping @Sendable (API, _ session: [String: String], _ id: String) async throws -> Void
  ) async throws {
    let users = InMemoryUsers([.test("tenant", .tenantAdmin)])
    try await withAPI(
      administration: InMemoryRegistry(["pump": ""]), thingsBoard: .some(nil), users: users
    ) { (api) async throws in
      let session = try await api.session()
      let pump = try await api.get("/api/tenant/device?deviceName=pump", headers: session)
      try await body(api, session, try #require(pump["id"]?["id"]?.stringValue))
    }
  }

  private static let roots = ["/api/plugins/rpc", "/api/rpc"]

  @Test(arguments: [(roots[0], 408, 409), (roots[1], 504, 504)])
  func `the statuses are those of the version`(root: String, unanswered: Int, offline: Int) async throws {
    try await withPump { (api, session, id) async throws in
      func ask(_ body: String, _ way: String = "twoway", id: String = id) async throws -> String {
        let answer = try await api.ask(.post, "\(root)/\(way)/\(id)", body, headers: session.merging(["Content-Type": "text/plain"]) { $1 })
        return "\(answer.status) \(answer["message"]?.stringValue ?? answer.text)"
      }
      // Nobody has connected: after the time of the call, and not at once.
      let waiting = Task { try await ask(#"{"method":"get","timeout":6000}"#) }
      await until { await api.server.status().queuedCalls == 1 }
      await api.devices.advance(by: .seconds(6))
      #expect(try await waiting.value.hasPrefix("\(offline) pump is not connected"))
      await api.devices.connect("pump") { method, params in
        switch method {
        case "echo": .ok(params)
        case "none": .ok()
        case "fail": .result(.invalidArgument, "no")
        default: .silence
        }
      }
      #expect(try await ask(#"{"method":"echo","params":{"a":[1,null]}}"#) == #"200 {"a":[1,null]}"#)
      #expect(try await ask(#"{"method":"echo"}"#) == "200 null")
      #expect(try await ask(#"{"method":"none"}"#) == "200 ")
      #expect(try await ask(#"{"method":"echo"}"#, "oneway") == "200 ")
      #expect(try await ask(#"{"method":"fail"}"#).hasPrefix("500 The device has answered INVALID_ARGUMENT (3): \"no\""))
      let silent = Task { try await ask(#"{"method":"silent","timeout":1}"#) }
      await until { await api.server.status().sentCalls == 1 }
      // Not less than five seconds.
      await api.devices.advance(by: .seconds(4))
      #expect(await api.server.status().sentCalls == 1)
      await api.devices.advance(by: .seconds(1))
      #expect(try await silent.value.hasPrefix("\(unanswered) pump has not answered"))
      let past = try await ask(#"{"method":"silent","expirationTime":1000}"#)
      #expect(past.hasPrefix("\(unanswered) ") || past.hasPrefix("\(offline) "))
      for body in ["", "[", "7", "{}", #"{"method":""}"#, #"{"method":"x","requestUUID":"x"}"#, #"{"method":"x","timeout":1e300}"#, #"{"method":"x","timeout":"1"}"#, #"{"method":"x","expirationTime":-1e300}"#, #"{"method":"x","persistent":1}"#, #"{"method":"x","persistent":true,"retries":-1}"#] {
        #expect(try await ask(body).hasPrefix("400 "), "\(body)")
      }
      #expect(try await ask(#"{"method":"x"}"#, id: "x").hasPrefix("400 Invalid UUID string: x"))
      #expect(try await ask(#"{"method":"x"}"#, id: "00000000-0000-0000-0000-000000000000") == "404 Device with requested id wasn't found!")
    }
  }

  @Test func `two requests with one requestUUID are one call`() async throws {
    try await withPump { (api, session, id) async throws in
      let uuid = "6A7E1C9A-52A4-4C1E-9A55-000000000001"
      let body = #"{"method":"count","requestUUID":"\#(uuid)"}"#
      let asked = [1, 2].map { _ in Task { try await api.ask(.post, "/api/rpc/twoway/\(id)", body, headers: session).text } }
      await until { await api.server.status().queuedCalls == 1 }
      await api.devices.connect("pump") { _, _ in .ok(1) }
      for answer in asked { #expect(try await answer.value == "1") }
      #expect(try await api.ask(.post, "/api/rpc/twoway/\(id)", body, headers: session).text == "1")
      let kept = #"{"method":"count","persistent":true,"requestUUID":"6a7e1c9a-52a4-4c1e-9a55-000000000002"}"#
      for _ in 0..<2 {
        #expect(try await api.ask(.post, "/api/rpc/twoway/\(id)", kept, headers: session).text == #"{"rpcId":"6a7e1c9a-52a4-4c1e-9a55-000000000002"}"#)
      }
      let list = try await api.get("/api/rpc/persistent/device/\(id)?pageSize=10&page=0", headers: session)
      #expect(list["totalElements"] == 1)
    }
  }

  @Test func `persistent calls are listed in pages, and deleted`() async throws {
    try await withPump { (api, session, id) async throws in
      for number in 0..<5 {
        let body = #"{"method":"m\#(number)","persistent":true,"timeout":60000,"params":"\#(number)"}"#
        #expect(try await api.ask(.post, "/api/rpc/oneway/\(id)", body, headers: session).status == 200)
      }
      let root = "/api/rpc/persistent/device/\(id)"
      func methods(_ query: String) async throws -> [String] {
        let list = try await api.get("\(root)?\(query)", headers: session)
        return (list["data"]?.arrayValue ?? []).compactMap { $0["request"]?["body"]?["method"]?.stringValue }
      }
      #expect(try await methods("pageSize=2&page=0") == ["m0", "m1"])
      #expect(try await methods("pageSize=2&page=2") == ["m4"])
      #expect(try await methods("pageSize=2&page=9") == [])
      #expect(try await methods("pageSize=10&page=0&sortProperty=createdTime&sortOrder=DESC&textSearch=x") == ["m4", "m3", "m2", "m1", "m0"])
      #expect(try await methods("pageSize=10&page=0&rpcStatus=SUCCESSFUL") == [])
      let page = try await api.get("\(root)?pageSize=2&page=1&rpcStatus=QUEUED", headers: session)
      #expect(page["totalPages"] == 3 && page["totalElements"] == 5 && page["hasNext"] == true)
      let first = try #require(page["data"]?[0])
      #expect(first["request"]?["body"]?["params"] == #""2""# && first["request"]?["oneway"] == true && first["status"] == "QUEUED")
      for query in ["", "pageSize=2", "pageSize=0&page=0", "pageSize=2&page=-1", "pageSize=2&page=0&rpcStatus=DELETED", "pageSize=2&page=0&sortProperty=x", "pageSize=2&page=0&sortOrder=x"] {
        #expect(try await api.get("\(root)?\(query)", headers: session).status == 400, "\(query)")
      }
      let rpc = try #require(first["id"]?["id"]?.stringValue)
      #expect(try await api.ask(.delete, "/api/rpc/persistent/\(rpc)", headers: session).status == 200)
      let gone = try await api.get("/api/rpc/persistent/\(rpc)", headers: session)
      #expect(gone.status == 404 && gone["errorCode"] == 32 && gone["message"] == .string("Rpc with id [\(rpc)] is not found"))
      #expect(try await methods("pageSize=10&page=0") == ["m0", "m1", "m3", "m4"])
      #expect(try await api.ask(.delete, "/api/rpc/persistent/\(rpc)", headers: session).status == 404)
      #expect(try await api.get("/api/rpc/persistent/x", headers: session).status == 400)
    }
  }

  @Test func `many who ask for devices at once find them all`() async throws {
    let names = (0..<20).map { "device-\($0)" }
    let registry = InMemoryRegistry(Dictionary(uniqueKeysWithValues: names.map { ($0, "") }))
    try await withAPI(administration: registry, thingsBoard: .some(nil), users: InMemoryUsers([.test("tenant", .tenantAdmin)])) { (api) async throws in
      let session = try await api.session()
      let found = try await withThrowingTaskGroup(of: Int.self) { group in
        for name in names { group.addTask { try await api.get("/api/device/\(RESTIDs.id(of: name))", headers: session).status } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      #expect(found == [Int](repeating: 200, count: 20))
    }
  }

  @Test func `devices are added with a token, found, and removed`() async throws {
    try await withPump { (api, session, id) async throws in
      let added = try await api.ask(.post, "/api/device", #"{"name":"lamp","type":"default"}"#, headers: session)
      #expect(added.status == 200 && added["name"] == "lamp" && added["id"]?["entityType"] == "DEVICE")
      let lamp = try #require(added["id"]?["id"]?.stringValue)
      #expect(lamp == RESTIDs.id(of: "lamp") && lamp == "\(RESTIDs.canonical(lamp) ?? "")" && lamp.dropFirst(14).first == "5")
      let taken = try await api.ask(.post, "/api/device", #"{"name":"lamp"}"#, headers: session)
      #expect(taken.status == 400 && taken["message"] == "Device with such name already exists!")
      let credentials = try await api.get("/api/device/\(lamp)/credentials", headers: session)
      #expect(credentials["credentialsType"] == "ACCESS_TOKEN" && credentials["credentialsId"]?.stringValue?.count == 20)
      let set = try await api.ask(
        .post, "/api/device/credentials", #"{"deviceId":{"id":"\#(lamp)"},"credentialsType":"ACCESS_TOKEN","credentialsId":"T1"}"#, headers: session)
      #expect(set["credentialsId"] == "T1")
      #expect(try await api.get("/api/device/\(lamp)/credentials", headers: session)["credentialsId"] == "T1")
      #expect(try await api.get("/api/device/\(id)/credentials", headers: session).status == 404)
      let given = try await api.ask(.post, "/api/device?accessToken=T2", #"{"name":"fan"}"#, headers: session)
      #expect(given.status == 200)
      let list = try await api.get("/api/tenant/devices?pageSize=2&page=0&textSearch=A", headers: session)
      #expect(list["data"]?.arrayValue?.compactMap { $0["name"]?.stringValue } == ["fan", "lamp"])
      #expect(try await api.ask(.delete, "/api/device/\(lamp)", headers: session).status == 200)
      #expect(try await api.get("/api/device/\(lamp)", headers: session).status == 404)
      #expect(try await api.get("/api/tenant/device?deviceName=lamp", headers: session).status == 404)
    }
  }
}
