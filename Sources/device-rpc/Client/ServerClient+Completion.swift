internal import ArgumentParser
internal import DeviceRPC
internal import NIOCore
internal import NIOHTTP1

extension CompletionKind {
  /// The devices that the server of the command line knows.
  static var serverDevices: CompletionKind {
    Completion.kind { words, prefix in
      let options = try ServerOptions.parse(Completion.options(["--server", "--api-key"], in: words))
      return try await ServerClient(options).devices(prefix: prefix)
    }
  }
}

extension ServerClient {
  /// The first thousand names that begin with a text, if the server is quick to answer: a person waits.
  func devices(prefix: String) async throws -> [String] {
    let path = "/v1/devices?limit=1000&prefix=\(ServerClient.encoded(prefix))"
    let answer = try await ask(.GET, path, within: .seconds(3))
    return answer.body["devices"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
  }
}
