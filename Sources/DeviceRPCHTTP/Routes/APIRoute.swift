// Routes: the paths of the API and what answers them, and the document that describes them.
// The room Server mounts them; an embedder may mount them in a router of its own.

internal import Crypto
internal import DeviceRPC
internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// One method of one path.
struct APIRoute: Sendable {
  let method: HTTPRequest.Method
  /// With names in braces: `/v1/devices/{device}/calls`.
  let path: String
  let need: Need
  /// How it says what has gone wrong.
  var problemForm = ProblemForm.problemDocument
  /// What the OpenAPI document says of it.
  let description: RouteDescription
  let handler: @Sendable (APIRequest) async throws(Problem) -> Response
}

/// A request that was let in.
struct APIRequest: Sendable {
  let sender: Sender
  let headers: HTTPFields
  /// The parts of the path that its names in braces stand for, decoded.
  let parameters: [String: String]
  let query: [(name: String, value: String)]
  /// The body, read as JSON; nil when the route takes none, or when it may be left out and was.
  let body: RPCValue?
  /// The bytes of the body.
  let bytes: [UInt8]
  /// The body of a request whose route takes none: it ends when the client goes away.
  var connection: RequestBody?

  func parameter(_ name: String) -> String { parameters[name] ?? "" }

  /// The items of the query by their names, each of which may be there once.
  func queryItems(_ known: [String]) throws(Problem) -> [String: String] {
    var items: [String: String] = [:]
    for (name, value) in query {
      guard known.contains(name) else {
        let list = known.isEmpty ? "there are none" : "known are \(known.joined(separator: ", "))"
        throw Problem(
          .invalidRequest, "The query parameter \"\(name.prefix(64))\" is unknown; \(list).",
          members: [("parameter", .string(String(name.prefix(64))))])
      }
      guard items.updateValue(value, forKey: name) == nil else {
        throw Self.wrong(name, "given once")
      }
    }
    return items
  }

  static func wrong(_ parameter: String, _ what: String) -> Problem {
    Problem(
      .invalidRequest, "The query parameter \"\(parameter)\" must be \(what).", members: [("parameter", .string(parameter))])
  }

  /// How many items a page has: 1 to 1,000, by default 100.
  static func limit(_ text: String?) throws(Problem) -> Int {
    guard let text else { return 100 }
    guard let limit = Int(text), (1...1_000).contains(limit) else { throw wrong("limit", "a number from 1 to 1000") }
    return limit
  }

  /// The Link header that leads to the next page: the same query, after the last item of this page (RFC 8288).
  func nextPage(limit: Int, after last: String) -> String {
    let items = query.filter { $0.name != "after" && $0.name != "limit" } + [("limit", "\(limit)"), ("after", last)]
    return "<?\(items.map { "\(Self.encoded($0.name))=\(Self.encoded($0.value))" }.joined(separator: "&"))>; rel=\"next\""
  }

  private static let unreserved = CharacterSet(
    charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")

  private static func encoded(_ text: String) -> String {
    text.addingPercentEncoding(withAllowedCharacters: unreserved) ?? text
  }

  /// Whether the client has the answer of this `ETag` already (RFC 9110 §13.1.2).
  func hasSeen(_ tag: String) -> Bool { Self.lists(tag, headers[values: .ifNoneMatch]) }

  /// A strong `ETag` of a content (RFC 9110 §8.8.3).
  static func tag(of content: [UInt8]) -> String { "\"\(SHA256.hash(data: content).prefix(16).hexadecimal)\"" }

  /// Whether a condition lists an `ETag`: as one of several, or as any that there is.
  static func lists(_ tag: String, _ condition: [String]) -> Bool {
    condition.flatMap { $0.split(separator: ",") }.contains { text in
      let text = text.drop { $0 == " " || $0 == "\t" }.prefix { $0 != " " && $0 != "\t" }
      return text == "*" || text == tag || text == "W/\(tag)"
    }
  }

  var preference: Preference { Preference(headers[values: .prefer]) }
}

extension HTTPField.Name {
  static let prefer = Self("Prefer")!
  static let preferenceApplied = Self("Preference-Applied")!
  static let idempotencyKey = Self("Idempotency-Key")!
  static let link = Self("Link")!
}

/// Turns a request into an `APIRequest`, and whatever happens into a response.
struct RouteRunner: Sendable {
  let gate: Gate
  let limits: HTTPLimits
  let deadline: Deadline
  let metrics: HTTPMetrics
  /// A monotonic clock.
  let now: @Sendable () -> Duration

