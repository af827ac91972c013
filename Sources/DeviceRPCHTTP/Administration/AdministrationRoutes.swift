// Administration: the registry of devices behind the API: what is known of a device, and the routes that change it.
// The rooms Routes and Golioth show and change devices with it.

internal import DeviceRPC
internal import HTTPTypes
internal import Hummingbird

/// Devices and their credentials, as `device-rpc devices` adds, changes and removes them.
struct AdministrationRoutes: Sendable {
  let known: KnownDevices

  var routes: [APIRoute] {
    [
      route(
        .put, "", "putDevice", "Add a device, unless it is there, and give it a credential that it lacks, if one is asked for.",
        body: "NewDevice",
        [(200, "It was there already.", "Device"), (201, "It was added.", "Device")], [.alreadyExists], put),
      route(.delete, "", "deleteDevice", "Remove a device and its credentials.", [(204, "It is removed.", nil)], [.unknownDevice], delete),
      route(
        .get, "/credentials", "listCredentials", "List the credentials of a device, without its key.",
        [(200, "The credentials, at most one of each kind.", "CredentialList")], [.unknownDevice], list),
      route(
        .post, "/credentials", "addCredential", "Give a device a credential of a kind that it lacks.", body: "NewCredential",
        [(201, "The device has it.", "Device")], [.unknownDevice, .alreadyExists], add),
      route(
        .post, "/rotate", "rotateCredential", "Give a device another credential in place of the one of its kind.",
        body: "NextCredential", [(200, "The device has it.", "Device")], [.unknownDevice, .unknownCredential, .alreadyExists],
        rotate),
      route(
        .post, "/enable", "enableDevice", "Let a device connect that was disabled.", body: "Nothing",
        [(200, "It is enabled.", "Device")], [.unknownDevice], enable),
      route(
        .post, "/disable", "disableDevice", "Keep a device from connecting, and remember it.", body: "Nothing",
        [(200, "It is disabled.", "Device")], [.unknownDevice], disable),
    ]
  }

  private func route(
    _ method: HTTPRequest.Method, _ path: String, _ name: String, _ summary: String, body: String? = nil,
    _ responses: [(status: Int, summary: String, schema: String?)], _ problems: [ProblemKind],
    _ handler: @escaping @Sendable (APIRequest) async throws(Problem) -> Response
  ) -> APIRoute {
    APIRoute(
      method: method, path: "/v1/devices/{device}\(path)", need: .key,
      description: RouteDescription(
        name: name, summary: summary, parameters: [.path("device", "The name of the device.")], body: body, isBodyRequired: false,
        responses: responses, problems: problems + [.forbidden, .notImplemented, .internalError]),
      handler: { request throws(Problem) in
        _ = try request.queryItems([])
        return try await handler(request)
      })
  }

  // MARK: Devices

  @Sendable private func put(_ request: APIRequest) async throws(Problem) -> Response {
    let name = request.parameter("device")
    var members = try Members(request.body ?? .object(RPCObject()))
    let credential = try members.take("credential").map { value throws(Problem) in
      guard value.objectValue != nil else { throw Members.wrong("credential", "an object") }
      return try CredentialRequest(value)
    }
    try members.end()
    let (device, isNew) = try await known.administer("add", name, by: request.sender) {
      (registry) throws(DeviceAdministrationError) in
      try await registry.register(name, credential?.proof, identity: credential?.identity)
    }
    return await response(device, credential, status: isNew ? .created : .ok)
  }

  @Sendable private func delete(_ request: APIRequest) async throws(Problem) -> Response {
    let name = request.parameter("device")
    try await known.administer("remove", name, by: request.sender) { (registry) throws(DeviceAdministrationError) in
      try await registry.unregister(name)
    }
    return Response(status: .noContent)
  }

  @Sendable private func enable(_ request: APIRequest) async throws(Problem) -> Response {
    try await set(true, "enable", request)
  }

  @Sendable private func disable(_ request: APIRequest) async throws(Problem) -> Response {
    try await set(false, "disable", request)
  }

  private func set(_ isEnabled: Bool, _ action: String, _ request: APIRequest) async throws(Problem) -> Response {
    let name = request.parameter("device")
    try Members(request.body ?? .object(RPCObject())).end()
    let device = try await known.administer(action, name, by: request.sender) { (registry) throws(DeviceAdministrationError) in
      try await registry.setEnabled(isEnabled, device: name)
    }
    return await response(device)
  }

  // MARK: Credentials

  @Sendable private func list(_ request: APIRequest) async throws(Problem) -> Response {
    let name = request.parameter("device")
    _ = try known.administration()
    try request.sender.requireAdminister(name)
    guard let device = try await known.registered(name) else { throw Problem(DeviceAdministrationError.unknownDevice(name)) }
    return .json(["credentials": .array(device.credentials.map(DeviceDocument.value))])
  }

  @Sendable private func add(_ request: APIRequest) async throws(Problem) -> Response {
    let credential = try CredentialRequest(request.body)
    return try await set(credential, .add, "add credential", request, status: .created)
  }

  @Sendable private func rotate(_ request: APIRequest) async throws(Problem) -> Response {
    let credential = try CredentialRequest(request.body)
    // Else the next request without it would accept any certificate of that name.
    if credential.proof == .certificate(fingerprint: nil) { throw Members.wrong("fingerprint", "that of the next certificate") }
    return try await set(credential, .rotate, "rotate", request, status: .ok)
  }

  private func set(
    _ credential: CredentialRequest, _ change: CredentialChange, _ action: String, _ request: APIRequest,
    status: HTTPResponse.Status
  ) async throws(Problem) -> Response {
    let name = request.parameter("device")
    let device = try await known.administer(action, name, by: request.sender) { (registry) throws(DeviceAdministrationError) in
      try await registry.setCredential(credential.proof, identity: credential.identity, of: name, change)
    }
    return await response(device, credential, status: status)
  }

  /// The device, with the key or token if the server has made it: nobody else knows it.
  private func response(
    _ device: RegisteredDevice, _ credential: CredentialRequest? = nil, status: HTTPResponse.Status = .ok
  ) async -> Response {
    let known = KnownDevices.Device(name: device.name, registered: device, info: await known.caller.info(of: device.name))
    return .json(DeviceDocument.value(of: known, withCredentials: true, new: credential), status: status)
  }
}
