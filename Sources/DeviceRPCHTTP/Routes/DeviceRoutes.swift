internal import DeviceRPC
internal import HTTPTypes
internal import Hummingbird

/// Devices: to list them and to look at one.
struct DeviceRoutes: Sendable {
  let known: KnownDevices

  var routes: [APIRoute] {
    [
      APIRoute(
        method: .get, path: "/v1/devices", need: .key,
        description: RouteDescription(
          name: "listDevices", summary: "List the devices that are registered or have connected, in the order of their names.",
          parameters: [
            .query(
              "state", "Only devices in this state.",
              ["type": "string", "enum": .array(DeviceInfo.State.allCases.map { .string($0.rawValue) })]),
            .query("prefix", "Only devices whose names begin like this."),
            .query("limit", "The number of devices, at most.", Schemas.limit),
            .query("after", "The name of the last device of the page before."),
          ],
          responses: [(200, "The devices. A Link header leads to the next page, if there is one.", "DeviceList")],
          problems: [.internalError]),
        handler: list),
      APIRoute(
        method: .get, path: "/v1/devices/{device}", need: .key,
        description: RouteDescription(
          name: "getDevice", summary: "Look at a device.", parameters: [.path("device", "The name of the device.")],
          responses: [(200, "The device.", "Device")], problems: [.forbidden, .unknownDevice, .internalError]),
        handler: get),
    ]
  }

  @Sendable private func list(_ request: APIRequest) async throws(Problem) -> Response {
    let items = try request.queryItems(["state", "prefix", "limit", "after"])
    let limit = try APIRequest.limit(items["limit"])
    var query = DeviceQuery(prefix: items["prefix"] ?? "", after: items["after"], limit: limit + 1)
    if let text = items["state"] {
      guard let state = DeviceInfo.State(rawValue: text) else {
        throw APIRequest.wrong("state", DeviceInfo.State.allCases.map(\.rawValue).joined(separator: ", "))
      }
      query.states = [state]
    }
    // A key for some devices sees these only, and some states are rare, so a page may need several looks.
    var devices: [KnownDevices.Device] = []
    while devices.count <= limit {
      let (found, next) = try await known.devices(query)
      devices += found.filter { request.sender.mayLookAt($0.name) }
      guard let next else { break }
      query.after = next
      query.limit = 1_000
    }
    let hasMore = devices.count > limit
    devices = Array(devices.prefix(limit))
    var response = Response.json(["devices": .array(devices.map { Self.value(of: $0, for: request.sender) })])
    if hasMore, let last = devices.last { response.headers[.link] = request.nextPage(limit: limit, after: last.name) }
    return response
  }

  @Sendable private func get(_ request: APIRequest) async throws(Problem) -> Response {
    _ = try request.queryItems([])
    let name = request.parameter("device")
    try request.sender.requireLookAt(name)
    return .json(Self.value(of: try await known.require(name), for: request.sender))
  }

  private static func value(of device: KnownDevices.Device, for sender: Sender) -> RPCValue {
    DeviceDocument.value(of: device, withCredentials: sender.mayAdminister(device.name))
  }
}
