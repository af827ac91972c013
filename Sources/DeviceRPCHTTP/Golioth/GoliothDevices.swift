internal import DeviceRPC
internal import HTTPTypes
internal import Hummingbird

/// Devices and their credentials as Golioth's tools list, add and remove them.
struct GoliothDevices: Sendable {
  let registry: GoliothRegistry
  private var known: KnownDevices { registry.known }

  init(registry: GoliothRegistry) { self.registry = registry }

  var routes: [APIRoute] {
    [
      APIRoute(
        method: .get, path: "/v1/projects/{project}/devices", need: .key, problemForm: .golioth,
        description: RouteDescription(
          name: "goliothDevices", summary: "List the devices of a project, as in Golioth's management API.",
          parameters: [
            .goliothProject, .query("deviceName", "Only the device of this name."),
            .query("page", "The number of the page, from 0.", Schemas.goliothPage),
            .query("perPage", "The number of devices of a page.", Schemas.goliothPerPage),
          ],
          responses: [(200, "The devices, in the order of their names.", "GoliothDeviceList")],
          problems: [.internalError]),
        handler: list),
      APIRoute(
        method: .post, path: "/v1/projects/{project}/devices", need: .key, problemForm: .golioth,
        description: RouteDescription(
          name: "goliothCreateDevice", summary: "Add a device without credentials, as in Golioth's management API.",
          parameters: [.goliothProject], body: "GoliothNewDevice",
          responses: [(200, "The device.", "GoliothDeviceData")],
          problems: [.forbidden, .alreadyExists, .notImplemented, .internalError]),
        handler: create),
      APIRoute(
        method: .get, path: "/v1/projects/{project}/devices/{device}", need: .key, problemForm: .golioth,
        description: RouteDescription(
          name: "goliothDevice", summary: "Look at a device, as in Golioth's management API.",
          parameters: [.goliothProject, .goliothDevice],
          responses: [(200, "The device.", "GoliothDeviceData")], problems: [.forbidden, .unknownDevice, .internalError]),
        handler: get),
      APIRoute(
        method: .delete, path: "/v1/projects/{project}/devices/{device}", need: .key, problemForm: .golioth,
        description: RouteDescription(
          name: "goliothDeleteDevice", summary: "Remove a device and its credentials, as in Golioth's management API.",
          parameters: [.goliothProject, .goliothDevice],
          responses: [(200, "It is removed.", "Document")],
          problems: [.forbidden, .unknownDevice, .notImplemented, .internalError]),
        handler: delete),
      APIRoute(
        method: .get, path: "/v1/projects/{project}/devices/{device}/credentials", need: .key, problemForm: .golioth,
        description: RouteDescription(
          name: "goliothCredentials", summary: "List the keys of a device, as in Golioth's management API.",
          parameters: [.goliothProject, .goliothDevice],
          responses: [(200, "The identity and the key, if the device has one.", "GoliothCredentialList")],
          problems: [.forbidden, .unknownDevice, .notImplemented, .internalError]),
        handler: credentials),
      APIRoute(
        method: .post, path: "/v1/projects/{project}/devices/{device}/credentials", need: .key, problemForm: .golioth,
        description: RouteDescription(
          name: "goliothCreateCredential",
          summary: "Give a device a key, in place of the one that it has, as in Golioth's management API.",
          parameters: [.goliothProject, .goliothDevice], body: "GoliothNewCredential",
          responses: [(200, "The identity and the key.", "GoliothCredentialData")],
          problems: [.forbidden, .unknownDevice, .alreadyExists, .notImplemented, .internalError]),
        handler: createCredential),
    ]
  }

  // MARK: Reading

  @Sendable private func list(_ request: APIRequest) async throws(Problem) -> Response {
    let project = request.goliothProject
    let page = try Self.number("page", in: request, 0...Schemas.goliothLastPage, default: 0)
    let perPage = try Self.number("perPage", in: request, 1...1_000, default: 1_000)
    let found: [KnownDevices.Device]
    if let name = try request.goliothQuery("deviceName") {
      found = try await registry.device(name, in: project).map { [$0] } ?? []
    } else {
      found = try await registry.devices(in: project)
    }
    let devices = found.filter { request.sender.mayRead($0.name) }
    let shown = devices.dropFirst(page * perPage).prefix(perPage)
    return .json([
      "list": .array(shown.map(Self.value)), "page": RPCValue(page), "perPage": RPCValue(perPage),
      "total": RPCValue(devices.count),
    ])
  }

