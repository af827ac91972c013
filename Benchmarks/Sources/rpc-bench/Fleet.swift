internal import ArgumentParser
internal import CFleet
internal import DeviceSimulator
internal import Glibc

/// Simulated devices that observe `/.rpc` and answer every call with the product of its two parameters.
struct Fleet: AsyncParsableCommand {
  /// The pre-shared key of every device, whose identity is its name.
  static let key = "rpc-bench"

  static let configuration = CommandConfiguration(
    abstract: "Run simulated devices against a server until the time is up.",
    discussion: """
      Prints one JSON line when every device observes and one at the end. One process holds as many devices \
      as it may open files; for more, start several with different --source and --first-index. Over another transport \
      than coap the devices are those of `device-rpc simulate`, which cost more, and nothing is printed.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case cbor, json }

  @Option(help: "Number of devices.") var devices: Int
  @Option(help: "How the devices connect.") var transport = Scheme.coap
  @Option(help: "The server's port.") var port: UInt16
  @Option(help: "The server's IPv4 address.") var host = "127.0.0.1"
  @Option(help: "IPv4 address that the devices send from.") var source = "127.0.0.1"
  @Option(help: "Device i calls itself ep=d(first-index + i).") var firstIndex = 0
  @Option(help: "Payload format.") var format = Format.cbor
  @Option(help: "Length of the run.") var seconds = 60.0
  @Option(help: "Observe requests without an answer at any time, at most.") var maxOutstanding = 128
  @Option(help: "Run on this CPU only.") var cpu: Int?
  @Flag(help: "Acknowledge calls but never answer them.") var ackOnly = false

  func validate() throws {
    guard (1...1_000_000).contains(devices) else { throw ValidationError("--devices must be 1…1000000.") }
    guard (0...99_000_000).contains(firstIndex) else { throw ValidationError("--first-index must be 0…99000000.") }
    guard seconds > 0, seconds <= 86_400 else { throw ValidationError("--seconds must be above 0, at most 86400.") }
    guard (1...100_000).contains(maxOutstanding) else {
      throw ValidationError("--max-outstanding must be 1…100000.")
    }
    guard cpu.map((0..<1024).contains) ?? true else { throw ValidationError("--cpu must be 0…1023.") }
  }

  func run() async throws {
    if transport != .coap { return try await simulate() }
    var report = fleet_report()
    let error = host.withCString { host in
      source.withCString { source in
        var options = fleet_options(
          host: host, port: port, source: source, devices: CInt(devices), first_index: CInt(firstIndex),
          json: format == .json ? 1 : 0, seconds: seconds, max_outstanding: CInt(maxOutstanding),
          cpu: CInt(cpu ?? -1), ack_only: ackOnly ? 1 : 0)
        return fleet_run(&options, { report, _ in report?.pointee.print(event: "connected") }, nil, &report)
      }
    }
    guard error == 0 else {
      throw ValidationError("The fleet could not be set up: \(String(cString: strerror(error))).")
    }
    report.print(event: "done")
  }
}

extension Fleet {
  private func simulate() async throws {
    let devices = (firstIndex..<firstIndex + devices).map { number in
      var device = SimulatedDevice(
        name: "d\(number)", server: host, port: port, format: SimulatedFormat(rawValue: format.rawValue) ?? .cbor)
      device.transport = SimulatedTransport(rawValue: transport.rawValue) ?? .coap
      // Thousands of handshakes at once keep some of them waiting.
      device.responseTimeout = .seconds(60)
      if transport != .coapTCP { device.credentials = .preSharedKey(identity: device.name, key: Self.key) }
      return device
    }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await DeviceFleet(devices).run() }
      group.addTask { try? await Task.sleep(for: .seconds(seconds)) }
      try await group.next()
      group.cancelAll()
    }
  }
}

/// A transport of CoAP by the scheme of its URIs.
enum Scheme: String, ExpressibleByArgument, CaseIterable {
  case coap
  case coaps
  case coapTCP = "coap+tcp"
  case coapsTCP = "coaps+tcp"
}

extension fleet_report {
  func print(event: String) {
    let fields: [(String, String)] = [
      ("connected", "\(connected)"),
      ("connectSeconds", "\((connect_seconds * 1000).rounded() / 1000)"),
      ("seconds", "\((seconds * 1000).rounded() / 1000)"),
      ("calls", "\(notifications)"),
      ("duplicates", "\(duplicates)"),
      ("posts", "\(posts)"),
      ("answers", "\(answers)"),
      ("refusals", "\(refusals)"),
      ("observeRetransmissions", "\(observe_retransmissions)"),
      ("postRetransmissions", "\(post_retransmissions)"),
      ("abandoned", "\(abandoned)"),
      ("malformed", "\(malformed)"),
    ]
    Swift.print(
      "{\"event\":\"\(event)\"," + fields.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}")
    fflush(nil)
  }
}
