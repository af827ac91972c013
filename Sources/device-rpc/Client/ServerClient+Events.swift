internal import AsyncHTTPClient
internal import DeviceRPC
internal import NIOCore
internal import NIOHTTP1

extension ServerClient {
  /// What happens to a stream of events.
  enum StreamNews {
    /// The server sends events. If it is not the first time, what has happened meanwhile comes first, or an event that says that it
    /// is missing; without an id to resume from nobody knows what is missing.
    case open(isResumed: Bool)
    case event(EventStreamParser.Event)
    /// The connection is lost or could not be made again; the next one is made after that time.
    case lost(reason: String, wait: Duration)
  }

  /// A server is taken to be gone when it sends nothing for this time; it sends a comment every 15 seconds.
  private static let silence = TimeAmount.seconds(60)

  /// Follows a stream of events, over connections that are made again when they are lost.
  ///
  /// It ends only by throwing `Failure`: when the first connection cannot be made, or when the server refuses.
  func follow(_ path: String, _ tell: (StreamNews) -> Void) async throws {
    var configuration = Self.configuration
    configuration.timeout.read = Self.silence
    try await HTTPClient.withHTTPClient(configuration: configuration) { client in
      var reconnection = Reconnection()
      var retry: Duration?
      var lastEventID = ""
      var isFirst = true
      while true {
        var asked: Duration?
        let reason: String
        do {
          let response = try await client.execute(request(.GET, path, after: lastEventID), deadline: .distantFuture)
          guard response.isStream else {
            let failure = await refusal(response)
            guard !isFirst, response.isPassing else { throw failure }
            asked = response.headers.first(name: "Retry-After").flatMap { Int32($0) }.map { .seconds($0) }
            throw Lost(reason: failure.description)
          }
          reconnection.connected()
          tell(.open(isResumed: isFirst || !lastEventID.isEmpty))
          isFirst = false
          var parser = EventStreamParser(lastEventID: lastEventID)
          defer { (lastEventID, retry) = (parser.lastEventID, parser.retry ?? retry) }
          for try await buffer in response.body {
            try parser.add(buffer.readableBytesView) { tell(.event($0)) }
          }
          reason = "the server has ended it"
        } catch let failure as Failure {
          throw failure
        } catch is EventStreamParser.TooLong {
          throw Failure(description: "\(options.url) sends an event of more than \(EventStreamParser.longest >> 20) MiB")
        } catch {
          guard !isFirst else { throw unreachable(error) }
          reason = (error as? Lost)?.reason ?? Self.reason(error)
        }
        let wait = reconnection.wait(asked: asked ?? retry, chance: .random(in: 0...1))
        tell(.lost(reason: reason, wait: wait))
        try await Task.sleep(for: wait)
      }
    }
  }

  private struct Lost: Error {
    let reason: String
  }

  private func request(_ method: HTTPMethod, _ path: String, after id: String) -> HTTPClientRequest {
    var request = request(method, path)
    request.headers.add(name: "Accept", value: "text/event-stream")
    if !id.isEmpty { request.headers.add(name: "Last-Event-ID", value: id) }
    return request
  }

  /// Why there are no events.
  private func refusal(_ response: HTTPClientResponse) async -> Failure {
    let body = try? await response.body.collect(upTo: 1 << 20)
    let problem = body.flatMap { try? JSONReader.read(Array($0.readableBytesView)) }
    if let detail = problem?["detail"]?.stringValue { return Failure(description: detail) }
    return Failure(description: "\(options.url) is no server of device-rpc: it answered with HTTP status \(response.status.code) and no events")
  }
}

extension HTTPClientResponse {
  fileprivate var isStream: Bool {
    status == .ok && headers.first(name: "Content-Type")?.lowercased().hasPrefix("text/event-stream") == true
  }

  /// Whether the same request may succeed later.
  fileprivate var isPassing: Bool { status == .tooManyRequests || (500...599).contains(status.code) && status != .notImplemented }
}
