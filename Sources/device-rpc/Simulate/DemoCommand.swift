// Simulate: `device-rpc simulate` and `demo`: devices in this program.
// Uses DeviceSimulator, the room Terminal, the log of Serve and the key option of Devices.

internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCCoAP
internal import DeviceSimulator
internal import Logging

struct DemoCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Show one call from the back end to a device and back, in a second.",
    discussion: """
      Starts a server on a free port of this machine and one simulated device, and has the device multiply two \
      numbers. Each line tells what really went over the wire. Nothing leaves the machine, and nothing is left behind.

      Examples:
        device-rpc demo
        device-rpc demo --format json
      """)

  @Option(help: "What the device wants its calls in: cbor, as firmware does, or json.")
  var format = SimulatedFormat.cbor

  func run() async throws {
    let output = Output()
    var configuration = CoAPConfiguration()
    configuration.listeners = [.init(port: 0)]
    configuration.shards = 1
    let server = try DeviceRPCServer(coap: configuration, logger: CompactLog.logger(level: .warning, output))
    do {
      try await server.start()
      try await tell(server, output)
    } catch {
      await server.shutdown()
      throw error
    }
    await server.shutdown()
  }

  private func tell(_ server: DeviceRPCServer, _ output: Output) async throws {
    guard let address = server.addresses.first, let port = address.split(separator: ":").last.flatMap({ UInt16($0) })
    else { throw CommandFailure("the server has no address") }
    output.line("1. A server listens on \(address).")

    let (events, continuation) = AsyncStream.makeStream(of: SimulatedEvent.self)
    var device = SimulatedDevice(name: "sensor-1", port: port, format: format)
    device.onEvent = { continuation.yield($0) }
    try await withThrowingTaskGroup(of: Void.self) { [device] group in
      group.addTask { try await device.run() }
      defer { group.cancelAll() }
      var story = Story(events: events.makeAsyncIterator(), output: output)
      try await story.connection()
      output.line("3. The back end calls:  try await server.device(\"sensor-1\").call(\"multiply\", 7, 191)")
      output.line("     or, to device-rpc serve --http 8080:")
      output.line(#"     curl --json '{"method":"multiply","params":[7,191]}' http://127.0.0.1:8080/v1/devices/sensor-1/calls"#)
      let result = try await server.device("sensor-1").call("multiply", 7, 191)
      try await story.callAndAnswer()
      output.line("6. The back end has the result, \(result.status), after \(result.roundTrip.milliseconds):")
      guard let value = result.detail?["value"] else { throw CommandFailure("the device sent no value") }
      output.line(value.intValue.map(String.init) ?? value.description)
    }
  }

  /// Prints the events of the device, in the order in which they happened.
  private struct Story {
    var events: AsyncStream<SimulatedEvent>.Iterator
    let output: Output

    mutating func connection() async throws {
      guard case .connected(let request, let answer) = await events.next() else { throw interrupted }
      output.line("2. A device connects and stays on the line:")
      show(request, answer)
    }

    mutating func callAndAnswer() async throws {
      guard case .called(_, _, _, let message) = await events.next() else { throw interrupted }
      output.line("4. The call reaches the device as a notification:")
      show(message)
      guard case .answered(_, _, let request, let answer) = await events.next() else { throw interrupted }
      output.line("5. The device runs its function and sends the result:")
      show(request, answer)
    }

    private func show(_ message: SimulatedMessage, _ answer: SimulatedMessage? = nil) {
      output.line("     \(message)")
      if let text = message.text { output.line("     \(text)  (\(message.payload.count) bytes)") }
      if let answer { output.line("     -> \(answer)\(answer.text.map { "  \($0)" } ?? "")") }
    }

    private var interrupted: CommandFailure { CommandFailure("the simulated device has lost its server") }
  }
}
