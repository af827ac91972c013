import DeviceRPC
import Foundation
import HTTPTypes
import Testing

@testable import DeviceRPCHTTP

/// ThingsBoard's HTTP API for devices: the paths, statuses and bodies of its documentation.
@Suite(.timeLimit(.minutes(1))) struct ThingsBoardDeviceTests {
  private let token = AccessToken("A1_TEST_TOKEN")!
  private var credentials: InMemoryCredentials {
    InMemoryCredentials([
      DeviceCredential(device: "pump", token: token), DeviceCredential(device: "lamp", token: AccessToken("B2")!),
    ])
  }

  /// The number in a call.
  private func id(_ answer: API.Answer) throws -> Int { try #require(answer["id"]?.intValue) }

  @Test func `a device asks for a call, and posts its result`() async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      async let poll = api.get("/api/v1/A1_TEST_TOKEN/rpc")
      async let result = api.server.perform(Call("setGpio", params: ["pin": "26", "value": 1], wait: .seconds(1)), on: "pump")
      let call = try await poll
      #expect(call.status == 200 && call.header("Content-Type") == "application/json" && call.header("Connection") == "close")
      let number = try id(call)
      #expect(call.text == #"{"id":\#(number),"method":"setGpio","params":{"pin":"26","value":1}}"#)
      let answer = try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/\(number)", #"{"ok":true}"#)
      #expect(answer.status == 200 && answer.text.isEmpty)
      let ended = try await result
      #expect(ended.detail == ["ok": true] && ended.evidence.acknowledgedAfter == nil)
      let info = try #require(await api.server.device("pump").info)
      #expect(info.dialect == "ThingsBoard, HTTP" && info.isOnline)
      // Late, repeated and unknown ones are taken.
      for id in ["\(number)", "5"] { #expect(try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/\(id)", "1").status == 200) }
    }
  }

  @Test func `without a call the answer is 408 when the time is over, and another request ends it at once`() async throws {
    let clock = ManualClock()
    try await withAPI(thingsBoard: credentials, clock: clock) { (api) async throws in
      async let first = api.get("/api/v1/A1_TEST_TOKEN/rpc?timeout=5000")
      await until { clock.sleepers == 1 }
      async let second = api.get("/api/v1/A1_TEST_TOKEN/rpc")
      let ended = try await first
      #expect(ended.status == 408 && ended.text.isEmpty)
      await until { clock.sleepers == 1 }
      await clock.advance(by: .seconds(60))
      #expect(try await second.status == 408)
      #expect(try await api.get("/api/v1/A1_TEST_TOKEN/rpc?timeout=0").status == 408)
    }
  }

  @Test func `between two requests calls wait, and come in their order`() async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      #expect(try await api.get("/api/v1/A1_TEST_TOKEN/rpc?timeout=0").status == 408)
      let calls = Task {
        try await withThrowingTaskGroup(of: RPCValue?.self) { group in
          for number in 0..<5 { group.addTask { try await api.server.device("pump").call("n", number).detail } }
          return try await group.reduce(into: []) { $0.append($1) }
        }
      }
      await until { await api.server.device("pump").info?.openCalls == 5 }
      var ids: [Int] = []
      for _ in 0..<5 {
        let number = try id(try await api.get("/api/v1/A1_TEST_TOKEN/rpc"))
        ids.append(number)
        #expect(try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/\(number)", "\(number)").status == 200)
      }
      #expect(ids == ids.sorted() && Set(ids).count == 5)
      #expect(try await calls.value.compactMap(\.?.intValue).sorted() == ids)
    }
  }

  @Test func `a call that the device does not ask for ends as not sent`() async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      #expect(try await api.get("/api/v1/A1_TEST_TOKEN/rpc?timeout=0").status == 408)
      let call = Task {
        do { return "\(try await api.server.device("pump").call("get").status)" } catch { return "\(error)" }
      }
      await until { await api.server.device("pump").info?.openCalls == 1 }
      await api.devices.advance(by: .seconds(10))
      #expect(await call.value.contains("it has not asked for a call within 10 s (not sent"))
      #expect(try await api.get("/api/v1/A1_TEST_TOKEN/rpc?timeout=0").status == 408)
    }
  }

  @Test func `a one-way call ends when it has left, which is not called delivered`() async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      async let poll = api.get("/api/v1/A1_TEST_TOKEN/rpc")
      let sent = try await api.server.perform(Call("off", wait: .seconds(1), isOneWay: true), on: "pump")
      #expect(sent.status == .ok && sent.evidence.delivery == .sentNoAck)
      #expect(try await poll.status == 200)
    }
  }

  @Test(arguments: [("on", .string("on")), ("[1", .string("[1")), ("", .none), ("null", .null), ("\"on\"", .string("on"))] as [(String, RPCValue?)])
  func `any text is a result`(text: String, detail: RPCValue?) async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      async let poll = api.get("/api/v1/A1_TEST_TOKEN/rpc")
      async let result = api.server.perform(Call("get", wait: .seconds(1)), on: "pump")
      let number = try id(try await poll)
      #expect(try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/\(number)", text, headers: ["Content-Type": "text/plain"]).status == 200)
      #expect(try await result.detail == detail)
    }
  }

  @Test func `a device cannot answer the call of another one`() async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      async let poll = api.get("/api/v1/A1_TEST_TOKEN/rpc")
      async let result = api.server.perform(Call("get", wait: .seconds(1)), on: "pump")
      let number = try id(try await poll)
      let refused = try await api.ask(.post, "/api/v1/B2/rpc/\(number)", "666")
      #expect(refused.status == 403 && refused.text == "This call was made to another device.\n")
      #expect(try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/\(number)", "1").status == 200)
      #expect(try await result.detail == 1)
    }
  }

  @Test func `wrong tokens get 401, and more than ten 429`() async throws {
    let time = TestClock()
    try await withAPI(thingsBoard: credentials, time: { time.now }) { (api) async throws in
      for _ in 0..<10 {
        let refused = try await api.get("/api/v1/nope/rpc")
        #expect(refused.status == 401 && refused.text == "the access token is that of no device\n")
      }
      let slowed = try await api.get("/api/v1/nope/rpc")
      #expect(slowed.status == 429 && slowed.header("Retry-After") == "1")
      time.advance(by: .seconds(2))
      #expect(try await api.get("/api/v1/A1_TEST_TOKEN/rpc?timeout=0").status == 408)
    }
  }

  @Test func `a device whose token is revoked is told, and its calls end`() async throws {
    let credentials = credentials
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      async let poll = api.get("/api/v1/A1_TEST_TOKEN/rpc")
      await until { await api.server.device("pump").info?.isOnline == true }
      credentials.remove(.accessToken, identity: token.digest)
      api.thingsBoard?.polled.endRevoked(credentials)
      let ended = try await poll
      #expect(ended.status == 503 && ended.text == "The connection was ended: its access token was removed.\n")
      #expect(await api.server.device("pump").info?.isOnline == false)
      #expect(try await api.get("/api/v1/A1_TEST_TOKEN/rpc").status == 401)
    }
  }

  @Test func `a device calls the server`() async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      api.server.handle("getTime") { ["device": .string($0.device), "params": $0.params] }
      func ask(_ body: String, _ type: String = "application/json") async throws -> String {
        let answer = try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc", body, headers: ["Content-Type": type])
        return "\(answer.status) \(answer.text)"
      }
      #expect(try await ask(#"{"method":"getTime","params":{}}"#) == #"200 {"device":"pump","params":{}}"#)
      #expect(try await ask(#"{"method":"getTime"}"#, "text/plain") == #"200 {"device":"pump","params":null}"#)
      #expect(try await ask(#"{"method":"none"}"#) == "404 this server has no function \"none\"\n")
      #expect(try await ask("{") .hasPrefix("400 "))
      #expect(try await ask(String(repeating: " ", count: 65_537)) == "413 A body may have 65536 bytes at most.\n")
    }
  }

  @Test func `requests that make no sense are told so`() async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      #expect(try await api.get("/api/v1/A1_TEST_TOKEN/rpc?timeout=soon").status == 400)
      #expect(try await api.get("/api/v1/A1_TEST_TOKEN/rpc?timeout=-1").status == 400)
      #expect(try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/abc", "{}").status == 400)
      for (method, path) in [(.head, "rpc"), (.put, "rpc"), (.get, "rpc/1")] as [(HTTPRequest.Method, String)] {
        #expect(try await api.ask(method, "/api/v1/A1_TEST_TOKEN/\(path)").status == 405)
      }
    }
    try await withAPI { (api) async throws in #expect(try await api.get("/api/v1/A1_TEST_TOKEN/rpc").status == 404) }
  }

  @Test func `without credentials the token is the name of the device`() async throws {
    try await withAPI(thingsBoard: .some(nil)) { (api) async throws in
      async let poll = api.get("/api/v1/pump%207/rpc")
      async let result = api.server.perform(Call("get", wait: .seconds(1)), on: "pump 7")
      let number = try id(try await poll)
      #expect(try await api.ask(.post, "/api/v1/pump%207/rpc/\(number)", "1").status == 200)
      #expect(try await result.detail == 1)
    }
  }

  @Test func `more requests than a device may send get 429`() async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      for _ in 0..<100 { #expect(try await api.get("/api/v1/A1_TEST_TOKEN/rpc?timeout=0").status == 408) }
      let refused = try await api.get("/api/v1/A1_TEST_TOKEN/rpc?timeout=0")
      #expect(refused.status == 429 && refused.header("Retry-After") == "1")
    }
  }

  @Test func `a persistent call is delivered when a request has taken it`() async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      async let poll = api.get("/api/v1/A1_TEST_TOKEN/rpc")
      let call = try await api.server.device("pump").submit(Call("get"))
      let number = try id(try await poll)
      await until { await api.server.info(of: call.id)?.persistence?.state == .delivered }
      #expect(await api.server.info(of: call.id)?.evidence.delivery == .sentNoAck)
      #expect(try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/\(number)", "1").status == 200)
      #expect(await api.server.info(of: call.id, waiting: nil)?.persistence?.state == .successful)
    }
  }

  @Test func `a result that is waited for is taken above the rate, and others are not`() async throws {
    try await withAPI(thingsBoard: credentials) { (api) async throws in
      async let poll = api.get("/api/v1/A1_TEST_TOKEN/rpc")
      async let result = api.server.perform(Call("get", wait: .seconds(1)), on: "pump")
      let number = try id(try await poll)
      for _ in 0..<99 { #expect(try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/5", "1").status == 200) }
      #expect(try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/5", "1").status == 429)
      #expect(try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/\(number)", "1").status == 200)
      #expect(try await result.detail == 1)
    }
  }

  @Test func `without tokens a web page is no device`() async throws {
    try await withAPI(thingsBoard: .some(nil)) { (api) async throws in
      let page = try await api.ask(.post, "/api/v1/pump/rpc", #"{"method":"x"}"#, headers: ["Origin": "https://evil.example", "Content-Type": "text/plain"])
      #expect(page.status == 403)
    }
  }

  @Test func `a client that has gone gets no call`() async throws {
    try await withAPI(thingsBoard: credentials, setup: .live) { (api) async throws in
      let port = try #require(api.client.port)
      do {
        let socket = try LiveSocket(port: port)
        try socket.send("GET /api/v1/A1_TEST_TOKEN/rpc HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await until { await api.server.device("pump").info?.isOnline == true }
        await until { api.thingsBoard?.polled.waiting == 1 }
      }
      await until { api.thingsBoard?.polled.waiting == 0 }
      let call = Task { try await api.server.device("pump").call("get").detail }
      await until { await api.server.device("pump").info?.openCalls == 1 }
      let request = "GET /api/v1/A1_TEST_TOKEN/rpc HTTP/1.1\r\nHost: localhost\r\n\r\n"
      let answer = try await LiveSocket(port: port).answer(to: request)
      #expect(answer.status == 200)
      let number = try #require(try JSONReader.read(Array(answer.body.utf8))["id"]?.intValue)
      #expect(try await api.ask(.post, "/api/v1/A1_TEST_TOKEN/rpc/\(number)", "1").status == 200)
      #expect(try await call.value == 1)
    }
  }
}
