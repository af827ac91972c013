import AsyncHTTPClient
import DeviceRPC
import DeviceRPCTesting
import Foundation
import Testing

@testable import DeviceRPCHTTP

@Suite(.timeLimit(.minutes(1))) struct EventRouteTests {
  // MARK: Through the router

  @Test func `what happens to a device and its calls is told, until the server ends`() async throws {
    try await withAPI { (api) async throws in
      async let answer = api.get("/v1/events?device=sensor-1")
      await until { api.events.readers == 1 }
      for name in ["sensor-1", "sensor-2"] { await api.devices.connect(name) { _, _ in .ok(7) } }
      let call = try await api.call("sensor-1", #"{"method":"m"}"#)
      await api.devices.disconnect("sensor-1")
      await api.server.shutdown()
      let stream = try await answer
      #expect(stream.status == 200 && stream.header("Content-Type") == "text/event-stream")
      #expect(stream.header("Cache-Control") == "no-store" && stream.header("X-Accel-Buffering") == "no")
      let events = ReadEvent.read(stream.text).filter { $0.name != nil }
      #expect(events.map(\.name) == ["device.online", "call.sent", "call.acknowledged", "call.ended", "device.offline"])
      #expect(events[0].data?["device"]?["name"] == "sensor-1" && events[0].data?["device"]?["state"] == "observing")
      #expect(events[3].data?["call"] == call.json)
      #expect(events[4].data?["device"]?["state"] == "offline" && events[4].data?["reason"]?.stringValue?.isEmpty == false)
      await until { api.events.readers == 0 && !api.events.isFollowing }
    }
  }

  @Test func `requests for events that cannot be had are refused`() async throws {
    let keys = InMemoryAPIKeys()
    let some = keys.add("some", APIPermissions(devices: .only(names: ["a"])))
    let blind = keys.add("blind", APIPermissions(allowsReading: false))
    try await withAPI(keys: keys, configure: { $0.limits.eventReaders = 0 }) { (api) async throws in
      for (path, key, status, type) in [
        ("/v1/events", "", 401, "unauthorized"), ("/v1/events", blind, 403, "forbidden"),
        ("/v1/events?device=a", blind, 403, "forbidden"), ("/v1/events?device=b", some, 403, "forbidden"),
        ("/v1/events?device=a", some, 429, "limit-exceeded"), ("/v1/events", some, 429, "limit-exceeded"),
        ("/v1/events?device=", some, 400, "invalid-request"),
        ("/v1/events?devices=a", some, 400, "invalid-request"), ("/v1/events?device=a&device=b", some, 400, "invalid-request"),
      ] {
        let answer = try await api.get(path, headers: ["x-api-key": key])
        #expect(answer.status == status && answer.type == "/v1/problems/\(type)", "\(path)")
        #expect((answer.header("Retry-After") != nil) == (status == 429))
      }
      #expect(api.events.readers == 0 && !api.events.isFollowing)
    }
  }

  @Test func `a response that is not written leaves nothing behind`() async throws {
    try await withAPI { (api) async throws in
      let head = try await api.ask(.head, "/v1/events")
      #expect(head.status == 200 && head.header("Content-Type") == "text/event-stream" && head.text.isEmpty)
      await until { api.events.readers == 0 }
    }
  }

  // MARK: Over a socket

  @Test func `each event comes as soon as it happens`() async throws {
    try await withAPI(setup: .live) { (api) async throws in
      var stream = try await EventStream.open("\(api.url)/v1/events")
      for number in 0..<10 {
        await api.devices.connect("\(number)") { _, _ in .ok() }
        #expect(try await stream.next("device.online")?.data?["device"]?["name"] == .string("\(number)"))
      }
      #expect(stream.comments == ["heartbeat"])
    }
  }

  @Test func `a client that comes back gets what it has missed`() async throws {
    try await withAPI(setup: .live) { (api) async throws in
      var id: String?
      do {
        var stream = try await EventStream.open("\(api.url)/v1/events")
        await api.devices.connect("a") { _, _ in .ok() }
        _ = try await stream.next("device.online")
        id = stream.lastID
      }
      // The stream is closed when its response is released.
      await until { api.events.readers == 0 }
      for name in ["b", "c"] { await api.devices.connect(name) { _, _ in .ok() } }
      var stream = try await EventStream.open("\(api.url)/v1/events", headers: ["Last-Event-ID": try #require(id)])
      for name in ["b", "c"] { #expect(try await stream.next("device.online")?.data?["device"]?["name"] == .string(name)) }
      var strange = try await EventStream.open("\(api.url)/v1/events", headers: ["Last-Event-ID": "k3v9-7"])
      #expect(try await strange.next()?.data?["reason"] == "unknown-id")
    }
  }

  @Test func `a key that is revoked ends its stream at once`() async throws {
    let keys = InMemoryAPIKeys()
    let (revoked, stays) = (keys.add("revoked"), keys.add("stays"))
    try await withAPI(keys: keys, setup: .live) { (api) async throws in
      var ends = try await EventStream.open("\(api.url)/v1/events", headers: ["x-api-key": revoked])
      var goesOn = try await EventStream.open("\(api.url)/v1/events", headers: ["x-api-key": stays])
      keys.remove(id: try #require(APIKeyText(revoked)).id)
      while try await ends.next() != nil {}
      #expect(ends.comments == ["heartbeat", "the API key is no longer valid"])
      await api.devices.connect("a") { _, _ in .ok() }
      #expect(try await goesOn.next("device.online") != nil)
      #expect(api.events.readers == 1)
    }
  }

  @Test func `a client that does not read loses events, and disturbs neither others nor the end of the server`() async throws {
    let caller = EventCaller()
    let clock = ManualClock()
    try await withServer(caller, clock: clock, configure: { $0.limits.eventsPerReader = 20 }) { url, events, shutDown in
      var slow: EventStream? = try await EventStream.open("\(url)/v1/events")
      let stuck = try await EventStream.open("\(url)/v1/events")
      var quick = try await EventStream.open("\(url)/v1/events?device=quick")
      // More than the sockets take, for a device that the quick one does not follow.
      while events.dropping < 2 {
        let latest = events.latest
        caller.send(.ended("a", 100_000))
        await until { events.latest > latest }
      }
      caller.send(.test("quick", 7))
      #expect(try await quick.next("result.stray")?.number == 7)
      let all = events.latest
      // Whoever reads at last knows of every event, or how many are missing.
      var known = 0
      while known < all - 1, let event = try await slow?.next() {
        if event.name == "call.ended" { known += 1 }
        if event.name == "gap" { known += event.data?["dropped"]?.intValue ?? 0 }
      }
      #expect(known >= all - 1)
      slow = nil
      await shutDown()
      // Nobody reads the other one, and it is given some time to be read.
      while events.readers > 0 {
        await clock.advance(by: .seconds(1))
        await Task.yield()
      }
      _ = stuck
    }
  }

  @Test func `a stream outlives the time after which idle connections are closed`() async throws {
    let caller = EventCaller()
    let idleTime = Duration.milliseconds(100)
    try await withServer(caller, clock: ManualClock(), configure: { $0.limits.idleTime = idleTime }) { url, events, shutDown in
      var stream = try await EventStream.open("\(url)/v1/events")
      #expect(try await stream.next()?.comment == "heartbeat")
      // Connections that came later are closed meanwhile, one after the other.
      let port = try #require(URL(string: url)?.port)
      for _ in 0..<3 { try await untilClosed(port: port) }
      caller.send(.test("a", 7))
      #expect(try await stream.next("result.stray")?.number == 7)
      await shutDown()
      #expect(try await stream.next() == nil)
    }
  }
}
