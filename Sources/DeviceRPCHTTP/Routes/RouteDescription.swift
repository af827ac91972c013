internal import DeviceRPC
internal import Hummingbird

/// What the OpenAPI document says of a route.
struct RouteDescription: Sendable {
  struct Parameter: Sendable {
    enum Place: String, Sendable { case path, query, header }
    let name: String
    let place: Place
    let summary: String
    let schema: RPCValue

    static func path(_ name: String, _ summary: String, _ schema: RPCValue = ["type": "string"]) -> Parameter {
      Parameter(name: name, place: .path, summary: summary, schema: schema)
    }

    static func query(_ name: String, _ summary: String, _ schema: RPCValue = ["type": "string"]) -> Parameter {
      Parameter(name: name, place: .query, summary: summary, schema: schema)
    }

    static func header(_ name: String, _ summary: String, _ schema: RPCValue = ["type": "string"]) -> Parameter {
      Parameter(name: name, place: .header, summary: summary, schema: schema)
    }
  }

  /// The name of the operation: `createCall`.
  let name: String
  let summary: String
  var parameters: [Parameter] = []
  /// The name of the schema of the body; nil for a route without one.
  var body: String?
  /// False for a body that may be left out.
  var isBodyRequired = true
  /// Successes: the status, what it means, and the name of the schema; nil for no body.
  let responses: [(status: Int, summary: String, schema: String?)]
  /// What may go wrong, besides what may go wrong with every request.
  var problems: [ProblemKind] = []

  var takesBody: Bool { body != nil }

  /// What may go wrong with every request for which a key is needed. What a key may not do depends on the route: some show to each
  /// key what it may see.
  static let always: [ProblemKind] = [.invalidRequest, .unauthorized, .wrongHost, .tooManyRequests]
  /// And with every body.
  static let withBody: [ProblemKind] = [.malformedJSON, .unsupportedMediaType, .bodyTooLarge, .requestTimeout]
}

/// The OpenAPI 3.1 document, made from the table of routes, so that the two cannot differ.
enum OpenAPIDocument {
  /// The routes, and one that has their document, which describes itself, too.
  static func describing(_ routes: [APIRoute]) -> [APIRoute] {
    func route(_ handler: @escaping @Sendable (APIRequest) async throws(Problem) -> Response) -> APIRoute {
      APIRoute(
        method: .get, path: "/v1/openapi.json", need: .nothing,
        description: RouteDescription(
          name: "getOpenAPI", summary: "The OpenAPI document of this API.", responses: [(200, "The document.", "Document")]),
        handler: handler)
    }
    let document = value(of: routes + [route { _ throws(Problem) in throw Problem(.notFound, "") }])
    return routes + [route { _ throws(Problem) in .json(document) }]
  }

  static func value(of routes: [APIRoute]) -> RPCValue {
    var paths = RPCObject()
    for route in routes {
      var operations = paths[route.path]?.objectValue ?? RPCObject()
      operations[route.method.rawValue.lowercased()] = operation(route)
      paths[route.path] = .object(operations)
    }
    return [
      "openapi": "3.1.0",
      "info": [
        "title": "swift-device-rpc", "version": "1.0.0",
        "summary": "Calls functions on constrained devices.",
        "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
      ],
      "servers": [["url": "/"]],
      "paths": .object(paths),
      "components": [
        "schemas": .object(RPCObject(Schemas.all)),
        "securitySchemes": [
          "bearer": ["type": "http", "scheme": "bearer", "description": "A key of device-rpc keys add."],
          "apiKey": ["type": "apiKey", "in": "header", "name": "x-api-key"],
        ],
      ],
    ]
  }

  private static func operation(_ route: APIRoute) -> RPCValue {
    let description = route.description
    var operation: [(String, RPCValue)] = [
      ("operationId", .string(description.name)), ("summary", .string(description.summary)),
    ]
    if !description.parameters.isEmpty { operation.append(("parameters", .array(description.parameters.map(parameter)))) }
    if let body = description.body {
      operation.append(
        ("requestBody", ["required": .bool(description.isBodyRequired), "content": ["application/json": ["schema": reference(body)]]]))
    }
    // A server may be open to requests without a key.
    if route.need != .nothing { operation.append(("security", [["bearer": []], ["apiKey": []], .object(RPCObject())])) }
    operation.append(("responses", .object(responses(route))))
    return .object(RPCObject(operation))
  }

  private static func parameter(_ parameter: RouteDescription.Parameter) -> RPCValue {
    [
      "name": .string(parameter.name), "in": .string(parameter.place.rawValue), "required": .bool(parameter.place == .path),
      "description": .string(parameter.summary), "schema": parameter.schema,
    ]
  }

  private static func responses(_ route: APIRoute) -> RPCObject {
    var responses = RPCObject()
    for (status, summary, schema) in route.description.responses {
      guard let schema else {
        responses["\(status)"] = ["description": .string(summary)]
        continue
      }
      let type = schema == "Text" ? "text/plain" : schema == "Events" ? "text/event-stream" : "application/json"
      let content: RPCValue = ["schema": reference(schema)]
      responses["\(status)"] = ["description": .string(summary), "content": .object(RPCObject([(type, content)]))]
    }
    let form = route.problemForm
    let byStatus = Dictionary(grouping: problems(of: route)) { form.status($0).code }
    for (status, kinds) in byStatus.sorted(by: { $0.key < $1.key }) {
      let text = kinds.map { "\($0.title) (`\($0.path)`)" }.joined(separator: "; ")
      let content: [(String, RPCValue)] = [(form.contentType, ["schema": reference(form.schema)])]
      responses["\(status)"] = ["description": .string(text), "content": .object(RPCObject(content))]
    }
    return responses
  }

  /// All problems that a route may answer with.
  static func problems(of route: APIRoute) -> [ProblemKind] {
    let always = route.need == .nothing ? [.wrongHost, .invalidRequest] : RouteDescription.always
    let all = route.description.problems + always + (route.description.takesBody ? RouteDescription.withBody : [])
    return ProblemKind.allCases.filter(all.contains)
  }

  static func reference(_ schema: String) -> RPCValue { ["$ref": .string("#/components/schemas/\(schema)")] }
}
