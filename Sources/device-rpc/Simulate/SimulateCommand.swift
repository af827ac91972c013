internal import ArgumentParser
internal import CoAP
internal import DeviceRPC
internal import DeviceSimulator
internal import Logging
internal import ServiceLifecycle

struct SimulateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate",
    abstract: "Run devices in software that connect to a server and answer its calls.",
    discussion: """
      A simulated device behaves on the wire as Golioth's firmware does, or, with --dialect thingsboard, as ThingsBoard \
      documents its device API over CoAP. It has these functions:

        multiply A B           {"value": A times B}
        echo PARAMETER ...     {"value": what it was given}
        sleep SECONDS          {"slept": SECONDS}, after that time
        fail [STATUS [TEXT]]   {"error": TEXT} with that status, or 13 (INTERNAL)

      and those that ThingsBoard's dashboards call: getGpioStatus, setGpioStatus, getValue, setValue, getState, setState, checkStatus.

      Calls of anything else are answered with NOT_FOUND (5). ThingsBoard's results have no status; there a failure is \
      {"error": TEXT, "status": STATUS}. The devices connect again when the server goes away, at the latest 20 s after it has been restarted. \
      Ctrl-C or SIGTERM deregisters them from the server, with exit code 0; a second one ends the command at once.

      Examples:
        device-rpc simulate
        device-rpc simulate --name pump-7 --format json
        device-rpc simulate --devices 1000 --name bench- --quiet
        device-rpc simulate --server ::1 --port 5700 --seconds 60
        device-rpc simulate --transport coaps --key "the key that device-rpc devices add has printed"
        device-rpc simulate --dialect thingsboard --access-token A1_TEST_TOKEN
      """)

  @Option(help: ArgumentHelp("How many devices, 1 to 100000.", valueName: "count"))
  var devices = 1

  @Option(
    help: ArgumentHelp(
      "The name of a single device (default: sensor-1), or what stands before the number in the names of many "
        + "(default: sensor-).", valueName: "name"))
  var name: String?

  @Option(help: ArgumentHelp("The server's numeric address.", valueName: "address"))
  var server = "127.0.0.1"

  @Option(help: "The server's port. (default: 5683, or 5684 for coaps and coaps+tcp)")
  var port: UInt16?

  @Option(help: "How to connect.")
  var transport = SimulatedTransport.coap

  @Option(
    help: ArgumentHelp(
      "The key of the device, for coaps and coaps+tcp; of many, the key of each. - reads it from standard input, which other "
        + "users of this machine do not see.", valueName: "text"))
  var key: String?

  @Option(help: ArgumentHelp("The identity of that key. (default: the name of the device)", valueName: "identity"))
  var identity: String?

  @Option(help: "The device API that they speak.")
  var dialect = SimulatedDialect.golioth

  @Option(
    help: ArgumentHelp(
      "The access token of a single device, for thingsboard, 1 to 255 bytes. - reads it from standard input, after the key. "
        + "(default: the name of the device, or none with --key)", valueName: "text"))
  var accessToken: String?

  @Option(
    help: "What the devices want their calls in: cbor, as firmware does, or json. (default: cbor, or json for thingsboard)")
  var format: SimulatedFormat?

  @Option(help: ArgumentHelp("End after this time; by default they run until Ctrl-C.", valueName: "seconds"))
  var seconds: Double?

  @Flag(help: "Do not print calls.")
  var quiet = false

  func validate() throws {
    guard (1...100_000).contains(devices) else { throw ValidationError("--devices is a number from 1 to 100000.") }
    guard serverPort > 0, CoAPAddress(host: numericHost(server), port: serverPort) != nil else {
      throw ValidationError("--server \(server) --port \(serverPort) is not an address and port of a server.")
    }
    guard isSecure == (key != nil) else {
      throw ValidationError(
        isSecure ? "--transport \(transport.rawValue) needs --key." : "--key is for --transport coaps or coaps+tcp.")
    }
    if let key, key != "-", KeyOptions.key(key) == nil { throw ValidationError("--key has \(KeyOptions.form).") }
    guard identity == nil || (key != nil && devices == 1) else {
      throw ValidationError("--identity goes with --key and a single device.")
    }
    guard dialect == .golioth || format != .cbor else {
      throw ValidationError("--format cbor is not for --dialect thingsboard, which has json only.")
    }
    if let accessToken {
      guard dialect == .thingsboard else { throw ValidationError("--access-token is for --dialect thingsboard.") }
      guard devices == 1 else { throw ValidationError("--access-token goes with a single device.") }
      guard Self.isAccessToken(accessToken) else { throw ValidationError("--access-token has 1 to 255 bytes.") }
    }
    // Checks the longest name, that of the last device. `ep=` and the name share an option of 255 bytes (RFC 7252 §5.10).
    if let name, let problem = DeviceName.problem(with: devices == 1 ? name : "\(name)\(devices)", longest: 252) {
      throw ValidationError("--name \(problem).")
    }
    if let seconds, !(0.001...1e9).contains(seconds) { throw ValidationError("--seconds is 0.001 to 1000000000.") }
    if let identity, let problem = DeviceName.problem(with: identity) { throw ValidationError("--identity \(problem).") }
  }

  /// A socket for each device, two descriptors for each 64 of them, and what a command needs in any case.
  private var descriptors: Int { 63 + devices + devices / 32 }

  // It is one segment of a path (RFC 7252 §5.10).
  private static func isAccessToken(_ text: String) -> Bool { (1...255).contains(text.utf8.count) }

  private var isSecure: Bool { transport == .coaps || transport == .coapsTCP }
  private var serverPort: UInt16 { port ?? (isSecure ? 5_684 : 5_683) }

  func run() async throws {
    let key = key == "-" ? readSecret("key: ") : key
    guard !isSecure || key.flatMap(KeyOptions.key) != nil else { throw KeyOptions.notRead }
    let accessToken = accessToken == "-" ? readSecret("access token: ") ?? "" : accessToken
    guard accessToken.map(Self.isAccessToken) != false else {
      throw CommandFailure("the line read from standard input is no access token, which has 1 to 255 bytes")
    }
    let output = Output(whenUnread: Output.goesOn)
    // Without room for all of them, the last ones would try in vain for ever.
    guard descriptors <= descriptorLimit else {
      output.error(
        "\(devices) devices need \(descriptors) open files, and this process may have \(descriptorLimit); raise the limit, ulimit -n, "
          + "or run this command several times")
      throw ExitCode.failure
    }
    let journal = SimulationJournal(
      output: output, total: devices, place: "\(server):\(serverPort)", showsCalls: !quiet)
    let names = devices == 1 ? [name ?? "sensor-1"] : (1...devices).map { (name ?? "sensor-") + "\($0)" }
    let fleet = DeviceFleet(
      names.map { name in
        var device = SimulatedDevice(name: name, server: numericHost(server), port: serverPort, format: format ?? .cbor)
        device.dialect = dialect
        device.accessToken = accessToken
        device.transport = transport
        if let key { device.credentials = .preSharedKey(identity: identity ?? name, key: key) }
        device.onEvent = { journal.note($0, of: name) }
        return device
      })
    let logger = CompactLog.logger(level: .warning, output)
    let runner = Runner([Simulation(fleet: fleet)], logger: logger) {
      output.line(names.count == 1 ? "deregistering from the server" : "deregistering from the server, \(names.count) devices")
    }
    do {
      try await runner.run(for: seconds.map { .seconds($0) })
    } catch let error as SimulatorError {
      output.error("\(error)")
      throw ExitCode.failure
    }
  }

  private struct Simulation: Service {
    let fleet: DeviceFleet

    func run() async throws {
      try await cancelWhenGracefulShutdown { try await fleet.run() }
    }
  }
}