  func run(_ route: APIRoute, _ request: Request, _ parameters: Parameters) async -> Response {
    let begin = now()
    let response = await response(route, request, parameters)
    metrics.count(request.method, route.path, response.status, now() - begin)
    return response
  }

  private func response(_ route: APIRoute, _ request: Request, _ parameters: Parameters) async -> Response {
    do throws(Problem) {
      let sender = try await gate.admit(request, route.need)
      var decoded: [String: String] = [:]
      for (name, value) in parameters {
        // Most have nothing to decode, which Foundation finds out slowly.
        guard let text = value.utf8.contains(UInt8(ascii: "%")) ? String(value).removingPercentEncoding : String(value) else {
          throw Problem(.invalidRequest, "\"\(name)\" in the path is not percent-encoded UTF-8.")
        }
        decoded[String(name)] = text
      }
      let (body, bytes) =
        route.description.takesBody ? try await read(request, isRequired: route.description.isBodyRequired) : (nil, [])
      return try await route.handler(
        APIRequest(
          sender: sender, headers: request.headers, parameters: decoded, query: try Self.query(of: request), body: body,
          bytes: bytes, connection: route.description.takesBody ? nil : request.body))
    } catch {
      return route.problemForm.response(to: error)
    }
  }

  private static func query(of request: Request) throws(Problem) -> [(String, String)] {
    guard let query = request.uri.query, !query.isEmpty else { return [] }
    var items: [(String, String)] = []
    for item in query.split(separator: "&") {
      let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let texts = parts.map { $0.replacing("+", with: " ").removingPercentEncoding }
      guard let name = texts[0], let value = texts.count > 1 ? texts[1] : "" else {
        throw Problem(.invalidRequest, "The query is not percent-encoded UTF-8.")
      }
      items.append((name, value))
    }
    return items
  }

  private func read(_ request: Request, isRequired: Bool) async throws(Problem) -> (RPCValue?, [UInt8]) {
    if !isRequired, request.headers[.contentType] == nil, try await collect(request).isEmpty { return (nil, []) }
    let type = request.headers[.contentType]?.prefix { $0 != ";" && $0 != " " }.lowercased()
    guard type == "application/json" else {
      throw Problem(
        .unsupportedMediaType,
        type == nil ? "The request has no Content-Type." : "The body is of the type \"\(type?.prefix(64) ?? "")\".")
    }
    let bytes = try await collect(request)
    do {
      return (try JSONReader.read(bytes, limits: .standard), bytes)
    } catch {
      throw Problem(.malformedJSON, "\(error).", members: [("byte", RPCValue(error.offset))])
    }
  }

  private func collect(_ request: Request) async throws(Problem) -> [UInt8] {
    let limit = limits.bodyBytes
    let tooLarge = Problem(.bodyTooLarge, "A body may have \(limit) bytes at most.")
    if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit { throw tooLarge }
    do {
      let bytes = try await deadline.run { [body = request.body] in Array(buffer: try await body.collect(upTo: limit)) }
      guard let bytes else {
        throw deadline.isOver
          ? Problem(CallError.shuttingDown(.notSent))
          : Problem(.requestTimeout, "A request must arrive within \(Int(limits.requestTime.inSeconds)) s.")
      }
      return bytes
    } catch is NIOTooManyBytesError {
      throw tooLarge
    } catch let problem as Problem {
      throw problem
    } catch {
      throw Problem(.invalidRequest, "The body could not be read.")
    }
  }
}
