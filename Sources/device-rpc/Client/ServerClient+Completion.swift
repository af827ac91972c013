internal import ArgumentParser
internal import DeviceRPC
internal import NIOCore
internal import NIOHTTP1

extension CompletionKind {
  /// The devices that the server of the command line knows.
  static var serverDevices: CompletionKind {
    Completion.kind { words in
      let options = try ServerOptions.parse(Completion.options(["--server", "--api-key"], in: words))
      let answer = try await ServerClient(options).ask(.GET, "/v1/devices", within: .seconds(1))
      return answer.body["devices"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
    }
  }
}
