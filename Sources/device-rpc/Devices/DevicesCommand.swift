internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCStore
internal import Logging

struct DevicesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "devices",
    abstract: "Say which devices may connect, and with what.",
    discussion: """
      Devices prove who they are with a key or a certificate. Both are kept in a directory that is readable to you alone. \
      A server that runs on the same directory takes changes within a quarter of a second: a device that is disabled or \
      removed, or whose key is replaced, is disconnected.

      Examples:
        device-rpc devices add sensor-1
        device-rpc devices list
        device-rpc devices disable sensor-1
      """,
    subcommands: [
      DevicesAddCommand.self, DevicesListCommand.self, DevicesShowCommand.self, DevicesRotateCommand.self,
      DevicesEnableCommand.self, DevicesDisableCommand.self, DevicesRemoveCommand.self,
    ])
}

/// The option of all commands about devices and API keys.
struct DevicesOptions: ParsableArguments {
  static let defaultDirectory = "device-rpc-data"

  @Option(help: ArgumentHelp("Where devices and their keys are kept.", valueName: "directory"))
  var data = Self.defaultDirectory

  func validate() throws {
    guard !data.isEmpty else { throw ValidationError("--data is the path of a directory.") }
  }

  /// Runs `body` with the store. Errors of the store are thrown as one line for people; `first` says how to make a store that
  /// is missing.
  func withStore<Result>(
    creating: Bool = false, first: String = "device makes one: device-rpc devices add sensor-1", _ output: Output,
    _ body: (DeviceStore) async throws -> Result
  ) async throws -> Result {
    do {
      let store = try DeviceStore(
        directory: data, creating: creating, logger: CompactLog.logger(level: .warning, output))
      defer { store.close() }
      return try await body(store)
    } catch let error as DeviceStoreError {
      throw CommandFailure(Output.safe(describe(error, first)))
    }
  }

  private func describe(_ error: DeviceStoreError, _ first: String) -> String {
    switch error {
    case .missing: "\(error); the first \(first)\(dataAgain)"
    case .hasCredential(let device, let kind): "\(error); to replace it: \(command("devices rotate", device, kind))"
    case .noCredential(let device, let kind): "\(error); to give it one: \(command("devices add", device, kind))"
    case .unknownDevice: "\(error); to see all: device-rpc devices list\(dataAgain)"
    case .keyNameTaken(let name): "\(error); to replace it, first: \(command("keys revoke", name))"
    case .unknownKey: "\(error); to see all: device-rpc keys list\(dataAgain)"
    case .notADeviceStore, .damaged: "\(error); move it away or name another directory with --data"
    default: "\(error)"
    }
  }

  /// A command to type next.
  private func command(_ words: String, _ name: String, _ kind: DeviceCredential.Kind? = nil) -> String {
    let options = dataAgain + (kind == .certificate ? " --certificate FILE" : "")
    let quoted = CertificateNames.quoted(name)
    // A name that looks like an option must follow `--`, after all options.
    return "device-rpc \(words)" + (name.hasPrefix("-") ? "\(options) -- \(quoted)" : " \(quoted)\(options)")
  }

  /// The `--data` option, for a suggested command that needs it too.
  var dataAgain: String { Self.again(data) }

  static func again(_ data: String) -> String {
    data == defaultDirectory ? "" : " --data \(CertificateNames.quoted(data))"
  }
}

/// The options of commands about one device.
struct DeviceOptions: ParsableArguments {
  @OptionGroup var store: DevicesOptions

  @Argument(help: ArgumentHelp("The device's name.", valueName: "name"))
  var name: String

  /// Changes the device, and prints the result.
  func change(_ result: String, _ body: (DeviceStore) async throws -> Void) async throws {
    let output = Output()
    try await store.withStore(output, body)
    output.line("\(name) is \(result)")
  }
}

struct DevicesListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Show all devices, by name.",
    discussion: """
      Times are in UTC; last seen is at most a few seconds behind while a server runs. With --json it is an array of what "show --json" prints.

      Examples:
        device-rpc devices list
        device-rpc devices list --json
      """)

  @OptionGroup var options: DevicesOptions

  @Flag(help: "Print JSON, for programs.")
  var json = false

  func run() async throws {
    let output = Output()
    let devices = try await options.withStore(output) { try await $0.devices() }
    if json {
      output.json(.array(devices.map { $0.json() }))
    } else if devices.isEmpty {
      output.line("no devices; to add one: device-rpc devices add sensor-1\(options.dataAgain)")
    } else {
      let rows = devices.map { device in
        [
          device.name, device.isEnabled ? "enabled" : "disabled", device.lastSeen?.readable ?? "never",
          device.credentials.map { "\($0.kind.rawValue) \($0.identity)" }.joined(separator: ", "),
        ]
      }
      for line in table([["name", "state", "last seen", "identities"]] + rows) { output.line(line) }
    }
  }
}

struct DevicesShowCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Show a device. Its key is not shown.",
    discussion: """
      Times are in UTC.

      Examples:
        device-rpc devices show sensor-1
        device-rpc devices show sensor-1 --json
      """)

  @OptionGroup var options: DevicesOptions

  @Argument(help: ArgumentHelp("The device's name.", valueName: "name"))
  var name: String

  @Flag(help: "Print JSON, for programs.")
  var json = false

  func run() async throws {
    let output = Output()
    let device = try await options.withStore(output) { store in
      guard let device = try await store.device(name) else { throw DeviceStoreError.unknownDevice(name) }
      return device
    }
    if json { output.json(device.json()) } else { for line in device.lines { output.line(line) } }
  }
}

struct DevicesEnableCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "enable",
    abstract: "Let a device connect that was disabled.",
    discussion: """
      Examples:
        device-rpc devices enable sensor-1
      """)

  @OptionGroup var device: DeviceOptions

  func run() async throws { try await device.change("enabled") { _ = try await $0.setEnabled(true, device.name) } }
}

struct DevicesDisableCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "disable",
    abstract: "Keep a device from connecting, and remember it.",
    discussion: """
      Examples:
        device-rpc devices disable sensor-1
      """)

  @OptionGroup var device: DeviceOptions

  func run() async throws { try await device.change("disabled") { _ = try await $0.setEnabled(false, device.name) } }
}

struct DevicesRemoveCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove",
    abstract: "Forget a device, its keys and certificates.",
    discussion: """
      Examples:
        device-rpc devices remove sensor-1
      """)

  @OptionGroup var device: DeviceOptions

  func run() async throws { try await device.change("removed") { try await $0.remove(device.name) } }
}
