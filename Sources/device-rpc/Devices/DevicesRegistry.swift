internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCStore
internal import Logging

/// The devices that the commands are about: a store, or a server that is asked over HTTP. Errors are those of a store.
protocol DevicesRegistry {
  func devices() async throws -> [StoredDevice]
  func device(_ name: String) async throws -> StoredDevice?
  func add(_ name: String, identity: String, proof: DeviceCredential.Proof) async throws -> StoredDevice
  func rotate(_ name: String, to proof: DeviceCredential.Proof, identity: String?) async throws -> StoredDevice
  func setEnabled(_ isEnabled: Bool, _ name: String) async throws -> StoredDevice
  func remove(_ name: String) async throws
}

extension DeviceStore: DevicesRegistry {}

extension DevicesRegistry {
  /// The device of that name. Throws `DeviceStoreError.unknownDevice` when there is none.
  func existing(_ name: String) async throws -> StoredDevice {
    guard let device = try await device(name) else { throw DeviceStoreError.unknownDevice(name) }
    return device
  }
}

/// The options of all commands about devices: where these are.
struct DevicesOptions: ParsableArguments {
  @OptionGroup var directory: DataOptions

  @Option(
    help: ArgumentHelp(
      "The URL of a running server to ask over HTTP, instead of a directory. (default: the environment's DEVICE_RPC_SERVER)",
      valueName: "url"))
  var server: String?

  @Option(
    help: ArgumentHelp(
      "An API key of the server, made with --admin. (default: the environment's DEVICE_RPC_API_KEY)", valueName: "key"))
  var apiKey: String?

  /// Nil for a directory.
  var remote: ServerOptions? {
    directory.data == nil || server != nil ? ServerOptions.named(server, apiKey: apiKey) : nil
  }

  func validate() throws {
    guard server == nil || directory.data == nil else { throw ValidationError("Give --data or --server.") }
    guard apiKey == nil || remote != nil else { throw ValidationError("--api-key is for a server; give --server, too.") }
    try remote?.validate()
  }

  /// The directory or the URL, for what is printed.
  var place: String { remote?.url ?? directory.path }

  /// The option for a suggested command that needs it too.
  var again: String { server.map { " --server \(CertificateNames.quoted($0))" } ?? (remote == nil ? directory.again : "") }

  /// Runs `body` with the devices. Errors are thrown as one line for people.
  func withRegistry<Result>(
    creating: Bool = false, _ output: Output, _ body: (any DevicesRegistry) async throws -> Result
  ) async throws -> Result {
    guard let remote else { return try await directory.withStore(creating: creating, output, body) }
    do {
      return try await body(DevicesOfServer(client: ServerClient(remote)))
    } catch let error as DeviceStoreError {
      throw CommandFailure(StoreAdvice(again: again).text(error))
    } catch let error as ServerClient.Failure {
      throw CommandFailure(Output.safe(error.description))
    }
  }
}

/// The option of all commands about a directory.
struct DataOptions: ParsableArguments {
  static let defaultDirectory = "device-rpc-data"

  @Option(
    help: ArgumentHelp("Where devices and their keys are kept. (default: \(Self.defaultDirectory))", valueName: "directory"),
    completion: .directory)
  var data: String?

  var path: String { data ?? Self.defaultDirectory }

  func validate() throws {
    guard data != "" else { throw ValidationError("--data is the path of a directory.") }
  }

  /// Runs `body` with the store. Errors of the store are thrown as one line for people; `first` says how to make a store that
  /// is missing.
  func withStore<Result>(
    creating: Bool = false, first: String = "device makes one: device-rpc devices add sensor-1", _ output: Output,
    _ body: (DeviceStore) async throws -> Result
  ) async throws -> Result {
    do {
      let store = try DeviceStore(
        directory: path, creating: creating, logger: CompactLog.logger(level: .warning, output))
      defer { store.close() }
      return try await body(store)
    } catch let error as DeviceStoreError {
      throw CommandFailure(StoreAdvice(again: again, first: first).text(error))
    }
  }

  /// The `--data` option, for a suggested command that needs it too.
  var again: String { Self.again(path) }

  static func again(_ data: String) -> String {
    data == defaultDirectory ? "" : " --data \(CertificateNames.quoted(data))"
  }
}

/// What to do about an error of a store.
struct StoreAdvice {
  /// The option that says which store, with a space before it; empty for the one that needs none.
  let again: String
  /// How to make a store that is missing.
  var first = ""

  /// The error and the advice, on one line that may be printed.
  func text(_ error: DeviceStoreError) -> String { Output.safe(describe(error)) }

  private func describe(_ error: DeviceStoreError) -> String {
    switch error {
    case .missing: "\(error); the first \(first)\(again)"
    case .hasCredential(let device, let kind): "\(error); to replace it: \(command("devices rotate", device, kind))"
    case .noCredential(let device, let kind): "\(error); to give it one: \(command("devices add", device, kind))"
    case .unknownDevice: "\(error); to see all: device-rpc devices list\(again)"
    case .keyNameTaken(let name): "\(error); to replace it, first: \(command("keys revoke", name))"
    case .unknownUser: "\(error); to see all: device-rpc users list\(again)"
    case .unknownKey: "\(error); to see all: device-rpc keys list\(again)"
    case .notADeviceStore, .damaged: "\(error); move it away or name another directory with --data"
    default: "\(error)"
    }
  }

  /// A command to type next.
  private func command(_ words: String, _ name: String, _ kind: DeviceCredential.Kind? = nil) -> String {
    let options = again + (kind == .certificate ? " --certificate FILE" : kind == .accessToken ? " --access-token" : "")
    let quoted = CertificateNames.quoted(name)
    // A name that looks like an option must follow `--`, after all options.
    return "device-rpc \(words)" + (name.hasPrefix("-") ? "\(options) -- \(quoted)" : " \(quoted)\(options)")
  }
}
