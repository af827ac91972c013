internal import DeviceRPC
internal import FoundationEssentials
internal import Hummingbird

/// The server itself: whether it is well, what its API is, what its problems mean.
struct ServiceRoutes: Sendable {
  let caller: any DeviceCaller
  let readiness: @Sendable () async -> String?
  let started: Date

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
        method: .get, path: "/v1/server", need: .key,
        description: RouteDescription(
          name: "getServer", summary: "How many devices and calls there are, and how full the tables of the server are.",
          responses: [(200, "The server.", "Server")]),
        handler: { request throws(Problem) in
          _ = try request.queryItems([])
          return .json(Self.value(of: await caller.status(), started: started))
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

  private static func value(of status: ServerStatus, started: Date) -> RPCValue {
    let states = DeviceInfo.State.allCases.map { ($0.rawValue, RPCValue(status.devices[$0, default: 0])) }
    let tables = status.tables.map { table -> RPCValue in
      [
        "name": .string(table.name.rawValue), "summary": .string(table.name.summary), "used": RPCValue(table.used),
        "limit": RPCValue(table.limit),
      ]
    }
    return [
      "version": .string(packageVersion), "started": .string(CallDocument.timestamp(started)), "devices": .object(RPCObject(states)),
      "openCalls": ["queued": RPCValue(status.queuedCalls), "sent": RPCValue(status.sentCalls)],
      "waiters": RPCValue(status.waiters), "tables": .array(tables),
    ]
  }

  private static func value(of kind: ProblemKind) -> RPCValue {
    [
      "type": .string(kind.path), "title": .string(kind.title), "status": .integer(Int64(kind.status.code)),
      "explanation": .string(kind.explanation),
    ]
  }
}
