import DeviceRPC
import DeviceRPCTesting
import Testing

@testable import DeviceRPCHTTP

@Suite(.timeLimit(.minutes(1))) struct MetadataTests {
  private let place = "/v1/devices/a/metadata"

  @Test func `metadata are read and set, also where there are no keys`() async throws {
    try await withAPI { (api) async throws in
      #expect(try await api.get(place).isProblem(.unknownDevice))
      #expect(try await api.ask(.put, place, #"{"metadata":{}}"#).isProblem(.unknownDevice))
      await api.devices.connect("a") { _, _ in .ok() }
      let empty = try await api.get(place)
      #expect(empty.status == 200 && empty.json == ["metadata": [:]])
      let text = #"{"metadata":{"panels":[{"type":"gpio"}],"other":1.5}}"#
      let set = try await api.ask(.put, place, text)
      #expect(set.status == 200 && set.text == text)
      let read = try await api.get(place)
      #expect(read.text == text && read.header("ETag") == set.header("ETag") && read.header("ETag") != empty.header("ETag"))
      let again = try await api.get(place, headers: ["If-None-Match": try #require(read.header("ETag"))])
      #expect(again.status == 304 && again.header("ETag") == read.header("ETag") && again.text.isEmpty)
    }
  }

  @Test func `of two who change the same metadata, the second is told`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("a") { _, _ in .ok() }
      let tag = try #require(try await api.get(place).header("ETag"))
      let first = try await api.ask(.put, place, #"{"metadata":{"n":1}}"#, headers: ["If-Match": tag])
      #expect(first.status == 200)
      let second = try await api.ask(.put, place, #"{"metadata":{"n":2}}"#, headers: ["If-Match": tag])
      #expect(second.isProblem(.preconditionFailed))
      #expect(try await api.get(place)["metadata"] == ["n": 1])
      let next = try #require(first.header("ETag"))
      #expect(try await api.ask(.put, place, #"{"metadata":{}}"#, headers: ["If-Match": "\(tag), \(next)"]).status == 200)
      #expect(try await api.ask(.put, place, #"{"metadata":{"n":3}}"#, headers: ["If-Match": "*"]).status == 200)
    }
  }

  @Test func `wrong metadata are refused, with what is wrong`() async throws {
    try await withAPI { (api) async throws in
      await api.devices.connect("a") { _, _ in .ok() }
      for body in ["{}", "[]", #"{"metadata":[]}"#, #"{"metadata":null}"#, #"{"metadata":{},"other":1}"#] {
        #expect(try await api.ask(.put, place, body).isProblem(.invalidRequest), "\(body)")
      }
      let long = String(repeating: "x", count: DeviceMetadata.longestJSON)
      let refused = try await api.ask(.put, place, "{\"metadata\":{\"t\":\"\(long)\"}}")
      #expect(refused.isProblem(.invalidRequest))
      #expect(refused["detail"] == "The metadata of a device may have 16384 bytes as JSON, not 16392.")
      #expect(try await api.get(place)["metadata"] == [:])
    }
  }

  @Test func `a key that may read a device reads its metadata, one that may administer it sets them`() async throws {
    let keys = InMemoryAPIKeys()
    let reader = keys.add("reader", .standard)
    let administrator = keys.add("administrator", .all)
    let nobody = keys.add("nobody", .none)
    try await withAPI(keys: keys) { (api) async throws in
      await api.devices.connect("a") { _, _ in .ok() }
      let body = #"{"metadata":{"n":1}}"#
      for (key, get, put) in [(reader, 200, 403), (administrator, 200, 200), (nobody, 403, 403)] {
        #expect(try await api.ask(.put, place, body, headers: ["x-api-key": key]).status == put)
        #expect(try await api.get(place, headers: ["x-api-key": key]).status == get)
      }
    }
  }
}
