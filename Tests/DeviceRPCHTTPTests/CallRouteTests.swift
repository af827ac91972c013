import DeviceRPC
import DeviceRPCTesting
import Foundation
import Synchronization
import Testing

@testable import DeviceRPCHTTP

@Suite(.timeLimit(.minutes(1))) struct CallRouteTests {
  @Test func `a call is answered with what the device answered`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { method, params in .ok(["method": .string(method), "params": params]) }
      let answer = try await api.call("sensor-1", #"{"method":"multiply","params":[7,191.5,"x",null]}"#)
      #expect(answer.status == 200)
      #expect(answer.header("Content-Type") == "application/json" && answer.header("Cache-Control") == "no-store")
      let id = try #require(answer["id"]?.stringValue.flatMap { CallID($0) })
      #expect(answer["wireId"]?.stringValue?.hasPrefix("multiply/") == true)
      #expect(answer["device"] == "sensor-1" && answer["method"] == "multiply" && answer["state"] == "ended")
      #expect(answer["params"] == [7, 191.5, "x", nil] && answer["oneWay"] == false)
      #expect(answer["status"] == ["code": 0, "name": "OK"])
      #expect(answer["detail"] == ["method": "multiply", "params": [7, 191.5, "x", nil]])
      #expect(answer["delivery"] == "delivered" && answer["safeToRepeat"] == false && answer["error"] == nil)
      #expect(answer["created"] == answer["ended"] && answer["sent"] == answer["created"])
      #expect(answer["created"]?.stringValue?.hasSuffix("Z") == true)
      let again = try await api.get("/v1/calls/\(id)")
      #expect(again.status == 200 && again.json == answer.json)
    }
  }

  @Test func `whatever status a device answers with is a 200`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .result(.notFound) }
      let answer = try await api.call("sensor-1", #"{"method":"open"}"#)
      #expect(answer.status == 200 && answer["status"] == ["code": 5, "name": "NOT_FOUND"])
      #expect(answer["detail"] == RPCValue.null && answer["delivery"] == "refused")
      let oneWay = try await api.call("sensor-1", #"{"method":"open","oneWay":true}"#)
      #expect(oneWay.status == 200 && oneWay["status"] == ["code": 0, "name": "OK"] && oneWay["oneWay"] == true)
    }
  }

  @Test func `a name in the path is percent-encoded`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("a/b c+ä") { _, _ in .ok() }
      #expect(try await api.call("a%2Fb%20c+%C3%A4", #"{"method":"m"}"#)["device"] == "a/b c+ä")
      #expect(try await api.get("/v1/devices/a%2Fb%20c+%C3%A4")["name"] == "a/b c+ä")
      #expect(try await api.get("/v1/devices/%FF").status == 400)
    }
  }

  // MARK: Waiting

  @Test func `a client need not wait, and looks at the call later`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .silence }
      let begun = try await api.call("sensor-1", #"{"method":"m"}"#, headers: ["Prefer": "respond-async"])
      #expect(begun.status == 202 && begun["ended"] == RPCValue.null)
      #expect(begun.header("Preference-Applied") == "respond-async")
      let path = try #require(begun.header("Location"))
      #expect(path == "/v1/calls/\(begun["id"]?.stringValue ?? "")")
      await until { await api.server.calls().first?.state == .acknowledged }
      let open = try await api.get(path)
      #expect(open.status == 200 && open["state"] == "acknowledged")
      let tag = try #require(open.header("ETag"))
      let same = try await api.get(path, headers: ["If-None-Match": tag])
      #expect(same.status == 304 && same.text.isEmpty && same.header("ETag") == tag)
      for (tags, status) in [("*", 304), ("\"a\", \(tag)", 304), ("W/\(tag) ,\"a\"", 304), ("\"a\"", 200), (String(tag.dropLast()), 200)] {
        #expect(try await api.get(path, headers: ["If-None-Match": tags]).status == status, "\(tags)")
      }
      async let waiting = api.get(path, headers: ["Prefer": "wait=60", "If-None-Match": tag])
      await api.devices.advance(by: .seconds(10))
      let ended = try await waiting
      #expect(ended.status == 200 && ended["state"] == "ended" && ended.header("ETag") != tag)
      #expect(ended["error"]?["type"] == "/v1/problems/unanswered")
    }
  }

  @Test func `a client waits no longer than it prefers, nor than the server allows`() async throws {
    try await withAPI(configure: { $0.limits.longestWait = .seconds(5) }) { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .silence }
      for (prefer, applied) in [("wait=2", "wait=2" as String?), ("", nil), ("respond-async, wait=3", "respond-async, wait=3")] {
        let answer = Task {
          try await api.call("sensor-1", #"{"method":"m","timeout":100}"#, headers: ["Prefer": prefer])
        }
        await until { await api.server.calls().contains { $0.state != .ended } }
        await api.devices.advance(by: .seconds(5))
        let response = try await answer.value
        #expect(response.status == 202 && response.header("Preference-Applied") == applied)
        for call in await api.server.calls(of: "sensor-1") { await api.server.cancel(call.id) }
      }
    }
  }

  @Test(arguments: [
    ([], nil, nil), (["respond-async"], 0, "respond-async"), (["wait=10"], 10, "wait=10"), (["wait = \"7\" ; x"], 7, "wait=7"),
    (["handling=lenient, wait=5, wait=6"], 5, "wait=5"), (["wait=-1"], nil, nil), (["wait=1e3"], nil, nil), (["wait"], nil, nil),
    (["return=minimal", "Respond-Async"], 0, "respond-async"), ([",;=,=="], nil, nil), (["wait=99999999999"], nil, nil),
  ] as [([String], Int?, String?)])
  func `preferences are read as RFC 7240 says`(_ headers: [String], _ wait: Int?, _ applied: String?) {
    let preference = Preference(headers)
    #expect(preference.wait == wait.map { .seconds($0) } && preference.applied == applied)
  }

  @Test func `a call is cancelled`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .silence }
      let path = try #require(
        try await api.call("sensor-1", #"{"method":"m"}"#, headers: ["Prefer": "respond-async"]).header("Location"))
      for _ in 0..<2 {
        let cancelled = try await api.ask(.delete, path)
        #expect(cancelled.status == 200 && cancelled["state"] == "ended" && cancelled["delivery"] == "delivered")
        #expect(cancelled["error"]?["type"] == "/v1/problems/cancelled")
      }
      for id in ["019ac3f2-8d10-7fff-bfff-ffff000074e4", "x"] {
        #expect(try await api.ask(.delete, "/v1/calls/\(id)").type == "/v1/problems/unknown-call")
        #expect(try await api.get("/v1/calls/\(id)").status == 404)
      }
    }
  }

  @Test func `the document says what the id of a call is`() throws {
    let pattern = try Regex(#require(Schemas.callID["pattern"]?.stringValue))
    let id = CallID(milliseconds: 1_790_000_000_000, instance: 7, serial: 0x74e4).description
    let wrong = ["", "x", id + "0", " " + id, id.replacing("-7", with: "-1"), id.replacing("-8", with: "-c"), id.replacing("-", with: "")]
    for text in [id, id.uppercased()] + wrong {
      #expect((text.wholeMatch(of: pattern) != nil) == (CallID(text) != nil), "\(text)")
    }
    #expect(wrong.allSatisfy { CallID($0) == nil })
  }

  @Test func `the calls of a device are listed in pages, newest first`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .ok() }
      for number in 0..<7 { _ = try await api.call("sensor-1", "{\"method\":\"m\(number)\"}") }
      var methods: [String] = []
      var path = "/v1/devices/sensor-1/calls?limit=3"
      var pages = 0
      while true {
        let page = try await api.get(path)
        methods += page["calls"]?.arrayValue?.compactMap { $0["method"]?.stringValue } ?? []
        pages += 1
        guard let link = page.header("Link") else { break }
        #expect(link.hasSuffix("; rel=\"next\""))
        path = "/v1/devices/sensor-1/calls" + link.dropFirst().prefix { $0 != ">" }
      }
      #expect(pages == 3 && methods == (0..<7).reversed().map { "m\($0)" })
      for query in ["limit=0", "limit=1001", "limit=x", "after=x", "limit=1&limit=2", "color=red", "%FF=1"] {
        let answer = try await api.get("/v1/devices/sensor-1/calls?\(query)")
        #expect(answer.status == 400 && answer.type == "/v1/problems/invalid-request", "\(query)")
      }
    }
  }

  // MARK: Failures

  @Test(arguments: [
    (CallError.unknownDevice("d"), 404, "unknown-device", true), (.offline("d"), 503, "offline", true),
    (.invalidCall("why"), 400, "invalid-call", true), (.limitExceeded("why"), 429, "limit-exceeded", true),
    (.notSent(device: "d", reason: "why"), 504, "not-sent", true),
    (.undelivered(device: "d", reason: "why"), 504, "undelivered", false),
    (.unconfirmed(device: "d", after: .seconds(1)), 504, "unconfirmed", false),
    (.unanswered(device: "d", after: .seconds(1)), 504, "unanswered", false),
    (.rejected(device: "d", reason: "why"), 502, "rejected", false), (.garbled(device: "d", reason: "why"), 502, "unreadable", false),
    (.revoked(device: "d", reason: "why", delivery: .delivered), 409, "revoked", false),
    (.cancelled(.notSent), 409, "cancelled", true), (.shuttingDown(.sentNoAck), 503, "shutting-down", false),
  ] as [(CallError, Int, String, Bool)])
  func `each way in which a call fails has a status and a type`(
    _ error: CallError, _ status: Int, _ type: String, _ isSafe: Bool
  ) async throws {
    let call = CallInfo(
      id: CallID(milliseconds: 1, instance: 2, serial: 3), wireID: "m/0003", device: "d", call: Call("m"), state: .ended,
      created: Date(timeIntervalSince1970: 0), ended: Date(timeIntervalSince1970: 1), outcome: .error(error),
      evidence: CallEvidence(error.delivery))
    for caller in [ScriptedCaller { _ throws(CallError) in throw error }, ScriptedCaller { _ throws(CallError) in call }] {
      let routes = DeviceRPCRoutes(caller, keys: nil, configuration: .init(), readiness: { nil }, logger: silentLog, now: { .zero })
      let route = try #require(routes.table.first { $0.description.name == "createCall" })
      let request = APIRequest(
        sender: Sender(key: nil), headers: [:], parameters: ["device": "d"], query: [], body: ["method": "m"], bytes: [])
      let problem = await #expect(throws: Problem.self) { try await route.handler(request) }
      let response = try #require(problem?.response)
      #expect(response.status.code == status && response.headers[.contentType] == "application/problem+json")
      #expect((response.headers[.retryAfter] != nil) == (status == 429))
      let document = try #require(problem?.document)
      #expect(document["type"] == .string("/v1/problems/\(type)") && document["status"] == RPCValue(status))
      #expect(document["detail"] == .string("\(error)"))
      #expect(document["delivery"] == .string(error.delivery.rawValue) && document["safeToRepeat"] == .bool(isSafe))
      #expect(route.description.problems.contains { $0.rawValue == type })
    }
  }

  @Test(arguments: [
    (#"{"method":"m","timeOut":3}"#, #"The member "timeOut" is unknown; known are method, oneWay, params, persistent, timeout, wait."#),
    ("{}", #"The member "method" is missing."#), ("[]", "The body must be a JSON object."),
    (#"{"method":7}"#, #"The member "method" must be a string."#),
    (#"{"method":""}"#, #"The member "method" must be a string that is not empty."#),
    (#"{"method":"a\u0000b"}"#, #"The member "method" must be a string without U+0000."#),
    (#"{"method":"m","params":{}}"#, #"The member "params" must be a list."#),
    (#"{"method":"m","timeout":-1}"#, #"The member "timeout" must be a number of seconds from 0 to 86400."#),
    (#"{"method":"m","wait":"3"}"#, #"The member "wait" must be a number of seconds from 0 to 86400."#),
    (#"{"method":"m","oneWay":1}"#, #"The member "oneWay" must be true or false."#),
  ])
  func `what is wrong with a request is named`(_ body: String, _ detail: String) async throws {
    try await withAPI { (api) async throws in
      let answer = try await api.call("sensor-1", body)
      #expect(answer.status == 400 && answer.type == "/v1/problems/invalid-request")
      #expect(answer["detail"] == .string(detail))
    }
  }

  @Test func `a body that is not JSON, not said to be, or too large is refused`() async throws {
    try await withAPI(configure: { $0.limits.bodyBytes = 100 }) { (api) async throws in
      let malformed = try await api.call("sensor-1", #"{"method":}"#)
      #expect(malformed.status == 400 && malformed.type == "/v1/problems/malformed-json" && malformed["byte"] == 10)
      for type in ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let answer = try await api.call("sensor-1", "{}", headers: ["Content-Type": type])
        #expect(answer.status == 415, "\(type)")
      }
      #expect(try await api.call("sensor-1", "{}", headers: ["Content-Type": "Application/JSON; charset=utf-8"]).status == 400)
      let long = "{\"method\":\"\(String(repeating: "m", count: 100))\"}"
      #expect(try await api.call("sensor-1", long).status == 413)
      #expect(try await api.call("sensor-1", "{\"method\":\"m\"}").status == 404)
      // Nothing came of all that.
      #expect(await api.server.calls().isEmpty)
    }
  }
}

/// Says of every call the same.
struct ScriptedCaller: DeviceCaller {
  let answer: @Sendable (Call) throws(CallError) -> CallInfo

  init(_ answer: @escaping @Sendable (Call) throws(CallError) -> CallInfo) { self.answer = answer }

  func begin(_ call: Call, on device: String, waiting patience: Duration?) async throws(CallError) -> CallInfo {
    try answer(call)
  }
  func info(of call: CallID, waiting patience: Duration?) async -> CallInfo? { nil }
  func cancel(_ call: CallID) async -> CallInfo? { nil }
  func calls(_ query: CallQuery) async -> [CallInfo] { [] }
  func info(of device: String) async -> DeviceInfo? { nil }
  func devices(_ query: DeviceQuery) async -> [DeviceInfo] { [] }
  func events() -> AsyncStream<DeviceEvent> { AsyncStream { $0.finish() } }
}
