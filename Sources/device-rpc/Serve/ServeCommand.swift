internal import ArgumentParser
internal import CoAP
internal import DeviceRPC
internal import DeviceRPCCoAP
internal import DeviceRPCHTTP
internal import DeviceRPCStore
internal import Foundation
internal import Logging
internal import Metrics
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

      Options can also stand in the environment and in a JSON file, --config: DEVICE_RPC_LOG_LEVEL=debug, or \
      {"log-level": "debug"}, with the name of the option as the key. Lists are JSON arrays, and are separated by commas \
      in the environment; flags are true or false. The command line wins over the environment, and that over the file. \
      DEVICE_RPC_CONFIG names the file when --config does not. An unknown key or variable is an error.

      Examples:
        device-rpc serve
        device-rpc serve --data device-rpc-data
        device-rpc serve --data data --certificate s.pem --key s.key --ca ca.pem
        device-rpc serve --data data --listen coaps://[::] --listen coaps+tcp://[::]
        device-rpc serve --port 0 --wait 30
        device-rpc serve --thingsboard --http 8080
        device-rpc serve --config device-rpc.json --print-config
        echo 'sensor-1 multiply 7 191' | device-rpc serve --wait 60
      """)

  @OptionGroup
  var options: ServeOptions

  // An array, so that a second --config is noticed; the parser would take the last one silently.
  @Option(
    help: ArgumentHelp(
      "Read options from this JSON file. A relative path in it starts at the folder of the file.", valueName: "file"),
    completion: .file(extensions: ["json"]))
  var config: [String] = []

  @Flag(help: "Print the options that are in force and where each comes from, and end.")
  var printConfig = false

  // Both are reported by `run`, because `validate` runs also when help is asked for.
  private var configurationError: String?
  private var configurationLines: [String] = []

  mutating func validate() throws {
    guard config.count <= 1 else { throw ValidationError("--config can be given only once.") }
    let environment = ProcessInfo.processInfo.environment
    do {
      let file = try (config.first ?? environment[configVariable]).map { try ConfigurationFile(path: $0) }
      let resolution = try Resolution(options, ServeOptions.settings, environment: environment, file: file)
      options = resolution.options
      configurationLines = resolution.lines
      do {
        try options.listening.check()
        try options.http.check()
      } catch {
        throw resolution.explained(error)
      }
    } catch let error as ConfigurationError {
      configurationError = error.description
    }
  }

  func run() async throws {
    if let configurationError {
      Output().error("Error: \(configurationError)")
      throw ExitCode.validationFailure
    }
    if printConfig {
      let output = Output()
      return configurationLines.forEach(output.line)
    }
    let output = Output(whenUnread: Output.goesOn)
    let logger = CompactLog.logger(level: options.logLevel, output)
    let listening = options.listening
    let store = try listening.openStore(logger)
    defer { store?.close() }
    let journal = options.journal.open(listening.data, logger)
    defer { (journal as? SQLiteCallJournal)?.close() }
    let metrics = PrometheusMetrics()
    let configuration = options.http.configuration(hasData: store != nil)
    // Before the server is made, which looks for it.
    if configuration != nil { MetricsSystem.bootstrap(metrics) }
    let server = try makeServer(store, journal, logger)
    var http: DeviceRPCHTTPServer?
    if let configuration { http = try await makeHTTP(configuration, server, store, metrics, logger, output) }
    let console = Console(server: server, output: output, wait: .seconds(options.wait))
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
    // Services end in reverse order: calls end, and are answered over HTTP, before its connections are closed.
    var services: [any Service] = [console, server]
    if let http { services.insert(http, at: 0) }
    // The first one, so it also records the times of devices that are disconnected at shutdown.
    if let store { services.insert(LastSeenRecorder(server: server, store: store, logger: logger), at: 0) }
    let runner = Runner(services, logger: logger) { console.willEnd() }
    do {
      try await runner.run { await console.quit() }
    } catch let error as HTTPStartError {
      output.error("\(error) (choose another port with --http, or --http off)")
      throw ExitCode.failure
    }
  }

  private func makeHTTP(
    _ configuration: HTTPConfiguration, _ server: DeviceRPCServer, _ store: DeviceStore?, _ metrics: PrometheusMetrics,
    _ logger: Logger, _ output: Output
  ) async throws -> DeviceRPCHTTPServer {
    let http = DeviceRPCHTTPServer(
      server, keys: store, administration: store, metadata: store,
      thingsBoard: options.thingsboard ? ThingsBoardHTTP(server, credentials: store, users: store) : nil, configuration: configuration,
      isReady: {
        do {
          try await store?.checkWritable()
          return await server.journalProblem().map { "calls cannot be kept: \($0)" }
        } catch {
          return "\(error)"
        }
      }, metrics: metrics, logger: logger
    ) { url in
      output.line("listening on \(url)")
      output.line("console:           \(url)/")
      output.line("call over HTTP:    curl --json '{\"method\":\"multiply\",\"params\":[7,191]}' \(url)/v1/devices/sensor-1/calls")
    }
    do {
      try await http.check()
    } catch {
      throw CommandFailure("\(Output.safe("\(error)")); see device-rpc serve --help for --http")
    }
    return http
  }

  private func makeServer(_ store: DeviceStore?, _ journal: any CallJournal, _ logger: Logger) throws -> DeviceRPCServer {
    var configuration = options.listening.configuration(store)
    configuration.golioth.numbers = options.numbers == .floats ? .floats : .asWritten
    configuration.golioth.maximumPayload = options.maxPayload
    configuration.thingsBoard = options.thingsboard ? ThingsBoardSettings() : nil
    configuration.loops = options.threads
    var limits = Limits()
    limits.defaultTimeout = .seconds(options.timeout)
    limits.probeInterval = options.probeInterval == 0 ? nil : .seconds(options.probeInterval)
    limits.unansweredProbes = options.unansweredProbes
    limits.pacing = options.journal.pacing.ofLimits
    do {
      return try DeviceRPCServer(coap: configuration, limits: limits, journal: journal, logger: logger)
    } catch let error as CoAPConfigurationError {
      throw CommandFailure(Output.safe("\(error)"))
    }
  }
}
