internal import ArgumentParser
internal import CoAP
internal import DeviceRPC
internal import DeviceRPCCoAP
internal import Logging

struct ServeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Run a server: devices connect to it, and calls are typed.",
    discussion: """
      Tells where it listens and which devices come and go, and reads calls from standard input, one a line:

        sensor-1 multiply 7 191          call a function with two parameters
        sensor-1 set {"led": [1, 0]}     a parameter is JSON where it is JSON
        sensor-1 echo hello              and text where it is not
        sensor-1                         show a device
        devices                          list all devices

      Each result is a line such as
        sensor-1 multiply/74e4 OK (0) {"value":1337} 0.4 ms

      The server ends with Ctrl-C, SIGTERM, "quit" or, at a terminal, Ctrl-D: open calls have 5 s to end, and the exit \
      code is 0. A second Ctrl-C ends it at once. It goes on when its input is a file or a pipe that ends.

      Examples:
        device-rpc serve
        device-rpc serve --port 0
        device-rpc serve --host 127.0.0.1 --host ::1 --wait 30
        echo 'sensor-1 multiply 7 191' | device-rpc serve --wait 60
        device-rpc serve --host 0.0.0.0 --allow-plain-coap-from-network
      """)

  enum Numbers: String, ExpressibleByArgument, CaseIterable {
    case floats
    case asWritten = "as-written"
  }

  @Option(
    help: ArgumentHelp(
      "A numeric address to listen on; may be given again for more. Other than loopback it needs "
        + "--allow-plain-coap-from-network. (default: 127.0.0.1)", valueName: "address"))
  var host: [String] = []

  @Option(help: "The UDP port; 0 lets the system choose a free one.")
  var port: UInt16 = 5_683

  @Flag(
    help: ArgumentHelp(
      "Listen on addresses that other hosts can reach. Plain CoAP has no authentication: anybody there can pose as any "
        + "device."))
  var allowPlainCoapFromNetwork = false

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
    help: ArgumentHelp("What is logged to standard error: trace, debug, info, notice, warning, error or critical.", valueName: "level"))
  var logLevel = Logger.Level.warning

  func validate() throws {
    for host in host {
      guard let address = CoAPAddress(host: numericHost(host), port: port) else {
        throw ValidationError("--host \(host) is not an IPv4 or IPv6 address.")
      }
      guard address.isLoopback || allowPlainCoapFromNetwork else {
        throw ValidationError(
          "Plain CoAP on \(host) lets anybody who reaches it pose as any device. "
            + "If that is meant, add --allow-plain-coap-from-network.")
      }
    }
    guard (1...1_048_576).contains(maxPayload) else {
      throw ValidationError("--max-payload is a number of bytes from 1 to 1048576.")
    }
    guard timeout > 0, timeout <= 86_400 else { throw ValidationError("--timeout is more than 0 and at most 86400 seconds.") }
    guard (0...86_400).contains(wait) else { throw ValidationError("--wait is 0 to 86400 seconds.") }
  }

  func run() async throws {
    let output = Output()
    let logger = CompactLog.logger(level: logLevel, output)
    let server = try makeServer(logger)
    let console = Console(server: server, output: output, wait: .seconds(wait))
    do {
      try await server.start()
    } catch {
      await server.shutdown()
      let isTaken = (error as? CoAPSystemError)?.isAddressInUse == true
      output.error("\(error)" + (isTaken ? " (is another server running? choose another --port)" : ""))
      throw ExitCode.failure
    }
    greet(server.addresses, output)
    let runner = Runner([console, server], logger: logger) { console.willEnd() }
    try await runner.run { await console.quit() }
  }

  private func makeServer(_ logger: Logger) throws -> DeviceRPCServer {
    var configuration = CoAPConfiguration()
    configuration.listeners = (host.isEmpty ? ["127.0.0.1"] : host).map {
      CoAPConfiguration.Listener(.udp, host: numericHost($0), port: port)
    }
    configuration.allowsPlainCoAPFromNetwork = allowPlainCoapFromNetwork
    configuration.golioth.numbers = numbers == .floats ? .floats : .asWritten
    configuration.golioth.maximumPayload = maxPayload
    var limits = Limits()
    limits.defaultTimeout = .seconds(timeout)
    return try DeviceRPCServer(coap: configuration, limits: limits, logger: logger)
  }

  private func greet(_ addresses: [String], _ output: Output) {
    for address in addresses { output.line("listening on \(address)") }
    guard let address = addresses.first else { return }
    let port = address.split(separator: ":").last ?? ""
    output.line("connect a device:  device-rpc simulate --port \(port)")
    output.line("or by hand:        coap-client-openssl -w -s 600 -A 50 '\(address)/.rpc?ep=sensor-1'")
    output.line("then call it here: sensor-1 multiply 7 191        (\"help\" shows more)")
  }
}
