internal import ArgumentParser
internal import CoAP
internal import DeviceRPC
internal import DeviceRPCCoAP
internal import DeviceRPCStore
internal import Logging
internal import ServiceLifecycle

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Run a server: devices connect to it, and calls are typed.",
    discussion: """
      Tells where it listens and which devices come and go, and reads calls from standard input, one a line:

        sensor-1 multiply 7 191          call a function with two parameters
        sensor-1 echo {"led": [1, 0]}    a parameter is JSON where it is JSON
        sensor-1 echo hello              and text where it is not
        sensor-1                         show a device
        devices                          list all devices

      Each result is a line such as
        sensor-1 multiply/74e4 OK (0) {"value":1337.0} 0.4 ms

      The server ends with Ctrl-C, SIGTERM, "quit" or, at a terminal, Ctrl-D: open calls have 5 s to end, and the exit \
      code is 0. A second Ctrl-C ends it at once. It goes on when its input is a file or a pipe that ends, \
      and when nobody reads its output any more.

      With --data, devices connect over DTLS with the keys and certificates that "device-rpc devices" keeps there, from \
      anywhere: at coaps://0.0.0.0:5684, and for trying things at coap://127.0.0.1:5683. Changes of the devices take effect \
      within a quarter of a second, also on those that are connected. An address such as [::] is for IPv6 alone.

      Examples:
        device-rpc serve
        device-rpc serve --data device-rpc-data
        device-rpc serve --data data --certificate s.pem --key s.key --ca ca.pem
        device-rpc serve --data data --listen coaps://[::] --listen coaps+tcp://[::]
        device-rpc serve --port 0 --wait 30
        echo 'sensor-1 multiply 7 191' | device-rpc serve --wait 60
      """)

  enum Numbers: String, ExpressibleByArgument, CaseIterable {
    case floats
    case asWritten = "as-written"
  }

  @OptionGroup(title: "Where devices connect")
  var listening: ListenOptions

  @Option(
    help: ArgumentHelp(
      "How numbers go out in CBOR: floats, the only kind that stock firmware reads, or as-written, with integers as "
        + "integers.", valueName: "kind"))
  var numbers = Numbers.floats

  @Option(
    help: ArgumentHelp(
      "The longest call that is sent; stock firmware drops what does not fit a datagram.", valueName: "bytes"))
  var maxPayload = 1_096

  @Option(help: ArgumentHelp("How long to wait for a result.", valueName: "seconds"))
  var timeout = 10.0

  @Option(help: ArgumentHelp("How long a call waits for a device that is not connected.", valueName: "seconds"))
  var wait = 0.0

  @Option(
    help: ArgumentHelp(
      "Silence of a device after which it is pinged, and pinged again; 0 for never.",
      valueName: "seconds"))
  var probeInterval = 30.0

  @Option(
    help: ArgumentHelp(
      "Unanswered pings in a row after which a device counts as offline, 1 to 1000.", valueName: "number"))
  var unansweredProbes = 3

  @Option(
    help: ArgumentHelp(
      "Threads that serve devices, 1 to 64; one serves tens of thousands of calls a second.", valueName: "number"))
  // More threads are faster only if one is busy all the time. A call may then have to change threads, which costs a fifth of the
  // throughput if calls come one at a time, or if there are only ten devices (Benchmarks/README.md).
  var threads = 1

  @Option(
    help: ArgumentHelp("What is logged to standard error: trace, debug, info, notice, warning, error or critical.", valueName: "level"))
  var logLevel = Logger.Level.notice

  func validate() throws {
    guard (1...1_048_576).contains(maxPayload) else {
      throw ValidationError("--max-payload is a number of bytes from 1 to 1048576.")
    }
    guard (0.001...86_400).contains(timeout) else { throw ValidationError("--timeout is 0.001 to 86400 seconds.") }
    guard wait == 0 || (0.001...86_400).contains(wait) else { throw ValidationError("--wait is 0, or 0.001 to 86400 seconds.") }
    guard probeInterval == 0 || (1...86_400).contains(probeInterval) else {
      throw ValidationError("--probe-interval is 0, or 1 to 86400 seconds.")
    }
    guard (1...1_000).contains(unansweredProbes) else {
      throw ValidationError("--unanswered-probes is a number from 1 to 1000.")
    }
    guard (1...64).contains(threads) else { throw ValidationError("--threads is a number from 1 to 64.") }
  }

  func run() async throws {
    let output = Output(whenUnread: Output.goesOn)
    let logger = CompactLog.logger(level: logLevel, output)
    let store = try listening.openStore(logger)
    defer { store?.close() }
    let server = try makeServer(store, logger)
    let console = Console(server: server, output: output, wait: .seconds(wait))
    do {
      try await server.start()
    } catch {
      await server.shutdown()
      let cause = error as? CoAPSystemError
      var hint = cause?.isAddressInUse == true ? " (is another server running? choose another port, with --listen or --port)" : ""
      if cause?.isOutOfDescriptors == true {
        hint = "; a thread needs about 100 for each address, so take fewer --threads, or raise the hard limit, ulimit -Hn"
      }
      output.error("\(error)\(hint)")
      throw ExitCode.failure
    }
    let devices = try await store?.devices()
    for line in Greeting.lines(addresses: server.addresses, devices: devices, dataAgain: listening.dataAgain) {
      output.line(line)
    }
    var services: [any Service] = [console, server]
    // Services end in reverse order, so the first one also records the times of devices that are disconnected at shutdown.
    if let store { services.insert(LastSeenRecorder(server: server, store: store, logger: logger), at: 0) }
    let runner = Runner(services, logger: logger) { console.willEnd() }
    try await runner.run { await console.quit() }
  }

  private func makeServer(_ store: DeviceStore?, _ logger: Logger) throws -> DeviceRPCServer {
    var configuration = listening.configuration(store)
    configuration.golioth.numbers = numbers == .floats ? .floats : .asWritten
    configuration.golioth.maximumPayload = maxPayload
    configuration.loops = threads
    var limits = Limits()
    limits.defaultTimeout = .seconds(timeout)
    limits.probeInterval = probeInterval == 0 ? nil : .seconds(probeInterval)
    limits.unansweredProbes = unansweredProbes
    do {
      return try DeviceRPCServer(coap: configuration, limits: limits, logger: logger)
    } catch let error as CoAPConfigurationError {
      throw CommandFailure(Output.safe("\(error)"))
    }
  }
}
