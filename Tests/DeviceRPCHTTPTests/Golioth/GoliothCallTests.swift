import DeviceRPC
import DeviceRPCTesting
import Foundation
import Synchronization
import Testing
import TestSupport

@testable import DeviceRPCHTTP

extension API {
  func golioth(
    _ device: String, _ body: String, query: String = "", project: String = "default", headers: [String: String] = [:]
  ) async throws -> Answer {
    try await ask(.post, "/v1/projects/\(project)/devices/\(device)/rpc\(query)", body, headers: headers)
  }
}

extension API.Answer {
  /// Whether it is an error as Golioth's API has them.
  func isGolioth(_ code: Int, _ status: Int) -> Bool {
    self.status == status && self["code"] == RPCValue(code) && self["details"] == []
      && self["message"]?.stringValue?.isEmpty == false && json.objectValue?.keys == ["code", "message", "details"]
      && header("Content-Type") == "application/json"
  }
}

@Suite(.timeLimit(.minutes(1))) struct GoliothCallTests {
  @Test func `what the device answers is a 200 with its status and detail`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { method, params in
        switch method {
        case "multiply": .ok(["value": 1337])
        case "log": .ok()
        case "strange": .result(RPCStatus(rawValue: 4711), "text")
        default: .result(.notFound)
        }
      }
      let answer = try await api.golioth("sensor-1", #"{"method":"multiply","params":[7,191]}"#)
      #expect(answer.status == 200 && answer.text == #"{"statusCode":0,"detail":{"value":1337}}"#)
      #expect(try await api.golioth("sensor-1", #"{"method":"log","params":[]}"#).text == #"{"statusCode":0,"detail":{}}"#)
      let refused = try await api.golioth("sensor-1", #"{"method":"other","params":[]}"#)
      #expect(refused.status == 200 && refused.text == #"{"statusCode":5,"detail":{}}"#)
      #expect(try await api.golioth("sensor-1", #"{"method":"strange"}"#).json == ["statusCode": 4711, "detail": "text"])
    }
  }

  @Test(arguments: [
    (#"{"method":"m","params":[1,"a",{"b":[]}]}"#, [1, "a", ["b": []]]), (#"{"method":"m"}"#, []),
    (#"{"method":"m","params":null}"#, []),
    // A Python call without arguments.
    (#"{"method":"m","params":{}}"#, []), (#"{"method":"m","params":[[]],"requestId":7,"timeOut":-1}"#, [[]]),
    (#"{"method":"m","params":{"a":1}}"#, nil), (#"{"method":"m","params":"a"}"#, nil), (#"{"method":"m","params":7}"#, nil),
    (#"{"method":""}"#, nil), (#"{"params":[]}"#, nil), (#"{"method":7}"#, nil), ("[]", nil), ("null", nil),
  ] as [(String, RPCValue?)])
  func `parameters are a list, and what is unknown is ignored`(_ body: String, _ params: RPCValue?) async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, params in .ok(params) }
      let answer = try await api.golioth("sensor-1", body, query: "?trace=1&trace=2")
      if let params {
        #expect(answer.json == ["statusCode": 0, "detail": params])
      } else {
        #expect(answer.isGolioth(3, 400), "\(answer.text)")
      }
    }
  }

  @Test(arguments: [
    ("", "", 10), (#","timeout":7"#, "", 7), (#","timeout":"8""#, "", 8), (#","timeout":2.5"#, "", 2.5), ("", "?timeout=6", 6),
    (#","timeout":7"#, "?timeout=6", 7), (#","timeout":0"#, "", 10), (#","timeout":null"#, "?timeout=6", 6),
    (#","timeout":86400"#, "", 300), (#","timeout":-1"#, "", nil), (#","timeout":true"#, "", nil), (#","timeout":1e9"#, "", nil),
    ("", "?timeout=soon", nil), ("", "?timeout=nan", nil), ("", "?timeout=", nil),
  ] as [(String, String, Double?)])
  func `the time of a call is in the body or in the query`(_ member: String, _ query: String, _ seconds: Double?) async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .silence }
      async let answer = api.golioth("sensor-1", "{\"method\":\"m\"\(member)}", query: query)
      guard let seconds else {
        #expect(try await answer.isGolioth(3, 400))
        return
      }
      await until { await api.server.calls().first?.state == .acknowledged }
      await api.devices.advance(by: .seconds(seconds) - .milliseconds(1))
      #expect(await api.server.calls().first?.state == .acknowledged)
      await api.devices.advance(by: .milliseconds(1))
      #expect(try await answer.isGolioth(4, 504))
    }
  }

  // MARK: Waiting

  @Test func `a device that is away is waited for`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .ok() }
      await api.devices.disconnect("sensor-1")
      async let answer = api.golioth("sensor-1", #"{"method":"m"}"#)
      await until { await api.server.calls().first?.state == .queued }
      await api.devices.advance(by: .seconds(9))
      await api.devices.connect("sensor-1") { _, _ in .ok("back") }
      #expect(try await answer.text == #"{"statusCode":0,"detail":"back"}"#)
    }
  }

  @Test func `a device that does not come back is unavailable when the time is over, and no sooner`() async throws {
    let registry = InMemoryRegistry(["never": "never", "gone": "gone"])
    try await withAPI(administration: registry) { (api) async throws in
      await api.devices.connect("gone") { _, _ in .ok() }
      await api.devices.disconnect("gone")
      for name in ["gone", "never"] {
        async let answer = api.golioth(name, #"{"method":"m","timeout":30}"#)
        await until { await api.server.calls().contains { $0.device == name } }
        await api.devices.advance(by: .seconds(29))
        #expect(await api.server.calls().first?.state == .queued)
        await api.devices.advance(by: .seconds(1))
        let error = try await answer
        #expect(error.isGolioth(14, 503), "\(error.text)")
      }
    }
  }

  @Test func `a device that comes back late and says nothing gets no more time`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .ok() }
      await api.devices.disconnect("sensor-1")
      async let answer = api.golioth("sensor-1", #"{"method":"m"}"#)
      await until { await api.server.calls().first?.state == .queued }
      await api.devices.advance(by: .seconds(8))
      await api.devices.connect("sensor-1") { _, _ in .silence }
      await until { await api.server.calls().first?.state == .acknowledged }
      await api.devices.advance(by: .seconds(2))
      let error = try await answer
      #expect(error.isGolioth(4, 504), "\(error.text)")
      // The call is over for the device, too: it is not kept open for an answer that nobody gets.
      #expect(await api.server.calls().first?.state == .ended)
    }
  }

  @Test func `tools that give no time give up before they are told that it is over`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .silence }
      async let answer = api.golioth("sensor-1", #"{"method":"m"}"#)
      await until { await api.server.calls().first?.state == .acknowledged }
      let over = ContinuousClock.now
      await api.devices.advance(by: .seconds(10))
      #expect(await api.server.calls().first?.state == .ended)
      #expect(try await answer.isGolioth(4, 504))
      #expect(ContinuousClock.now - over >= GoliothCalls.courtesy)
    }
  }

  @Test(arguments: [
    (Delivery.notSent, 14, 503), (.sentNoAck, 4, 504), (.delivered, 4, 504), (.unreadable, 4, 504),
  ])
  func `a call that is open when its time is over ends then, whatever was missing`(
    _ delivery: Delivery, _ code: Int, _ status: Int
  ) async throws {
    let open = Self.info(nil, delivery)
    let caller = OpenCaller(open: open, cancelled: Self.info(.error(.cancelled(delivery)), delivery))
    let answer = try await Self.ask(caller)
    #expect(answer.code == code && answer.status == status)
    #expect(caller.waited.withLock { $0 } == .seconds(10) && caller.cancelled.withLock { $0 } == [open.id])
    // It may have ended in the meantime.
    let result = CallResult(
      id: "m/0003", device: "d", method: "m", status: .ok, detail: 7, evidence: CallEvidence(.delivered))
    let late = try await Self.ask(OpenCaller(open: open, cancelled: Self.info(.result(result), .delivered)))
    #expect(late.code == nil && late.status == 200)
  }

  @Test func `a call that somebody else cancels is cancelled`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .silence }
      async let answer = api.golioth("sensor-1", #"{"method":"m"}"#)
      await until { await api.server.calls().first?.state == .acknowledged }
      let id = try #require(await api.server.calls().first).id
      #expect(try await api.ask(.delete, "/v1/calls/\(id)").status == 200)
      #expect(try await answer.isGolioth(1, 499))
    }
  }

  // MARK: Errors

  @Test(arguments: [
    (CallError.invalidCall("why"), 3, 400), (.limitExceeded("why"), 8, 429), (.notSent(device: "d", reason: "why"), 4, 504),
    (.undelivered(device: "d", reason: "why"), 4, 504), (.unconfirmed(device: "d", after: .seconds(1)), 4, 504),
    (.unanswered(device: "d", after: .seconds(1)), 4, 504), (.rejected(device: "d", reason: "why"), 14, 503),
    (.garbled(device: "d", reason: "why"), 4, 504), (.revoked(device: "d", reason: "why", delivery: .delivered), 10, 409),
    (.cancelled(.notSent), 1, 499), (.shuttingDown(.notSent), 14, 503), (.offline("d"), 14, 503),
  ] as [(CallError, Int, Int)])
  func `each way in which a call fails has a number of gRPC's`(_ error: CallError, _ code: Int, _ status: Int) async throws {
    let ended = Self.info(.error(error), error.delivery)
    for caller in [ScriptedCaller { _ throws(CallError) in throw error }, ScriptedCaller { _ throws(CallError) in ended }] {
      let answer = try await Self.ask(caller)
      #expect(answer.code == code && answer.status == status && answer.message == "\(error)")
    }
  }

  @Test func `each kind of problem has the HTTP status of its number`() {
    let table = [1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 10: 409, 12: 501, 13: 500, 14: 503, 16: 401]
    for kind in ProblemKind.allCases {
      let response = ProblemForm.golioth.response(to: Problem(kind, "why"))
      #expect(response.status.code == table[kind.goliothStatus.rawValue], "\(kind)")
    }
  }

  @Test func `a device that nobody knows is not found at once`() async throws {
    try await withAPI { (api) async throws in
      #expect(try await api.golioth("nobody", #"{"method":"m"}"#).isGolioth(5, 404))
    }
    try await withAPI(administration: InMemoryRegistry(["sensor-1": "sensor-1@plant", "new": ""])) { (api) async throws in
      for name in ["sensor-1", "stranger", "new"] { await api.devices.connect(name) { _, _ in .ok() } }
      for (name, project, code) in [
        ("sensor-1", "plant", 200), ("sensor-1", "default", 404), ("sensor-1", "Plant", 404), ("stranger", "default", 200),
        ("stranger", "plant", 404), ("new", "plant", 200), ("new", "default", 200), ("nobody", "plant", 404),
      ] {
        #expect(try await api.golioth(name, #"{"method":"m"}"#, project: project).status == code, "\(name) in \(project)")
      }
    }
  }

  @Test func `what the door refuses has Golioth's form, too`() async throws {
    let keys = InMemoryAPIKeys()
    let key = keys.add("back end", APIPermissions(methods: .only(["open"])))
    let clock = TestClock()
    try await withAPI(keys: keys, time: { clock.now }, configure: { $0.limits.bodyBytes = 100 }) { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .ok() }
      for headers in [["x-api-key": key], ["Authorization": "bearer \(key)"]] {
        #expect(try await api.golioth("sensor-1", #"{"method":"open"}"#, headers: headers).status == 200)
      }
      let none = try await api.golioth("sensor-1", #"{"method":"open"}"#)
      #expect(none.isGolioth(16, 401) && none.header("WWW-Authenticate") == "Bearer")
      func ask(_ body: String, _ headers: [String: String] = [:]) async throws -> API.Answer {
        try await api.golioth("sensor-1", body, headers: headers.merging(["x-api-key": key]) { $1 })
      }
      #expect(try await ask(#"{"method":"close"}"#).isGolioth(7, 403))
      #expect(try await ask("{").isGolioth(3, 400))
      #expect(try await ask("{}", ["Content-Type": "text/plain"]).isGolioth(3, 400))
      #expect(try await ask("{\"method\":\"\(String(repeating: "m", count: 100))\"}").isGolioth(3, 400))
      let method = try await api.ask(.put, "/v1/projects/default/devices/sensor-1/rpc", "{}")
      #expect(method.isGolioth(12, 501) && method.header("Allow") == "POST")
      #expect(try await api.get("/v1/projects/default/devices/sensor-1/data/led").isGolioth(5, 404))
      #expect(try await api.get("/v1/projects/%FF", headers: ["x-api-key": key]).isGolioth(3, 400))
    }
    try await withAPI(keys: keys, configure: { $0.limits.requestsPerSecond = 1 }) { (api) async throws in
      #expect(try await api.get("/v1/projects", headers: ["x-api-key": key]).status == 200)
      let refused = try await api.get("/v1/projects", headers: ["x-api-key": key])
      #expect(refused.isGolioth(8, 429) && refused.header("Retry-After") == "1")
    }
    try await withAPI(configure: { $0.hosts = ["example.org"] }) { (api) async throws in
      #expect(try await api.get("/v1/projects").isGolioth(7, 403))
    }
  }

  @Test func `each call is a line in the log`() async throws {
    let log = RecordedLog()
    var logger = log.logger
    logger.logLevel = .info
    try await withAPI(log: logger) { (api) async throws in
      await api.devices.connect("sensor-1") { _, _ in .result(.notFound) }
      _ = try await api.golioth("sensor-1", #"{"method":"open"}"#)
      _ = try await api.golioth("nobody", #"{"method":"open"}"#)
    }
    #expect(log.lines.map { $0.metadata["outcome"] } == ["NOT_FOUND (5)", "unknown-device"])
    #expect(log.lines.map { $0.metadata["device"] } == ["sensor-1", "nobody"])
  }

  // MARK: Scripts

  private static func info(_ outcome: CallOutcome?, _ delivery: Delivery) -> CallInfo {
    CallInfo(
      id: CallID(milliseconds: 1, instance: 2, serial: 3), wireID: "m/0003", device: "d", call: Call("m"),
      state: outcome == nil ? .acknowledged : .ended, created: Date(timeIntervalSince1970: 0), outcome: outcome,
      evidence: CallEvidence(delivery))
  }

  private static func ask(_ caller: any DeviceCaller) async throws -> (status: Int, code: Int?, message: String?) {
    let routes = DeviceRPCRoutes(
      caller, keys: nil, administration: InMemoryRegistry(["d": ""]), configuration: .init(), readiness: { nil },
      logger: silentLog, now: { .zero })
    let route = try #require(routes.table.first { $0.description.name == "goliothCall" })
    let request = APIRequest(
      sender: Sender(key: nil), headers: [:], parameters: ["project": "default", "device": "d"], query: [],
      body: ["method": "m"], bytes: [])
    do {
      return (try await route.handler(request).status.code, nil, nil)
    } catch {
      #expect(route.description.problems.contains(error.kind))
      let document = ProblemForm.golioth.document(error)
      return (
        ProblemForm.golioth.response(to: error).status.code, document["code"]?.intValue, document["message"]?.stringValue
      )
    }
  }
}

/// Calls that do not end until they are cancelled.
private final class OpenCaller: DeviceCaller {
  let open: CallInfo
  let ended: CallInfo
  let waited = Mutex<Duration?>(nil)
  let cancelled = Mutex<[CallID]>([])

  init(open: CallInfo, cancelled: CallInfo) {
    self.open = open
    ended = cancelled
  }

  func begin(_ call: Call, on device: String, waiting patience: Duration?) async throws(CallError) -> CallInfo {
    waited.withLock { $0 = patience }
    return open
  }
  func info(of call: CallID, waiting patience: Duration?) async -> CallInfo? { open }
  func cancel(_ call: CallID) async -> CallInfo? {
    cancelled.withLock { $0.append(call) }
    return ended
  }
  func calls(_ query: CallQuery) async -> [CallInfo] { [] }
  func info(of device: String) async -> DeviceInfo? { nil }
  func devices(_ query: DeviceQuery) async -> [DeviceInfo] { [] }
  func events() -> AsyncStream<DeviceEvent> { AsyncStream { $0.finish() } }
}
