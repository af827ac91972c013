import AsyncHTTPClient
import DeviceRPC
import DeviceRPCTesting
import Foundation
import NIOCore
import NIOHTTP1
import Testing

@testable import DeviceRPCHTTP

/// Everything that the OpenAPI document says of an operation is provoked once over a socket, and nothing else comes of it.
///
/// The list is that of the document: a new route, or a new problem of a route, without an entry in `Provocation.all` fails.
@Suite(.timeLimit(.minutes(2))) struct ProblemTableTests {
  private struct Operation {
    let name: String
    let method: String
    let path: String
    let needsKey: Bool
    /// The schema of the body; nil for none.
    let body: String?
    let answers: Set<DocumentedAnswer>
    let isGolioth: Bool

    init(_ method: String, _ path: String, _ value: RPCValue) throws {
      self.method = method.uppercased()
      self.path = path
      let name = try #require(value["operationId"]?.stringValue)
      self.name = name
      needsKey = value["security"] != nil
      body = value["requestBody"]?["content"]?["application/json"]?["schema"]?["$ref"]?.stringValue?.split(separator: "/").last.map(String.init)
      var answers: Set<DocumentedAnswer> = []
      var isGolioth = false
      for (status, response) in try #require(value["responses"]?.objectValue) {
        let status = try #require(Int(status))
        let text = try #require(response["description"]?.stringValue)
        let kinds = text.matches(of: /`\/v1\/problems\/([a-z-]+)`/).compactMap { ProblemKind(rawValue: String($0.output.1)) }
        for kind in kinds { answers.insert(DocumentedAnswer(operation: name, status: status, kind: kind)) }
        if kinds.isEmpty { answers.insert(DocumentedAnswer(operation: name, status: status, kind: nil)) }
        isGolioth = isGolioth || response["content"]?["application/json"]?["schema"]?["$ref"] == "#/components/schemas/GoliothError"
      }
      self.answers = answers
      self.isGolioth = isGolioth
    }

    func uri(_ parameters: [String: String]) throws -> String {
      var uri = ""
      for part in path.split(separator: "/") {
        let name = part.hasPrefix("{") ? part.dropFirst().dropLast() : nil
        let value = try name.map { try #require(parameters[String($0)] ?? Provocation.standardParameters[String($0)], "\($0)") }
        uri += "/" + (value ?? String(part))
      }
      return uri
    }
  }

  /// A server and the keys that may ask it.
  private struct Place {
    let url: String
    let key: String
    let powerless: String
    let keys: InMemoryAPIKeys
    var port: Int { url.split(separator: ":").last.flatMap { Int($0) } ?? 0 }

    func send(
      _ operation: Operation, parameters: [String: String] = [:], query: String = "", key: String? = nil, headers: [String: String] = [:],
      body: String? = nil
    ) async throws -> (status: Int, type: String?, contentType: String?) {
      var request = HTTPClientRequest(url: url + (try operation.uri(parameters)) + query)
      request.method = HTTPMethod(rawValue: operation.method)
      if operation.needsKey, key != "" { request.headers.add(name: "x-api-key", value: key ?? self.key) }
      if let schema = operation.body {
        let body = try #require(body ?? Provocation.sampleBodies[schema], "no sample for \(schema)")
        request.body = .bytes(ByteBuffer(string: body))
        request.headers.add(name: "Content-Type", value: "application/json")
      }
      for (name, value) in headers { request.headers.replaceOrAdd(name: name, value: value) }
      let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
      let contentType = response.headers.first(name: "Content-Type")
      // A stream of events has no end.
      guard contentType?.hasSuffix("json") == true else { return (Int(response.status.code), nil, contentType) }
      let document = try JSONReader.read(Array(try await response.body.collect(upTo: 1 << 20).readableBytesView))
      return (Int(response.status.code), document["type"]?.stringValue, contentType)
    }
  }

  private func withPlace<Result>(_ place: Provocation.Place, _ body: (Place) async throws -> Result) async throws -> Result {
    var configuration = HTTPConfiguration(port: 0)
    configuration.limits.bodyBytes = 200
    if place == .hasty { configuration.limits.requestTime = .milliseconds(50) }
    if place == .full { configuration.limits.eventReaders = 0 }
    if place == .rated { configuration.limits.requestsPerSecond = 1 }
    let registry = InMemoryRegistry([
      "known": "known@p", "other": "other@p", "spare": "spare@p", "doomed": "doomed@p", "bare": "", "keyless": "",
    ])
    if place == .failing { registry.fail("the test wants it") }
    let keys = InMemoryAPIKeys()
    let powerless = keys.add("powerless", .none)
    let (urls, found) = AsyncStream.makeStream(of: String.self)
    let server = DeviceRPCHTTPServer(
      TableCaller(), keys: keys, administration: place == .withoutRegistry ? nil : registry, configuration: configuration,
      isReady: { place == .unready ? "the test wants it" : nil }, metrics: PrometheusMetrics(), log: silentLog, date: { eventTime }, now: { .zero },
      clock: ManualClock(), onListening: { found.yield($0) })
    return try await running(server) {
      var url = urls.makeAsyncIterator()
      return try await body(Place(url: try #require(await url.next()), key: keys.add("all", .all), powerless: powerless, keys: keys))
    }
  }

  private func operations() async throws -> [Operation] {
    try await withPlace(.usual) { place in
      let response = try await HTTPClient.shared.execute(HTTPClientRequest(url: place.url + "/v1/openapi.json"), timeout: .seconds(20))
      let document = try JSONReader.read(
        Array(try await response.body.collect(upTo: 1 << 20).readableBytesView), limits: JSONLimits(maxDepth: 128))
      var operations: [Operation] = []
      for (path, methods) in try #require(document["paths"]?.objectValue) {
        for (method, value) in try #require(methods.objectValue) { operations.append(try Operation(method, path, value)) }
      }
      return operations
    }
  }

  /// Notes what a request was answered with, and that the document says so.
  private func note(
    _ answer: (status: Int, type: String?, contentType: String?), _ kind: ProblemKind?, _ operation: Operation,
    _ seen: inout Set<DocumentedAnswer>
  ) {
    let documented = DocumentedAnswer(operation: operation.name, status: answer.status, kind: kind)
    #expect(operation.answers.contains(documented), "\(documented) is not in the document")
    if let kind {
      #expect(answer.contentType == (operation.isGolioth ? "application/json" : "application/problem+json"), "\(documented)")
      if !operation.isGolioth { #expect(answer.type == kind.path, "\(documented)") }
    }
    seen.insert(documented)
  }

  @Test func `each documented answer is given over a socket, and no other`() async throws {
    let operations = try await operations()
    var seen: Set<DocumentedAnswer> = []
    for place in Provocation.Place.allCases {
      try await withPlace(place) { server in
        for provocation in Provocation.all where provocation.place == place {
          let operation = try #require(operations.first { $0.name == provocation.operation }, "\(provocation.operation) is not in the document")
          func ask(_ body: String?) async throws -> (status: Int, type: String?, contentType: String?) {
            try await server.send(operation, parameters: provocation.parameters, headers: provocation.headers, body: body)
          }
          if let first = provocation.firstBody { #expect(try await ask(first).status == 200) }
          let answer = try await ask(provocation.body)
          if provocation.kind == nil { #expect(answer.status == provocation.status, "\(provocation)") }
          note(answer, provocation.kind, operation, &seen)
        }
        for operation in operations { try await provoke(operation, in: place, server, &seen) }
      }
    }
    let missing = operations.flatMap(\.answers).filter { !seen.contains($0) }.map(\.description).sorted()
    #expect(missing.isEmpty, "documented, and not provoked")
  }

  /// What every operation is asked alike: a key that is missing, weak or too busy, another host, a query and bodies that are none.
  private func provoke(
    _ operation: Operation, in place: Provocation.Place, _ server: Place, _ seen: inout Set<DocumentedAnswer>
  ) async throws {
    let wrongQuery = "?%FF"
    switch place {
    case .usual:
      note(try await server.send(operation, headers: ["Host": "evil.example"]), .wrongHost, operation, &seen)
      note(try await server.send(operation, query: wrongQuery), .invalidRequest, operation, &seen)
      if operation.needsKey {
        note(try await server.send(operation, key: ""), .unauthorized, operation, &seen)
        // Some show to each key what it may see.
        let answer = try await server.send(operation, key: server.powerless)
        if answer.status == 403 { note(answer, .forbidden, operation, &seen) }
      }
      if operation.body != nil {
        note(try await server.send(operation, body: "{"), .malformedJSON, operation, &seen)
        note(try await server.send(operation, headers: ["Content-Type": "text/plain"]), .unsupportedMediaType, operation, &seen)
        note(try await server.send(operation, body: "\"\(String(repeating: "x", count: 200))\""), .bodyTooLarge, operation, &seen)
      }
    case .hasty where operation.body != nil: note(try await late(operation, server), .requestTimeout, operation, &seen)
    case .failing:
      let answer = try await server.send(operation)
      if answer.status >= 500 { note(answer, .internalError, operation, &seen) }
    case .rated where operation.needsKey:
      let key = server.keys.add(operation.name, .all)
      for kind in [ProblemKind.invalidRequest, .tooManyRequests] {
        note(try await server.send(operation, query: wrongQuery, key: key), kind, operation, &seen)
      }
    default: break
    }
  }

  /// A request whose body does not come.
  private func late(_ operation: Operation, _ server: Place) async throws -> (status: Int, type: String?, contentType: String?) {
    let head =
      "\(operation.method) \(try operation.uri([:])) HTTP/1.1\r\nHost: localhost\r\nx-api-key: \(server.key)\r\nConnection: close\r\n"
      + "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    let socket = try LiveSocket(port: server.port)
    try socket.send(head)
    let text = String(decoding: await socket.rest(), as: UTF8.self)
    let answer = LiveSocket.answer(text)
    let document = try JSONReader.read(Array(answer.body.utf8))
    let contentType = text.split(separator: "\r\n").first { $0.lowercased().hasPrefix("content-type: ") }?.dropFirst("content-type: ".count)
    return (answer.status, document["type"]?.stringValue, contentType.map(String.init))
  }
}
