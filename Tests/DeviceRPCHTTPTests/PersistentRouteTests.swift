import DeviceRPC
import DeviceRPCTesting
import Foundation
import Synchronization
import Testing

@testable import DeviceRPCHTTP

/// Persistent calls over HTTP.
@Suite(.timeLimit(.minutes(1))) struct PersistentRouteTests {
  @Test func `a persistent call is taken at once, and is done when its device comes`() async throws {
    try await withAPI { (api) async throws in
      let body = #"{"method":"open","params":[3],"persistent":{"expires":604800}}"#
      let kept = try await api.call("valve-7", body)
      #expect(kept.status == 202 && kept["state"] == "queued" && kept["delivery"] == "notSent")
      let path = try #require(kept.header("Location"))
      #expect(path == "/v1/calls/\(kept["id"]?.stringValue ?? "")")
      let persistent = try #require(kept["persistent"])
      #expect(persistent["state"] == "QUEUED" && persistent["attempt"] == 0 && persistent["repeatable"] == false)
      #expect(persistent["attempts"] == RPCValue.null && persistent["reason"] == RPCValue.null)
      let tag = try #require(try await api.get(path).header("ETag"))
      #expect(try await api.get(path, headers: ["If-None-Match": tag]).status == 304)
      let waiter = Task { try await api.get(path, headers: ["Prefer": "wait=60"]) }
      await until { await api.server.status().waiters == 1 }
      await api.devices.connect("valve-7") { _, params in .ok(params) }
      let done = try await waiter.value
      #expect(done["state"] == "ended" && done["persistent"]?["state"] == "SUCCESSFUL" && done["detail"] == [3])
      #expect(try await api.get(path, headers: ["If-None-Match": tag]).status == 200)
      // Waited for, it is answered like any other call.
      let waited = try await api.call("valve-7", #"{"method":"open","persistent":{}}"#, headers: ["Prefer": "wait=60"])
      #expect(waited.status == 200 && waited["detail"] == [] && waited["persistent"]?["state"] == "SUCCESSFUL")
    }
  }

  @Test func `one that is taken back, or has failed, says so`() async throws {
    try await withAPI { (api) async throws in
      let kept = try await api.call("valve-7", #"{"method":"open","persistent":{"repeatable":true,"attempts":3}}"#)
      #expect(kept["persistent"]?["attempts"] == 3 && kept["persistent"]?["repeatable"] == true)
      let path = try #require(kept.header("Location"))
      let deleted = try await api.ask(.delete, path)
      #expect(deleted.status == 200 && deleted["persistent"]?["state"] == "DELETED")
      #expect(deleted["error"]?["type"] == "/v1/problems/cancelled" && deleted["safeToRepeat"] == true)
      #expect(try await api.get(path)["persistent"]?["state"] == "DELETED")
      await api.devices.connect("valve-7") { _, _ in .result(.failedPrecondition, "stuck") }
      let failed = try await api.call("valve-7", #"{"method":"open","persistent":{}}"#, headers: ["Prefer": "wait=60"])
      #expect(failed.status == 200 && failed["status"]?["code"] == 9 && failed["persistent"]?["state"] == "FAILED")
    }
  }

  @Test func `with an idempotency key it is made once`() async throws {
    try await withAPI { (api) async throws in
      let body = #"{"method":"open","persistent":{}}"#
      let first = try await api.call("valve-7", body, headers: ["Idempotency-Key": "k"])
      let again = try await api.call("valve-7", body, headers: ["Idempotency-Key": "k"])
      #expect(first.status == 202 && again.status == 202 && first["id"] == again["id"])
      #expect(await api.server.calls(of: "valve-7").count == 1)
    }
  }

  @Test(arguments: [
    (#""persistent":true"#, #"The member "persistent" must be an object."#),
    (#""persistent":{"expires":0}"#, #"The member "expires" must be a number of seconds from 0.001 to 31536000."#),
    (#""persistent":{"expires":"7d"}"#, #"The member "expires" must be a number of seconds from 0.001 to 31536000."#),
    (#""persistent":{"repeatable":true,"attempts":0}"#, #"The member "attempts" must be a whole number from 1 to 1000000."#),
    (#""persistent":{"retries":3}"#, #"The member "retries" is unknown; known are attempts, expires, repeatable."#),
  ]) func `what is wrong is named`(_ members: String, _ detail: String) async throws {
    try await withAPI { (api) async throws in
      let answer = try await api.call("valve-7", #"{"method":"m",\#(members)}"#)
      #expect(answer.status == 400 && answer["detail"] == .string(detail))
    }
  }

  @Test func `calls are listed by device and state, in pages, and to each key those that it may read`() async throws {
    let keys = InMemoryAPIKeys()
    let all = keys.add("all", .all)
    let plant = keys.add("plant", APIPermissions(devices: .only(names: [], prefixes: ["plant-"])))
    try await withAPI(keys: keys) { (api) async throws in
      await api.devices.connect("plant-1") { _, _ in .ok() }
      func call(_ device: String, _ method: String, _ more: String = #","persistent":{}"#) async throws {
        let answer = try await api.call(device, #"{"method":"\#(method)"\#(more)}"#, headers: ["x-api-key": all, "Prefer": "wait=60"])
        #expect(answer.status == 200)
      }
      func methods(_ query: String, key: String) async throws -> ([String], next: String?) {
        let answer = try await api.get("/v1/calls\(query)", headers: ["x-api-key": key])
        #expect(answer.status == 200)
        let calls = answer["calls"]?.arrayValue ?? []
        return (calls.compactMap { $0["method"]?.stringValue }, answer.header("Link"))
      }
      try await call("plant-1", "a")
      try await call("plant-1", "b", "")
      for method in ["c", "d"] {
        let kept = try await api.call("other", #"{"method":"\#(method)","persistent":{}}"#, headers: ["x-api-key": all])
        #expect(kept.status == 202)
      }
      #expect(try await methods("", key: all).0 == ["d", "c", "b", "a"])
      #expect(try await methods("", key: plant).0 == ["b", "a"])
      #expect(try await methods("?device=other", key: plant).0 == [])
      #expect(try await methods("?device=other", key: all).0 == ["d", "c"])
      #expect(try await methods("?state=SUCCESSFUL", key: all).0 == ["a"])
      #expect(try await methods("?state=ended", key: all).0 == ["b", "a"])
      #expect(try await methods("?state=queued&device=other", key: all).0 == ["d", "c"])
      let first = try await methods("?limit=1&state=queued", key: all)
      #expect(first.0 == ["d"])
      let next = try #require(first.next?.prefix { $0 != ">" }.dropFirst())
      #expect(next.hasPrefix("?state=queued&limit=1&after="))
      let second = try await methods(String(next), key: all)
      #expect(second.0 == ["c"] && second.next == nil)
      #expect(try await api.get("/v1/calls?state=gone", headers: ["x-api-key": all]).status == 400)
      #expect(try await api.get("/v1/devices/plant-1/calls?state=SUCCESSFUL", headers: ["x-api-key": plant])["calls"]?.arrayValue?.count == 1)
      #expect(try await api.get("/v1/devices/plant-1/calls?device=x", headers: ["x-api-key": all]).status == 400)
    }
  }
}
