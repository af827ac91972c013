internal import ArgumentParser
internal import AsyncHTTPClient
internal import DeviceRPC
internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// The server that a command asks over HTTP.
struct ServerOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The URL of the server. (default: the environment's DEVICE_RPC_SERVER, or http://127.0.0.1:8080)", valueName: "url"))
  var server: String?
  @Option(
    help: ArgumentHelp("An API key of the server. (default: the environment's DEVICE_RPC_API_KEY)", valueName: "key"))
  var apiKey: String?

  /// The server that is named here or else in the environment; nil when neither names one.
  static func named(_ server: String?, apiKey: String?) -> ServerOptions? {
    guard let server = server ?? environment("DEVICE_RPC_SERVER") else { return nil }
    var options = ServerOptions()
    options.server = server
    options.apiKey = apiKey
    return options
  }

  private static func environment(_ name: String) -> String? {
    ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
  }

  var url: String {
    let text = server ?? Self.environment("DEVICE_RPC_SERVER") ?? "http://127.0.0.1:8080"
    return String(text.reversed().drop { $0 == "/" }.reversed())
  }

  var key: String? { apiKey ?? Self.environment("DEVICE_RPC_API_KEY") }

  func validate() throws {
    let parts = URLComponents(string: url)
    guard let parts, parts.scheme == "http" || parts.scheme == "https", parts.host?.isEmpty == false else {
      throw ValidationError("--server must be a URL such as http://127.0.0.1:8080, not \(url.prefix(200)).")
    }
  }
}

/// Asks a server over HTTP.
struct ServerClient {
  struct Answer {
    var status: Int
    let body: RPCValue
  }

  /// Why there is no answer.
  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  private static let largestAnswer = 16 << 20
  /// Longer than a server waits for the end of a call.
  static let longestTime = TimeAmount.minutes(10)
  // Whoever is at a terminal wants to know at once that nobody listens.
  static let configuration = {
    var configuration = HTTPClient.Configuration(timeout: .init(connect: .seconds(10)))
    configuration.connectionPool.retryConnectionEstablishment = false
    return configuration
  }()
  let options: ServerOptions

  init(_ options: ServerOptions) { self.options = options }

  func ask(
    _ method: HTTPMethod, _ path: String, _ body: RPCValue? = nil, headers: [(String, String)] = [],
    within time: TimeAmount = longestTime
  ) async throws -> Answer {
    var request = request(method, path)
    for (name, value) in headers { request.headers.add(name: name, value: value) }
    if let body {
      var bytes: [UInt8] = []
      try JSONWriter.write(body, to: &bytes)
      request.headers.add(name: "Content-Type", value: "application/json")
      request.body = .bytes(ByteBuffer(bytes: bytes))
    }
    let status: Int
    let bytes: ByteBuffer
    do {
      (status, bytes) = try await HTTPClient.withHTTPClient(configuration: Self.configuration) { [request] client in
        let response = try await client.execute(request, timeout: time)
        return (Int(response.status.code), try await response.body.collect(upTo: Self.largestAnswer))
      }
    } catch {
      throw unreachable(error)
    }
    if status == 204 { return Answer(status: status, body: .null) }
    do {
      return Answer(status: status, body: try JSONReader.read(Array(bytes.readableBytesView)))
    } catch {
      throw Failure(description: "\(options.url) is no server of device-rpc: it answered with HTTP status \(status) and no JSON")
    }
  }

  /// A request with the key of the options.
  func request(_ method: HTTPMethod, _ path: String) -> HTTPClientRequest {
    var request = HTTPClientRequest(url: options.url + path)
    request.method = method
    if let key = options.key { request.headers.add(name: "Authorization", value: "Bearer \(key)") }
    return request
  }

  func unreachable(_ error: any Error) -> Failure {
    Failure(description: "\(options.url) cannot be asked: \(Self.reason(error)) (is \"device-rpc serve --http\" running there?)")
  }

  static func reason(_ error: any Error) -> String {
    switch error as? HTTPClientError {
    case .remoteConnectionClosed?: return "the server has closed the connection"
    case .connectTimeout?: return "it does not answer"
    case .readTimeout?: return "nothing has come for a long time"
    default: break
    }
    if let error = error as? NIOConnectionError, let first = error.connectionErrors.first { return reason(first.error) }
    if let error = error as? IOError { return String(cString: strerror(error.errnoCode)).lowercased() }
    return "\(error)"
  }

  static func encoded(_ text: String) -> String {
    text.addingPercentEncoding(withAllowedCharacters: .alphanumerics.intersection(CharacterSet(charactersIn: "\0"..."~"))) ?? text
  }
}
