internal import DeviceRPC
internal import HTTPTypes
internal import Hummingbird

/// Projects: what stands behind the `@` of the devices' identities, or the default one.
struct GoliothProjects: Sendable {
  let registry: GoliothRegistry

  var routes: [APIRoute] {
    [
      APIRoute(
        method: .get, path: "/v1/projects", need: .key, problemForm: .golioth,
        description: RouteDescription(
          name: "goliothProjects", summary: "List the projects, as in Golioth's management API.",
          responses: [(200, "The projects that have devices; if none has, the default one.", "GoliothProjectList")],
          problems: [.internalError]),
        handler: list),
      APIRoute(
        method: .get, path: "/v1/projects/{project}", need: .key, problemForm: .golioth,
        description: RouteDescription(
          name: "goliothProject", summary: "Look at a project, as in Golioth's management API.", parameters: [.goliothProject],
          responses: [(200, "The project.", "GoliothProject")], problems: [.notFound, .internalError]),
        handler: get),
    ]
  }

  @Sendable private func list(_ request: APIRequest) async throws(Problem) -> Response {
    let names = try await names(for: request.sender)
    let shown = names.isEmpty ? [GoliothRegistry.defaultProject] : names.sorted()
    let count = RPCValue(shown.count)
    return .json(["list": .array(shown.map(Self.value)), "page": 0, "perPage": count, "total": count])
  }

  @Sendable private func get(_ request: APIRequest) async throws(Problem) -> Response {
    let name = request.goliothProject
    // Without a registry nobody knows which projects there are.
    if registry.known.registry != nil, name != GoliothRegistry.defaultProject {
      guard try await names(for: request.sender).contains(name) else {
        throw Problem(.notFound, "There is no project \"\(name.prefix(128))\": no identity ends with @ and this name.")
      }
    }
    return .json(["data": Self.value(of: name)])
  }

  private func names(for sender: Sender) async throws(Problem) -> Set<String> {
    var names: Set<String> = []
    for device in try await registry.devices() where sender.mayRead(device.name) {
      if case .one(let name) = registry.membership(of: device.registered) { names.insert(name) }
    }
    return names
  }

  private static func value(of name: String) -> RPCValue {
    ["id": .string(GoliothID.id(of: name)), "name": .string(name), "organizationId": .string(GoliothRegistry.defaultProject)]
  }
}
