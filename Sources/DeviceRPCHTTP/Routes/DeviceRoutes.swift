internal import DeviceRPC
internal import Foundation
internal import HTTPTypes
internal import Hummingbird

/// Devices: to list them and to look at one.
struct DeviceRoutes: Sendable {
  let caller: any DeviceCaller

  var routes: [APIRoute] {
    [
      APIRoute(
        method: .get, path: "/v1/devices", need: .key,
        description: RouteDescription(
          name: "listDevices", summary: "List the devices that have connected, in the order of their names.",
          parameters: [
            .query(
              "state", "Only devices in this state.",
              ["type": "string", "enum": .array(DeviceInfo.State.allCases.map { .string($0.rawValue) })]),
            .query("prefix", "Only devices whose names begin like this."),
            .query("limit", "The number of devices, at most.", Schemas.limit),
            .query("after", "The name of the last device of the page before."),
          ],
          responses: [(200, "The devices. A Link header leads to the next page, if there is one.", "DeviceList")]),
        handler: list),
      APIRoute(
        method: .get, path: "/v1/devices/{device}", need: .key,
        description: RouteDescription(
          name: "getDevice", summary: "Look at a device.", parameters: [.path("device", "The name of the device.")],
          responses: [(200, "The device.", "Device")], problems: [.unknownDevice]),
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
    // A key for some devices sees these only, so a page may need several looks.
    var devices: [DeviceInfo] = []
    while devices.count <= limit {
      let page = await caller.devices(query)
      devices += page.filter { request.sender.mayRead($0.name) }
      guard page.count == query.limit, let last = page.last else { break }
      query.after = last.name
    }
    let hasMore = devices.count > limit
    devices = Array(devices.prefix(limit))
    var response = Response.json(["devices": .array(devices.map(DeviceDocument.value))])
    if hasMore, let last = devices.last {
      let kept = request.query.filter { $0.name != "after" && $0.name != "limit" } + [("limit", "\(limit)"), ("after", last.name)]
      let next = kept.map { "\(Self.encoded($0.name))=\(Self.encoded($0.value))" }.joined(separator: "&")
      response.headers[.link] = "<?\(next)>; rel=\"next\""
    }
    return response
  }

  private static let unreserved = CharacterSet(
    charactersIn: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")

  private static func encoded(_ text: String) -> String {
    text.addingPercentEncoding(withAllowedCharacters: unreserved) ?? text
  }

  @Sendable private func get(_ request: APIRequest) async throws(Problem) -> Response {
    _ = try request.queryItems([])
    let name = request.parameter("device")
    try request.sender.requireRead(name)
    guard let device = await caller.info(of: name) else {
      throw Problem(.unknownDevice, "No device named \"\(name.prefix(255))\" has connected yet.")
    }
    return .json(DeviceDocument.value(of: device))
  }
}
