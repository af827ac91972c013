import DeviceRPC
import DeviceRPCTesting
import Foundation
import Logging
import Testing
import TestSupport

@testable import DeviceRPCHTTP

@Suite(.timeLimit(.minutes(1))) struct AccessTests {
  private let body = #"{"method":"open"}"#

  @Test func `without keys a server on loopback is open, until there is one`() async throws {
    let keys = InMemoryAPIKeys()
    try await withAPI(keys: keys) { (api) async throws in
      #expect(try await api.get("/v1/devices").status == 200)
      let text = keys.add("back end")
      let refused = try await api.get("/v1/devices")
      #expect(refused.status == 401 && refused.header("WWW-Authenticate") == "Bearer" && refused.type == "/v1/problems/unauthorized")
      for headers in [["Authorization": "Bearer \(text)"], ["Authorization": "bearer \(text)"], ["x-api-key": text]] {
        #expect(try await api.get("/v1/devices", headers: headers).status == 200)
      }
      // What says nothing of devices needs no key.
      #expect(try await api.get("/healthz").status == 200)
      #expect(try await api.get("/v1/openapi.json").status == 200)
    }
  }

  @Test func `a key that is wrong, expired or revoked is refused at once`() async throws {
    let keys = InMemoryAPIKeys()
    let good = keys.add("good")
    let expired = keys.add("expired", expires: Date(timeIntervalSince1970: 1_790_000_000))
    try await withAPI(keys: keys) { (api) async throws in
      func status(_ text: String) async throws -> Int {
        try await api.get("/v1/devices", headers: ["Authorization": "Bearer \(text)"]).status
      }
      #expect(try await status(good) == 200)
      #expect(try await status(expired) == 401)
      let last: Character = good.last == "A" ? "B" : "A"
      for wrong in [good.dropLast() + String(last), good + "A", "x", "", "drpc__", String(good.reversed())] as [String] {
        #expect(try await status(wrong) == 401, "\(wrong)")
      }
      keys.remove(id: try #require(APIKeyText(good)).id)
      #expect(try await status(good) == 401)
      #expect(try await api.get("/v1/devices", headers: ["Authorization": "Basic abc"]).status == 401)
    }
  }

  @Test func `a key does what it may, with the devices and methods that it may`() async throws {
    let keys = InMemoryAPIKeys()
    let some = keys.add("some", APIPermissions(devices: .only(names: [], prefixes: ["plant-"]), methods: .only(["open"])))
    let reader = keys.add("reader", APIPermissions(methods: .none))
    let caller = keys.add("caller", APIPermissions(allowsReading: false))
    try await withAPI(keys: keys) { (api) async throws in
      for name in ["plant-1", "plant-2", "other"] { await api.devices.connect(name) { _, _ in .ok() } }
      func status(_ key: String, _ device: String, _ method: String) async throws -> Int {
        try await api.call(device, "{\"method\":\"\(method)\"}", headers: ["x-api-key": key]).status
      }
      #expect(try await status(some, "plant-1", "open") == 200)
      #expect(try await status(some, "plant-1", "close") == 403)
      #expect(try await status(some, "other", "open") == 403)
      #expect(try await status(reader, "plant-1", "open") == 403)
      #expect(try await status(caller, "other", "close") == 200)
      func names(_ key: String, _ query: String = "") async throws -> [String] {
        try await api.get("/v1/devices\(query)", headers: ["x-api-key": key])["devices"]?.arrayValue?
          .compactMap { $0["name"]?.stringValue } ?? []
      }
      #expect(try await names(some) == ["plant-1", "plant-2"])
      #expect(try await names(some, "?limit=1") == ["plant-1"])
      #expect(try await names(reader) == ["other", "plant-1", "plant-2"])
      #expect(try await names(caller).isEmpty)
      let foreign = try #require(await api.server.calls(of: "other").first).id
      for (key, path, code) in [
        (some, "/v1/devices/other", 403), (some, "/v1/calls/\(foreign)", 403), (some, "/v1/devices/other/calls", 403),
        (caller, "/v1/devices/other", 403), (reader, "/v1/calls/\(foreign)", 200),
      ] {
        #expect(try await api.get(path, headers: ["x-api-key": key]).status == code, "\(path)")
      }
      #expect(try await api.ask(.delete, "/v1/calls/\(foreign)", headers: ["x-api-key": reader]).status == 403)
    }
  }

  @Test func `requests for another host are refused`() async throws {
    try await withAPI(configure: { $0.hosts = ["example.org"] }) { (api) async throws in
      let answer = try await api.get("/v1/devices")
      #expect(answer.status == 421 && answer.type == "/v1/problems/wrong-host")
    }
    #expect(HTTPConfiguration().allowedHosts == ["localhost", "127.0.0.1", "::1"])
    #expect(HTTPConfiguration(host: "0.0.0.0").allowedHosts == nil)
    for (authority, host) in [("LocalHost:8080", "localhost"), ("[::1]:80", "::1"), ("", ""), ("[", ""), (":1", ""), ("evil.example", "evil.example")] {
      #expect(Gate.host(in: authority) == host)
    }
  }

  @Test(arguments: [
    ("127.0.0.1", true), ("127.9.9.9", true), ("localhost", true), ("::1", true), ("0.0.0.0", false), ("::", false),
    ("127.evil.example", false), ("127.0.0.1.evil.example", false), ("192.0.2.1", false), ("", false),
  ])
  func `the door is open without keys on loopback only`(_ host: String, _ isLoopback: Bool) {
    #expect(HTTPConfiguration(host: host).isLoopback == isLoopback)
  }

  @Test func `a key that sends too much waits, and others do not`() async throws {
    let clock = TestClock()
    let keys = InMemoryAPIKeys()
    let (busy, calm) = (keys.add("busy"), keys.add("calm"))
    try await withAPI(keys: keys, time: { clock.now }, configure: { $0.limits.requestsPerSecond = 5 }) { (api) async throws in
      func status(_ key: String) async throws -> Int { try await api.get("/v1/devices", headers: ["x-api-key": key]).status }
      for _ in 0..<5 { #expect(try await status(busy) == 200) }
      let refused = try await api.get("/v1/devices", headers: ["x-api-key": busy])
      #expect(refused.status == 429 && refused.header("Retry-After") == "1")
      #expect(try await status(calm) == 200)
      clock.advance(by: .milliseconds(200))
      #expect(try await status(busy) == 200)
      #expect(try await status(busy) == 429)
    }
  }

  @Test func `each call is a line in the log, with its parameters only if wanted`() async throws {
    for hasParams in [false, true] {
      let log = RecordedLog()
      let keys = InMemoryAPIKeys()
      let key = keys.add("back end")
      var logger = log.logger
      logger.logLevel = .info
      try await withAPI(keys: keys, log: logger, configure: { $0.logsParams = hasParams }) { (api) async throws in
        await api.devices.connect("sensor-1") { _, _ in .result(.notFound) }
        _ = try await api.call("sensor-1", #"{"method":"open","params":["secret"]}"#, headers: ["x-api-key": key])
        _ = try await api.call("nobody", #"{"method":"open"}"#, headers: ["x-api-key": key])
      }
      try #require(log.lines.count == 2)
      let line = log.lines[0].metadata
      #expect(line["key"] == "back end" && line["device"] == "sensor-1" && line["method"] == "open")
      #expect(line["outcome"] == "NOT_FOUND (5)" && line["delivery"] == "refused")
      #expect(line["params"] == (hasParams ? #"["secret"]"# : nil))
      #expect(log.lines[1].metadata["outcome"] == "unknown-device")
    }
  }
}
