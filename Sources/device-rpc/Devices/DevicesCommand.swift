internal import ArgumentParser
internal import DeviceRPC

struct DevicesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "devices",
    abstract: "Say which devices may connect, and with what.",
    discussion: """
      Devices prove who they are with a key or a certificate. Both are kept in a directory that is readable to you alone. \
      A server that runs on the same directory takes changes within a quarter of a second: a device that is disabled or \
      removed, or whose key is replaced, is disconnected. With --server, a running server is asked to do it.

      Examples:
        device-rpc devices add sensor-1
        device-rpc devices list
        device-rpc devices disable sensor-1
        device-rpc devices list --server https://rpc.example.org --api-key drpc_...
      """,
    subcommands: [
      DevicesAddCommand.self, DevicesListCommand.self, DevicesShowCommand.self, DevicesRotateCommand.self,
      DevicesEnableCommand.self, DevicesDisableCommand.self, DevicesRemoveCommand.self,
    ])
}

/// The options of commands about one device.
struct DeviceOptions: ParsableArguments {
  @OptionGroup var options: DevicesOptions

  @Argument(help: ArgumentHelp("The device's name.", valueName: "name"), completion: .knownDevices)
  var name: String

  /// Changes the device, and prints the result.
  func change(_ result: String, _ body: (any DevicesRegistry) async throws -> Void) async throws {
    let output = Output()
    try await options.withRegistry(output, body)
    output.line("\(name) is \(result)")
  }
}

struct DevicesListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Show all devices, by name.",
    discussion: """
      Times are in UTC; last seen is at most a few seconds behind while a server runs. With --json it is an array of what \
      "show --json" prints.

      Examples:
        device-rpc devices list
        device-rpc devices list --json
      """)

  @OptionGroup var options: DevicesOptions

  @Flag(help: "Print JSON, for programs.")
  var json = false

  func run() async throws {
    let output = Output()
    let devices = try await options.withRegistry(output) { try await $0.devices() }
    output.list(
      devices, { $0.json() }, json: json, empty: "no devices; to add one: device-rpc devices add sensor-1\(options.again)",
      heads: ["name", "state", "last seen", "identities"]
    ) { device in
      [
        device.name, device.isEnabled ? "enabled" : "disabled", device.lastSeen?.readable ?? "never",
        device.credentials.map(\.short).joined(separator: ", "),
      ]
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

  @Argument(help: ArgumentHelp("The device's name.", valueName: "name"), completion: .knownDevices)
  var name: String

  @Flag(help: "Print JSON, for programs.")
  var json = false

  func run() async throws {
    let output = Output()
    let device = try await options.withRegistry(output) { try await $0.existing(name) }
    output.show(device.lines, device.json(), json: json)
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
