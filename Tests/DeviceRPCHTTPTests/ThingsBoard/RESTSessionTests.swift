import DeviceRPC
import Foundation
import HTTPTypes
import Synchronization
import Testing

@testable import DeviceRPCHTTP

/// Hashed once, which takes a while.
private let longPassword = PasswordHash(of: "a long password")!
private let begin = Date(timeIntervalSince1970: 1_790_000_000)

extension User {
  static func test(_ name: String, _ authority: User.Authority, changed: Date = begin) -> User {
    User(name: name, authority: authority, password: longPassword, created: begin, changed: changed)
  }
}

extension API {
  /// Logs in, and returns the answer.
  func logIn(_ name: String = "tenant", _ password: String = "a long password") async throws -> Answer {
    try await ask(.post, "/api/auth/login", #"{"username":"\#(name)","password":"\#(password)"}"#)
  }

  /// The header of a session.
  func session(_ name: String = "tenant") async throws -> [String: String] {
    ["X-Authorization": "Bearer \(try #require(try await logIn(name)["token"]?.stringValue))"]
  }
}

/// Who may send requests to ThingsBoard's REST API.
@Suite(.timeLimit(.minutes(1))) struct RESTSessionTests {
  private static let devices = "/api/tenant/devices?pageSize=10&page=0"

  private func withUsers(
    _ users: InMemoryUsers = InMemoryUsers([.test("tenant", .tenantAdmin), .test("customer", .customerUser)]),
    keys: InMemoryAPIKeys = InMemoryAPIKeys(), clock: TestClock = TestClock(), _ body: @escaping @Sendable (API) async throws -> Void
  ) async throws {
    try await withAPI(
      keys: keys, administration: InMemoryRegistry(["pump": ""]), thingsBoard: .some(nil), users: users, time: { clock.now },
      date: { begin.addingTimeInterval(Double(clock.now.components.seconds)) }, body)
  }

  private func code(_ answer: API.Answer) -> String {
    "\(answer.status) \(answer["errorCode"]?.intValue ?? 0) \(answer["message"]?.stringValue ?? "")"
  }

  @Test func `a user logs in, and a session lasts for two and a half hours`() async throws {
    let clock = TestClock()
    try await withUsers(clock: clock) { (api) async throws in
      let answer = try await api.logIn()
      #expect(answer.status == 200)
      let token = try #require(answer["token"]?.stringValue)
      let parts = token.split(separator: ".").map { part in
        Data(base64Encoded: part.replacing("-", with: "+").replacing("_", with: "/") + String(repeating: "=", count: (4 - part.count % 4) % 4))
      }
      let claims = try JSONReader.read(Array(try #require(parts[1])))
      #expect(claims["sub"] == "tenant" && claims["iss"] == "thingsboard.io" && claims["scopes"] == ["TENANT_ADMIN"])
      #expect(try JSONReader.read(Array(try #require(parts[0])))["alg"] == "HS512")
      for name in ["X-Authorization", "Authorization"] {
        #expect(try await api.get(Self.devices, headers: [name: "Bearer \(token)"]).status == 200)
      }
      clock.advance(by: .seconds(8_999))
      #expect(try await api.get(Self.devices, headers: ["X-Authorization": "Bearer \(token)"]).status == 200)
      clock.advance(by: .seconds(1))
      #expect(code(try await api.get(Self.devices, headers: ["X-Authorization": "Bearer \(token)"])) == "401 11 Token has expired")
      let refresh = try #require(answer["refreshToken"]?.stringValue)
      #expect(code(try await api.get(Self.devices, headers: ["X-Authorization": "Bearer \(refresh)"])) == "401 10 Authentication failed")
      let renewed = try await api.ask(.post, "/api/auth/token", #"{"refreshToken":"\#(refresh)"}"#)
      let next = try #require(renewed["token"]?.stringValue)
      #expect(try await api.get(Self.devices, headers: ["X-Authorization": "Bearer \(next)"]).status == 200)
      #expect(code(try await api.ask(.post, "/api/auth/token", #"{"refreshToken":"\#(next)"}"#)) == "401 10 Authentication failed")
      clock.advance(by: .seconds(604_800))
      #expect(code(try await api.ask(.post, "/api/auth/token", #"{"refreshToken":"\#(refresh)"}"#)) == "401 11 Token has expired")
    }
  }

  @Test func `what is wrong gets 401, and guessing is slowed`() async throws {
    let clock = TestClock()
    try await withUsers(clock: clock) { (api) async throws in
      #expect(code(try await api.logIn("tenant", "")) == "401 10 Authentication failed")
      #expect(code(try await api.ask(.post, "/api/auth/login", "[")) == "401 10 Authentication failed")
      #expect(code(try await api.get("/api/auth/login")) == "401 10 Authentication failed")
      #expect(code(try await api.get(Self.devices)) == "401 10 Authentication failed")
      for header in ["Bearer x.y.z", "Bearer", "Basic dGVuYW50Og==", "ApiKey drpc_x", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJ0ZW5hbnQifQ."] {
        #expect(code(try await api.get(Self.devices, headers: ["X-Authorization": header])) == "401 10 Authentication failed", "\(header)")
      }
      for _ in 0..<10 {
        for name in ["tenant", "nobody"] {
          #expect(code(try await api.logIn(name, "a wrong password")) == "401 10 Invalid username or password")
        }
      }
      #expect(try await api.logIn().status == 429)
      #expect(try await api.logIn("customer").status == 200)
      #expect(code(try await api.logIn(String(repeating: "x", count: 256))) == "401 10 Authentication failed")
      clock.advance(by: .seconds(2))
      #expect(try await api.logIn().status == 200)
    }
  }

  @Test func `whoever is removed, or has a new password, is logged out`() async throws {
    let users = InMemoryUsers([.test("tenant", .tenantAdmin)])
    let clock = TestClock()
    try await withUsers(users, clock: clock) { (api) async throws in
      let first = try await api.session()
      clock.advance(by: .seconds(10))
      users.set(.test("tenant", .tenantAdmin, changed: begin.addingTimeInterval(5)))
      #expect(try await api.get(Self.devices, headers: first).status == 401)
      let second = try await api.session()
      #expect(try await api.get(Self.devices, headers: second).status == 200)
      users.remove("tenant")
      #expect(try await api.get(Self.devices, headers: second).status == 401)
      #expect(code(try await api.logIn()) == "401 10 There are no users; to add one: device-rpc users add NAME")
    }
  }

  @Test func `an API key does as well, with what it may do`() async throws {
    let keys = InMemoryAPIKeys()
    let reader = keys.add("reader", APIPermissions(devices: .only(names: ["pump"]), methods: .none))
    let stranger = keys.add("stranger", APIPermissions(devices: .only(names: ["lamp"])))
    try await withUsers(keys: keys) { (api) async throws in
      let pump = "/api/tenant/device?deviceName=pump"
      for header in ["ApiKey \(reader)", "Bearer \(reader)"] {
        #expect(try await api.get(pump, headers: ["X-Authorization": header]).status == 200)
      }
      let id = try #require(try await api.get(pump, headers: ["X-Authorization": "ApiKey \(reader)"])["id"]?["id"]?.stringValue)
      let call = try await api.ask(.post, "/api/rpc/twoway/\(id)", #"{"method":"get"}"#, headers: ["X-Authorization": "ApiKey \(reader)"])
      #expect(call.status == 403 && call.text == "You don't have permission to perform this operation!")
      #expect(try await api.get(pump, headers: ["X-Authorization": "ApiKey \(stranger)"]).status == 403)
      #expect(try await api.get(Self.devices, headers: ["X-Authorization": "ApiKey \(stranger)"])["totalElements"] == 0)
      #expect(try await api.get("/api/device/\(id)/credentials", headers: ["X-Authorization": "ApiKey \(reader)"]).status == 403)
    }
  }

  @Test func `a customer calls and looks, and changes nothing`() async throws {
    try await withUsers { (api) async throws in
      let customer = try await api.session("customer")
      let devices = try await api.get(Self.devices, headers: customer)
      let id = try #require(devices["data"]?[0]?["id"]?["id"]?.stringValue)
      #expect(try await api.ask(.post, "/api/device", #"{"name":"new"}"#, headers: customer).status == 403)
      #expect(try await api.ask(.delete, "/api/device/\(id)", headers: customer).status == 403)
      #expect(try await api.get("/api/device/\(id)/credentials", headers: customer).status == 403)
      await api.devices.connect("pump") { _, _ in .ok(1) }
      #expect(try await api.ask(.post, "/api/rpc/twoway/\(id)", #"{"method":"get"}"#, headers: customer).text == "1")
      let kept = try await api.ask(.post, "/api/rpc/twoway/\(id)", #"{"method":"get","persistent":true}"#, headers: customer)
      let rpc = try #require(kept["rpcId"]?.stringValue)
      #expect(try await api.get("/api/rpc/persistent/\(rpc)", headers: customer).status == 200)
      #expect(try await api.ask(.delete, "/api/rpc/persistent/\(rpc)", headers: customer).status == 403)
    }
  }

  @Test func `without users and keys, a server on loopback is open`() async throws {
    try await withAPI(thingsBoard: .some(nil)) { (api) async throws in
      await api.devices.connect("pump") { _, _ in .ok(1) }
      let id = try #require(try await api.get("/api/tenant/device?deviceName=pump")["id"]?["id"]?.stringValue)
      let path = "/api/rpc/twoway/\(id)"
      #expect(try await api.ask(.post, path, #"{"method":"get"}"#).text == "1")
      // Not to web pages of others, which can send text, nor to administer devices.
      #expect(try await api.ask(.post, path, #"{"method":"get"}"#, headers: ["Content-Type": "text/plain"]).status == 401)
      #expect(try await api.ask(.post, "/api/device", #"{"name":"x"}"#).status == 403)
    }
  }
}
