internal import ArgumentParser
internal import DeviceRPC
internal import Logging

/// The options of `serve`, which can also stand in the environment and in a file.
///
/// To add one, add its property and its line in the table, here or in a group of options. The properties with a default are nil
/// until ``Resolution`` has set them.
struct ServeOptions: ParsableArguments {
  enum Numbers: String, ExpressibleByArgument, CaseIterable {
    case floats
    case asWritten = "as-written"
  }

  @OptionGroup(title: "Where devices connect")
  var listening: ListenOptions

  @OptionGroup(title: "Where HTTP is answered")
  var http: HTTPOptions

  @OptionGroup(title: "Persistent calls")
  var journal: JournalOptions

  @Flag(help: own.help("thingsboard")) var thingsboard = false
  @Option(help: own.help("numbers")) var numbers: Numbers!
  @Option(help: own.help("max-payload")) var maxPayload: Int!
  @Option(help: own.help("timeout")) var timeout: Double!
  @Option(help: own.help("wait")) var wait: Double!
  @Option(help: own.help("probe-interval")) var probeInterval: Double!
  @Option(help: own.help("unanswered-probes")) var unansweredProbes: Int!
  // More threads are faster only if one is busy all the time. A call may then have to change threads, which costs a fifth of the
  // throughput if calls come one at a time, or if there are only ten devices (Benchmarks/README.md).
  @Option(help: own.help("threads")) var threads: Int!
  @Option(help: own.help("log-level")) var logLevel: Logger.Level!

  /// All options, those of the groups too.
  static let settings = 
    ListenOptions.settings.map { $0.within(\ServeOptions.listening) }
    + HTTPOptions.settings.map { $0.within(\ServeOptions.http) }
    + JournalOptions.settings.map { $0.within(\ServeOptions.journal) } + own

  private static let own: [Setting<ServeOptions>] = [
    Setting(
      "thingsboard", \.thingsboard,
      "Serve ThingsBoard's device API too: devices observe /api/v1/TOKEN/rpc. With --data a token is that of a device "
        + "(device-rpc devices add NAME --access-token), without it the name of the device."),
    Setting(
      "numbers", \.numbers, default: .floats,
      "How numbers go out in CBOR: floats, the only kind that stock firmware reads, or as-written, with integers as integers.",
      valueName: "kind", allowed: oneOf(Numbers.self)),
    Setting(
      "max-payload", \.maxPayload, default: 1_096, in: 1...1_048_576, unit: "bytes",
      "The longest call that is sent; stock firmware drops what does not fit a datagram.", valueName: "bytes"),
    Setting(
      "timeout", \.timeout, default: 10, in: 0.001...86_400, unit: "seconds", "How long to wait for a result.",
      valueName: "seconds"),
    Setting(
      "wait", \.wait, default: 0, in: 0.001...86_400, orZero: true, unit: "seconds",
      "How long a call waits for a device that is not connected.", valueName: "seconds"),
    Setting(
      "probe-interval", \.probeInterval, default: 30, in: 1...86_400, orZero: true, unit: "seconds",
      "Silence of a device after which it is pinged, and pinged again; 0 for never.", valueName: "seconds"),
    Setting(
      "unanswered-probes", \.unansweredProbes, default: 3, in: 1...1_000,
      "Unanswered pings in a row after which a device counts as offline, 1 to 1000.", valueName: "number"),
    Setting(
      "threads", \.threads, default: 1, in: 1...64,
      "Threads that serve devices, 1 to 64; one serves tens of thousands of calls a second.", valueName: "number"),
    Setting(
      "log-level", \.logLevel, default: .notice,
      "What is logged to standard error: trace, debug, info, notice, warning, error or critical.", valueName: "level",
      allowed: oneOf(Logger.Level.self)),
  ]

  private static func oneOf<Value: ExpressibleByArgument>(_ type: Value.Type) -> String {
    "one of \(type.allValueStrings.joined(separator: ", "))"
  }
}
