internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCCoAP
internal import Glibc
internal import Logging
internal import Synchronization

/// Many calls at once to one device with little memory, over a network with a round trip.
struct Window: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Call one device many times at once, as Golioth's firmware is, and print one JSON line.",
    discussion: """
      The device acknowledges a call and queues two requests, a log line and the result. Its queue holds --queue requests, \
      of which one at a time is sent; a request that does not fit is dropped, as in Golioth's SDK. Every message takes half \
      of --round-trip.
      """)

  @Option(help: "Calls without a result that the device may have at a time.") var window = 5
  @Option(help: "Number of calls.") var calls = 100
  @Option(help: "Requests that the device's queue holds.") var queue = 10
  @Option(help: "Round trip of the network in milliseconds.") var roundTrip = 50.0
  @Option(help: "Seconds after which a call counts as lost.") var timeout = 30.0

  func validate() throws {
    guard [window, calls, queue].allSatisfy((1...10_000).contains) else {
      throw ValidationError("--window, --calls and --queue must be 1…10000.")
    }
    guard (0...10_000).contains(roundTrip), timeout > 0, timeout <= 3_600 else {
      throw ValidationError("--round-trip must be 0…10000 ms, --timeout above 0, at most 3600 s.")
    }
  }

  func run() async throws {
    var configuration = CoAPConfiguration()
    configuration.listeners = [.init(.udp, host: "127.0.0.1", port: 0)]
    var settings = GoliothSettings()
    settings.unansweredCalls = window
    configuration.devices["d0"] = settings
    var log = Logger(label: "rpc-bench")
    log.logLevel = .critical
    let server = try DeviceRPCServer(coap: configuration, logger: log)
    try await server.start()
    guard let port = server.addresses.first?.split(separator: ":").last.flatMap({ UInt16($0) }),
      let device = QueueingDevice(port: port, capacity: queue, delay: UInt64(roundTrip / 2 * 1e6))
    else { throw ValidationError("There is no socket for the device.") }
    let serving = Task.detached { device.run() }
    while await server.onlineDevices() == 0 { try await Task.sleep(for: .milliseconds(5)) }

    let start = monotonic()
    // When a call was answered; 0 for one that was lost.
    let answered = await withTaskGroup(of: UInt64.self) { group in
      for number in 0..<calls {
        group.addTask {
          let result = try? await server.device("d0").call("count", number, timeout: .seconds(timeout))
          return result == nil ? 0 : monotonic()
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    device.stop()
    await serving.value
    await server.shutdown()
    let count = answered.filter { $0 > 0 }.count
    let seconds = Double(max(start, answered.max() ?? 0) - start) * 1e-9
    let rate = count == 0 ? 0 : (Double(count) / seconds * 10).rounded() / 10
    print(
      """
      {"window":\(window),"calls":\(calls),"answered":\(count),"dropped":\(device.dropped.load(ordering: .relaxed)),\
      "answersPerSecond":\(rate)}
      """)
  }
}
