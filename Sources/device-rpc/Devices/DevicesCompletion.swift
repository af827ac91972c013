internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCStore

extension CompletionKind {
  /// The devices in the directory, or of the server, of the command line.
  static var knownDevices: CompletionKind {
    Completion.kind { words, prefix in
      let options = try DevicesOptions.parse(Completion.options(["--data", "--server", "--api-key"], in: words))
      if let remote = options.remote { return try await ServerClient(remote).devices(prefix: prefix) }
      return try await options.withRegistry(Output()) { try await $0.devices().map(\.name) }
    }
  }

  /// The API keys in the directory of the command line.
  static var storedKeys: CompletionKind {
    Completion.kind { words, _ in
      let options = try DataOptions.parse(Completion.options(["--data"], in: words))
      return try await options.withStore(Output()) { try await $0.apiKeys().map(\.name) }
    }
  }
}
