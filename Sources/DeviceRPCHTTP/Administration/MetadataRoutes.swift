internal import DeviceRPC
internal import HTTPTypes
internal import Hummingbird

/// What front doors keep about devices.
struct MetadataRoutes: Sendable {
  let known: KnownDevices
  let store: any DeviceMetadataStore

  var routes: [APIRoute] {
    [
      APIRoute(
        method: .get, path: Self.path, need: .key,
        description: RouteDescription(
          name: "getMetadata", summary: "Read what front ends keep about a device.",
          parameters: [Self.device, .header("If-None-Match", "The ETag of the answer before.")],
          responses: [(200, "The metadata, which are empty when none were set.", "Metadata"), (304, "They have not changed.", nil)],
          problems: [.forbidden, .unknownDevice, .internalError]),
        handler: get),
      APIRoute(
        method: .put, path: Self.path, need: .key,
        description: RouteDescription(
          name: "putMetadata", summary: "Set what front ends keep about a device, in place of all that it was.",
          parameters: [Self.device, .header("If-Match", "The ETag of the metadata that are to be replaced.")], body: "Metadata",
          responses: [(200, "The metadata.", "Metadata")],
          problems: [.forbidden, .unknownDevice, .preconditionFailed, .internalError]),
        handler: put),
    ]
  }

  private static let path = "/v1/devices/{device}/metadata"
  private static let device = RouteDescription.Parameter.path("device", "The name of the device.")

  @Sendable private func get(_ request: APIRequest) async throws(Problem) -> Response {
    let name = try await device(of: request)
    let response = Self.response(try await metadata(of: name))
    guard let tag = response.headers[.eTag], request.hasSeen(tag) else { return response }
    return Response(status: .notModified, headers: [.eTag: tag])
  }

  @Sendable private func put(_ request: APIRequest) async throws(Problem) -> Response {
    let name = try await device(of: request)
    // Panels of a console are no secret, as keys are: a server that is open without keys takes them from everybody.
    if request.sender.key != nil { try request.sender.requireAdminister(name) }
    var members = try Members(request.body ?? .null)
    guard let metadata = members.take("metadata")?.objectValue else { throw Members.wrong("metadata", "an object") }
    try members.end()
    var old: RPCObject?
    if let condition = request.headers[.ifMatch] {
      let current = try await self.metadata(of: name)
      guard APIRequest.lists(Self.tag(of: current), [condition]) else { throw Self.changed }
      old = current
    }
    let isSet = try await known.attempt { () throws(DeviceAdministrationError) in
      try await store.setMetadata(metadata, of: name, replacing: old)
    }
    guard isSet else { throw Self.changed }
    return Self.response(metadata)
  }

  private static let changed = Problem(.preconditionFailed, "The metadata have another ETag now: somebody else has changed them.")

  private func device(of request: APIRequest) async throws(Problem) -> String {
    _ = try request.queryItems([])
    let name = request.parameter("device")
    try request.sender.requireLookAt(name)
    return try await known.require(name).name
  }

  private func metadata(of name: String) async throws(Problem) -> RPCObject {
    try await known.attempt { () throws(DeviceAdministrationError) in try await store.metadata(of: name) }
  }

  private static func response(_ metadata: RPCObject) -> Response {
    var response = Response.json(["metadata": .object(metadata)])
    response.headers[.eTag] = tag(of: metadata)
    return response
  }

  private static func tag(of metadata: RPCObject) -> String {
    APIRequest.tag(of: RPCValue.object(metadata).jsonBytes)
  }
}
