internal import DeviceRPC
internal import Hummingbird

/// The server itself: whether it is well, what its API is, what its problems mean.
struct ServiceRoutes: Sendable {
  let readiness: @Sendable () async -> String?

  var routes: [APIRoute] {
    [
      APIRoute(
        method: .get, path: "/healthz", need: .nothing,
        description: RouteDescription(
          name: "getHealth", summary: "Whether the process is alive.", responses: [(200, "It is.", "Health")]),
        handler: { _ throws(Problem) in .json(["status": "ok"]) }),
      APIRoute(
        method: .get, path: "/readyz", need: .nothing,
        description: RouteDescription(
          name: "getReadiness", summary: "Whether devices can connect and be called.",
          responses: [(200, "They can.", "Health"), (503, "They cannot, for this reason.", "Health")]),
        handler: { _ throws(Problem) in
          guard let reason = await readiness() else { return .json(["status": "ok"]) }
          return .json(["status": "unavailable", "reason": .string(reason)], status: .serviceUnavailable)
        }),
      APIRoute(
        method: .get, path: "/v1/problems", need: .nothing,
        description: RouteDescription(
          name: "listProblems", summary: "All kinds of problems.", responses: [(200, "The kinds.", "ProblemList")]),
        handler: { _ throws(Problem) in .json(["problems": .array(ProblemKind.allCases.map(Self.value))]) }),
      APIRoute(
        method: .get, path: "/v1/problems/{problem}", need: .nothing,
        description: RouteDescription(
          name: "getProblem", summary: "What a kind of problem means.",
          parameters: [.path("problem", "The last part of the type of a problem document.")],
          responses: [(200, "The kind.", "ProblemKind")], problems: [.notFound]),
        handler: { request throws(Problem) in
          guard let kind = ProblemKind(rawValue: request.parameter("problem")) else {
            throw Problem(.notFound, "There is no such kind of problem; /v1/problems lists all.")
          }
          return .json(Self.value(of: kind))
        }),
    ]
  }

  private static func value(of kind: ProblemKind) -> RPCValue {
    [
      "type": .string(kind.path), "title": .string(kind.title), "status": .integer(Int64(kind.status.code)),
      "explanation": .string(kind.explanation),
    ]
  }
}
