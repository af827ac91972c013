internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCStore

struct KeysCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "keys",
    abstract: "Say which back ends may call devices over HTTP.",
    discussion: """
      A back end sends its API key with each request. Keys are kept beside the devices, as digests: a key is shown once, \
      when it is made. A server that runs on the same directory takes changes within a quarter of a second.

      Examples:
        device-rpc keys add billing
        device-rpc keys list
        device-rpc keys revoke billing
      """,
    subcommands: [KeysAddCommand.self, KeysListCommand.self, KeysRevokeCommand.self])

  /// How to make a store that is missing.
  static let first = "key makes one: device-rpc keys add billing"
}

struct KeysListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Show all API keys, by name. Their secrets are not shown.",
    discussion: """
      Times are in UTC. An expired key is listed until it is revoked.

      Examples:
        device-rpc keys list
        device-rpc keys list --json
      """)

  @OptionGroup var options: DataOptions

  @Flag(help: "Print JSON, for programs.")
  var json = false

  func run() async throws {
    let output = Output()
    let keys = try await options.withStore(first: KeysCommand.first, output) { try await $0.apiKeys() }
    output.list(
      keys, { $0.json() }, json: json, empty: "no keys; to add one: device-rpc keys add billing\(options.again)",
      heads: ["name", "id", "may", "devices", "created", "expires"]
    ) { [$0.name, $0.id, $0.permissions.actions, $0.permissions.devices.phrase, $0.created.readable, $0.expiry] }
  }
}

struct KeysRevokeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "revoke",
    abstract: "Refuse an API key from now on, and forget it.",
    discussion: """
      A server that has no keys at all answers without one on loopback, and does not start on other addresses.

      Examples:
        device-rpc keys revoke billing
      """)

  @OptionGroup var options: DataOptions

  @Argument(help: ArgumentHelp("The key's name, or its id.", valueName: "name"), completion: .storedKeys)
  var name: String

  func run() async throws {
    let output = Output()
    let (key, hasKeys) = try await options.withStore(first: KeysCommand.first, output) { store in
      (try await store.revokeAPIKey(name), store.hasKeys)
    }
    output.line("\(key.name) is revoked")
    if !hasKeys { output.line("It was the last key: on loopback, a server now answers without one.") }
  }
}
