import DeviceRPC
import Testing

/// A device that changes from one door to another.
@Suite(.timeLimit(.minutes(2))) struct DoorChangeTests {
  @Test func `calls follow a ThingsBoard device that changes from CoAP to HTTP and back, with one token`() async throws {
    let (overCoAP, overHTTP) = (Door.thingsBoardCoAP(.coap), Door.thingsBoardHTTP)
    let name = ConformanceServer.names[0]
    try await withServer([overCoAP, overHTTP]) { (conformance) async throws in
      let server = conformance.server
      let sensor = server.device(name)

      func call(_ device: ConformanceDevice, _ number: Int, through door: Door) async throws {
        let result = try await sensor.call("echo", number)
        #expect(result.detail?["value"]?.intValue == number && device.numbers.last == number)
        let info = await sensor.info
        #expect(info?.isOnline == true && info?.dialect == door.dialect)
      }

      try await conformance.withDevice(name, through: overCoAP) { (device) async throws in
        try await call(device, 1, through: overCoAP)
        #expect(device.numbers == [1])
      }
      // It has deregistered; these two wait for it.
      let away = await sensor.info
      #expect(away?.isOnline == false)
      let kept = try await sensor.submit(Call("echo", params: [2]))
      let waiting = try await server.begin(Call("echo", params: [3], wait: .seconds(60)), on: name, waiting: .zero)
      try await conformance.withDevice(name, through: overHTTP) { (device) async throws in
        for id in [kept.id, waiting.id] {
          let ended = try #require(await server.info(of: id, waiting: nil))
          guard case .result(let result)? = ended.outcome else {
            Issue.record("\(ended)")
            continue
          }
          #expect(result.status == .ok)
        }
        #expect(device.numbers.sorted() == [2, 3])
        try await call(device, 4, through: overHTTP)
      }
      // A device that asks no more may be thought to be there for a while; that it observes tells better.
      try await conformance.withDevice(name, through: overCoAP) { (device) async throws in
        try await call(device, 5, through: overCoAP)
        #expect(device.numbers == [5])
      }
    }
  }
}
