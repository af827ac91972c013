// Keys: `device-rpc keys`: the API keys of a data directory, with which back ends call devices over HTTP.
// Uses DeviceRPCStore, the rooms Devices and Terminal.

internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCStore
internal import Foundation

struct KeysAddCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "add",
    abstract: "Make an API key, which is printed this once.",
    discussion: """
      Without other options the key may call all methods of all devices, and read: look at devices, calls and events. The \
      first key makes the directory.

      Examples:
        device-rpc keys add billing
        device-rpc keys add dashboard --read --expires 90d
        device-rpc keys add greenhouse --devices 'plant-*'
        device-rpc keys add restarter --devices sensor-1,sensor-2 --methods reboot
        device-rpc keys add operator --call --read --admin --expires 2027-01-31
      """)

  @OptionGroup var options: DataOptions
  @OptionGroup var permissions: PermissionOptions

  @Argument(help: ArgumentHelp("A name for the key, such as that of the program that uses it.", valueName: "name"))
  var name: String

  @Option(
    help: ArgumentHelp(
      "When the key expires: after days or hours, 90d or 12h, or at a time, 2027-01-31 or 2027-01-31T12:00:00Z; a day "
        + "begins at midnight UTC. (default: never)", valueName: "time"))
  var expires: String?

  @Flag(help: "Print JSON, for programs.")
  var json = false

  func validate() throws {
    guard let expires else { return }
    guard let time = KeysExpiry.date(expires, now: Date()) else {
      throw ValidationError("--expires is \(KeysExpiry.form).")
    }
    guard time > Date() else { throw ValidationError("--expires \(expires) has passed.") }
  }

  func run() async throws {
    let output = Output()
    let expires = expires.flatMap { KeysExpiry.date($0, now: Date()) }
    let permissions = try permissions.permissions()
    let (key, text) = try await options.withStore(creating: true, output) {
      try await $0.addAPIKey(name: name, expires: expires, permissions: permissions)
    }
    output.show(["\(name) added to \(options.path)"] + key.lines(text), key.json(text: text), json: json)
  }
}

/// What a key may do.
struct PermissionOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The only devices that the key is for: names, or beginnings of names followed by *, separated by commas. (default: all)",
      valueName: "names"))
  var devices: [String] = []

  @Option(
    help: ArgumentHelp(
      "The only methods that may be called, separated by commas; implies --call. (default: all)", valueName: "names"))
  var methods: [String] = []

  @Flag(help: "May call devices. With --call, --read or --admin, the key may do only what they say.")
  var call = false

  @Flag(help: "May look at devices, calls and events.")
  var read = false

  @Flag(help: "May add, change and remove devices, and see which there are.")
  var admin = false

  func validate() throws { _ = try permissions() }

  func permissions() throws(ValidationError) -> APIPermissions {
    let isStandard = !call && !read && !admin
    let mayCall = isStandard || call || !methods.isEmpty
    return APIPermissions(
      devices: try deviceScope(), methods: mayCall ? try methodScope() : .none, allowsReading: isStandard || read,
      allowsAdministering: admin)
  }

  private func deviceScope() throws(ValidationError) -> APIPermissions.DeviceScope {
    guard !devices.isEmpty else { return .all }
    var (names, prefixes): (Set<String>, Set<String>) = ([], [])
    for element in Self.elements(devices) {
      if element == "*" { return .all }
      let isPrefix = element.hasSuffix("*")
      let text = isPrefix ? String(element.dropLast()) : element
      if text.contains("*") {
        throw ValidationError("--devices \(Output.safe(element)): * stands for the end of a name, and only there.")
      }
      // A beginning of a name may end with a space.
      if let problem = DeviceName.problem(with: isPrefix ? text + "x" : text) {
        throw ValidationError("--devices: \"\(Output.safe(element))\" \(problem).")
      }
      if isPrefix { prefixes.insert(text) } else { names.insert(text) }
    }
    return .only(names: names, prefixes: prefixes)
  }

  private func methodScope() throws(ValidationError) -> APIPermissions.MethodScope {
    guard !methods.isEmpty else { return .all }
    let names = Self.elements(methods)
    if names.contains("*") { return .all }
    for name in names {
      guard !name.isEmpty, Output.safe(name) == name, !name.contains("*") else {
        throw ValidationError("--methods has names of methods, separated by commas; \"\(Output.safe(name))\" is none.")
      }
    }
    return .only(Set(names))
  }

  private static func elements(_ options: [String]) -> [String] {
    options.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }
      .map { $0.trimmingCharacters(in: CharacterSet(charactersIn: " ")) }
  }
}