  private static func number(
    _ name: String, in request: APIRequest, _ range: ClosedRange<Int>, default: Int
  ) throws(Problem) -> Int {
    guard let text = try request.goliothQuery(name) else { return `default` }
    guard let number = Int(text), range.contains(number) else {
      throw APIRequest.wrong(name, "a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  @Sendable private func get(_ request: APIRequest) async throws(Problem) -> Response {
    let (name, project) = Self.place(in: request)
    try request.sender.requireRead(name)
    guard let device = try await registry.device(name, in: project) else { throw GoliothRegistry.unknown(name, in: project) }
    return .json(["data": Self.value(of: device)])
  }

  @Sendable private func credentials(_ request: APIRequest) async throws(Problem) -> Response {
    // They are secrets.
    let all = try await administer("read key", request) { (registry, name) throws(DeviceAdministrationError) in
      try await registry.credentials(of: name)
    }
    return .json(["list": .array(all.compactMap(Self.value))])
  }

  // MARK: Changing

  @Sendable private func create(_ request: APIRequest) async throws(Problem) -> Response {
    let name = try Self.text("name", in: request.body)
    let device = try await known.administer("add", name, by: request.sender) { (registry) throws(DeviceAdministrationError) in
      try await registry.register(name)
    }
    let info = await known.caller.info(of: name)
    return .json(["data": Self.value(of: KnownDevices.Device(name: name, registered: device, info: info))])
  }

  @Sendable private func delete(_ request: APIRequest) async throws(Problem) -> Response {
    try await administer("remove", request) { (registry, name) throws(DeviceAdministrationError) in
      try await registry.unregister(name)
    }
    return .json(.object(RPCObject()))
  }

  @Sendable private func createCredential(_ request: APIRequest) async throws(Problem) -> Response {
    var members = try Members(request.body ?? .null)
    if let type = try members.string("type"), type != "PRE_SHARED_KEY" { throw Members.wrong("type", "PRE_SHARED_KEY") }
    guard let key = DeviceKey(try Self.text("preSharedKey", in: request.body).utf8) else {
      throw Members.wrong("preSharedKey", "a text of 1 to \(DeviceKey.longest) bytes")
    }
    let identity = try Self.identity(try Self.text("identity", in: request.body), in: request.goliothProject)
    try await administer("set key", request) { (registry, name) throws(DeviceAdministrationError) in
      try await registry.setCredential(.preSharedKey(key), identity: identity, of: name, .set)
    }
    let credential = DeviceCredential(device: request.goliothDevice, identity: identity, proof: .preSharedKey(key))
    return .json(["data": Self.value(of: credential) ?? .null])
  }

  /// Does what `body` does to the device of the path, if its project has it and the sender may, with a line in the log.
  @discardableResult
  private func administer<Value: Sendable>(
    _ action: String, _ request: APIRequest,
    _ body: (any DeviceAdministration, String) async throws(DeviceAdministrationError) -> Value
  ) async throws(Problem) -> Value {
    let name = request.goliothDevice
    return try await known.administer(
      action, name, by: request.sender,
      if: { () throws(Problem) in try await registry.require(name, in: request.goliothProject) }
    ) { (registry) throws(DeviceAdministrationError) in try await body(registry, name) }
  }

  /// The identity with its project, which must be that of the path: it says where the device is.
  private static func identity(_ text: String, in project: String) throws(Problem) -> String {
    if !text.contains("@"), project != GoliothRegistry.defaultProject { return "\(text)@\(project)" }
    let own = GoliothRegistry.project(of: text)
    guard own == project else {
      throw Members.wrong("identity", "of the project \"\(project.prefix(128))\", not of \"\(own.prefix(128))\"")
    }
    return text
  }

  // MARK: Values

  private static func place(in request: APIRequest) -> (device: String, project: String) {
    (request.goliothDevice, request.goliothProject)
  }

  private static func text(_ name: String, in body: RPCValue?) throws(Problem) -> String {
    var members = try Members(body ?? .null)
    guard let text = try members.string(name), !text.isEmpty else { throw Members.wrong(name, "a string that is not empty") }
    return text
  }

  private static func value(of device: KnownDevices.Device) -> RPCValue {
    let created = (device.registered?.created ?? device.info?.firstSeen).map { CallDocument.timestamp($0) }
    let heard = [device.info?.lastHeard, device.registered?.lastSeen].compactMap { $0 }.max().map { CallDocument.timestamp($0) }
    let state: RPCValue = device.info?.isOnline == true ? "online" : heard == nil ? "-" : "offline"
    let report = heard.map { RPCValue.string($0) } ?? .null
    return [
      "id": .string(GoliothID.id(of: device.name)), "name": .string(device.name), "hardwareIds": [], "tagIds": [],
      "createdAt": created.map { .string($0) } ?? .null, "updatedAt": created.map { .string($0) } ?? .null,
      "enabled": .bool(device.registered?.isEnabled ?? true), "status": state, "lastReport": report,
      "metadata": ["status": state, "lastReport": report],
    ]
  }

  /// Nil for a certificate. Firmware uses the characters of a key as its bytes; a key that is no text cannot be shown.
  private static func value(of credential: DeviceCredential) -> RPCValue? {
    guard case .preSharedKey(let key) = credential.proof else { return nil }
    return [
      "id": .string(credential.kind.rawValue), "type": "PRE_SHARED_KEY", "identity": .string(credential.identity),
      "preSharedKey": String(validating: key.bytes, as: UTF8.self).map { .string($0) } ?? .null,
    ]
  }
}
