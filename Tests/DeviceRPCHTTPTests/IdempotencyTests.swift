import DeviceRPC
import DeviceRPCTesting
import Foundation
import Synchronization
import Testing

@testable import DeviceRPCHTTP

@Suite(.timeLimit(.minutes(1))) struct IdempotencyTests {
  private let body = #"{"method":"add"}"#

  @Test func `requests with one key at once make one call, and all get the same bytes`() async throws {
    try await withAPI { (api) async throws in
      let runs = Atomic(0)
      await api.devices.connect("sensor-1") { _, _ in .ok(RPCValue(runs.add(1, ordering: .relaxed).newValue)) }
      let answers = try await withThrowingTaskGroup(of: String.self) { group in
        for _ in 0..<200 {
          group.addTask { try await api.call("sensor-1", body, headers: ["Idempotency-Key": "k"]).text }
        }
        return try await group.reduce(into: Set()) { $0.insert($1) }
      }
      #expect(answers.count == 1 && runs.load(ordering: .relaxed) == 1)
      #expect(try await api.call("sensor-1", body, headers: ["Idempotency-Key": "k"]).text == answers.first)
      #expect(try await api.call("sensor-1", body, headers: ["Idempotency-Key": "l"])["detail"] == 2)
      #expect(try await api.call("sensor-1", body)["detail"] == 3)
    }
  }

  @Test func `a key stands for one device and one body`() async throws {
    try await withAPI { (api) async throws in
      for name in ["a", "b"] { await api.devices.connect(name) { _, _ in .ok() } }
      func status(_ device: String, _ body: String) async throws -> Int {
        try await api.call(device, body, headers: ["Idempotency-Key": "k"]).status
      }
      #expect(try await status("a", body) == 200)
      #expect(try await status("b", body) == 422)
      #expect(try await status("a", #"{"method":"add","params":[1]}"#) == 422)
      #expect(try await status("a", body) == 200)
      #expect(try await api.call("a", body, headers: ["Idempotency-Key": String(repeating: "k", count: 256)]).status == 400)
    }
  }

  @Test func `the call is made even if the client goes away, and is there when it asks again`() async throws {
    try await withAPI { (api) async throws in
      let runs = Atomic(0)
      await api.devices.connect("sensor-1") { _, _ in
        runs.add(1, ordering: .relaxed)
        return .silence
      }
      let gone = Task { try await api.call("sensor-1", body, headers: ["Idempotency-Key": "k"]) }
      await until { await api.server.calls().count == 1 }
      gone.cancel()
      _ = await gone.result
      async let again = api.call("sensor-1", body, headers: ["Idempotency-Key": "k"])
      await api.devices.advance(by: .seconds(10))
      let answer = try await again
      #expect(answer.status == 504 && answer.type == "/v1/problems/unanswered")
      #expect(runs.load(ordering: .relaxed) == 1)
    }
  }

  @Test func `what was refused before it was sent may be tried again with the same key`() async throws {
    try await withAPI { (api) async throws in
      #expect(try await api.call("sensor-1", body, headers: ["Idempotency-Key": "k"]).status == 404)
      await api.devices.connect("sensor-1") { _, _ in .ok() }
      #expect(try await api.call("sensor-1", body, headers: ["Idempotency-Key": "k"]).status == 200)
    }
  }

  @Test func `keys are forgotten after their time, and are bounded for each client`() async throws {
    let clock = TestClock()
    let keys = InMemoryAPIKeys()
    let (a, b) = (keys.add("a"), keys.add("b"))
    try await withAPI(keys: keys, time: { clock.now }, configure: { $0.limits.idempotencyKeys = 3 }) { (api) async throws in
      let runs = Atomic(0)
      await api.devices.connect("sensor-1") { _, _ in .ok(RPCValue(runs.add(1, ordering: .relaxed).newValue)) }
      func ask(_ key: String, _ client: String) async throws -> API.Answer {
        try await api.call("sensor-1", body, headers: ["Idempotency-Key": key, "x-api-key": client])
      }
      #expect(try await ask("k", a)["detail"] == 1)
      // Another client's is another one.
      #expect(try await ask("k", b)["detail"] == 2)
      #expect(try await ask("k", a)["detail"] == 1)
      for key in ["l", "m"] { #expect(try await ask(key, a).status == 200) }
      let refused = try await ask("n", a)
      #expect(refused.status == 429 && refused.header("Retry-After") == "60" && refused["safeToRepeat"] == true)
      #expect(try await ask("l", b).status == 200)
      clock.advance(by: .seconds(3_599))
      #expect(try await ask("k", a)["detail"] == 1)
      clock.advance(by: .seconds(1))
      #expect(try await ask("k", a)["detail"] == 6)
    }
  }
}
