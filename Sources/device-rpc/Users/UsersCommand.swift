internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCStore
internal import Foundation

struct UsersCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "users",
    abstract: "Say who may log in, as ThingsBoard's clients do.",
    discussion: """
      A client of ThingsBoard's REST API logs in with a name and a password. Users are kept beside the devices, their passwords as \
      scrypt makes them. A server that runs on the same directory takes changes within a quarter of a second.

      Examples:
        device-rpc users add tenant@example.org
        device-rpc users list
        device-rpc users password tenant@example.org
        device-rpc users remove tenant@example.org
      """,
    subcommands: [UsersAddCommand.self, UsersListCommand.self, UsersPasswordCommand.self, UsersRemoveCommand.self])

  /// How to make a store that is missing.
  static let first = "user makes one: device-rpc users add tenant@example.org"
}

struct UsersAddCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "add",
    abstract: "Add a user, with a password that is asked for.",
    discussion: """
      The first user makes the directory.

      Examples:
        device-rpc users add tenant@example.org
        device-rpc users add dashboard@example.org --role customer-user
        echo "$PASSWORD" | device-rpc users add tenant@example.org
      """)

  /// What a user may do, as an option.
  enum Role: String, ExpressibleByArgument, CaseIterable {
    case tenantAdmin = "tenant-admin"
    case customerUser = "customer-user"

    var authority: User.Authority { self == .tenantAdmin ? .tenantAdmin : .customerUser }
  }

  @OptionGroup var options: DataOptions

  @Argument(help: ArgumentHelp("The name to log in with, usually an e-mail address.", valueName: "name"))
  var name: String

  @Option(help: "What the user may do: tenant-admin calls and administers devices, customer-user calls them and looks at them.")
  var role = Role.tenantAdmin

  func run() async throws {
    let output = Output()
    let password = try UserPassword.read()
    let (name, authority) = (name, role.authority)
    _ = try await options.withStore(creating: true, output) { try await $0.addUser(name, authority, password: password) }
    output.line("\(Output.safe(name)) added to \(options.path)")
  }
}

struct UsersListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Show all users, by name.",
    discussion: """
      Times are in UTC.

      Examples:
        device-rpc users list
        device-rpc users list --json
      """)

  @OptionGroup var options: DataOptions

  @Flag(help: "Print JSON, for programs.")
  var json = false

  func run() async throws {
    let output = Output()
    let users = try await options.withStore(first: UsersCommand.first, output) { try await $0.users() }
    output.list(
      users,
      { user in
        [
          "name": .string(user.name), "authority": .string(user.authority.rawValue),
          "created": .string(user.created.formatted(.iso8601)), "changed": .string(user.changed.formatted(.iso8601)),
        ]
      }, json: json, empty: "no users; to add one: device-rpc users add tenant@example.org\(options.again)",
      heads: ["name", "authority", "created", "password since"]
    ) { [$0.name, $0.authority.rawValue, $0.created.readable, $0.changed.readable] }
  }
}

struct UsersPasswordCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "password", abstract: "Set a user's password, which is asked for. Who has logged in is logged out.",
    discussion: """
      Examples:
        device-rpc users password tenant@example.org
      """)

  @OptionGroup var options: DataOptions

  @Argument(help: ArgumentHelp("The user's name.", valueName: "name"))
  var name: String

  func run() async throws {
    let output = Output()
    let password = try UserPassword.read()
    let name = name
    try await options.withStore(first: UsersCommand.first, output) { try await $0.setPassword(password, of: name) }
    output.line("\(Output.safe(name)) has a new password")
  }
}

struct UsersRemoveCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Remove a user, who is logged out.",
    discussion: """
      Examples:
        device-rpc users remove tenant@example.org
      """)

  @OptionGroup var options: DataOptions

  @Argument(help: ArgumentHelp("The user's name.", valueName: "name"))
  var name: String

  func run() async throws {
    let output = Output()
    let name = name
    try await options.withStore(first: UsersCommand.first, output) { try await $0.removeUser(name) }
    output.line("\(Output.safe(name)) is removed")
  }
}

/// A password from standard input: typed without being shown, or a line of a pipe.
enum UserPassword {
  static func read() throws(CommandFailure) -> PasswordHash {
    guard let hash = PasswordHash(of: readSecret("password: ") ?? "") else {
      throw CommandFailure("a password has \(PasswordHash.lengths.lowerBound) to \(PasswordHash.lengths.upperBound) bytes")
    }
    return hash
  }
}
