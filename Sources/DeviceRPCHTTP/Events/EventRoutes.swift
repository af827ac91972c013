internal import DeviceRPC
internal import HTTPTypes
internal import Hummingbird

/// Events: to follow what happens to devices and calls.
struct EventRoutes: Sendable {
  let feed: EventFeed
  let limits: HTTPLimits

  var routes: [APIRoute] {
    [
      APIRoute(
        method: .get, path: "/v1/events", need: .key,
        description: RouteDescription(
          name: "followEvents", summary: "Follow the events of devices and calls, as Server-Sent Events.",
          parameters: [
            .query("device", "Only the events of this device.", ["type": "string", "minLength": 1]),
            .header("Last-Event-ID", "The id of the last event that was received. What has happened since comes first."),
          ],
          responses: [(200, "The events, until the client goes away, its key is revoked, or the server shuts down.", "Events")],
          problems: [.forbidden, .limitExceeded]),
        handler: follow)
    ]
  }

  @Sendable private func follow(_ request: APIRequest) async throws(Problem) -> Response {
    let device = try request.queryItems(["device"])["device"]
    if let device {
      guard !device.isEmpty else { throw APIRequest.wrong("device", "the name of a device") }
      try request.sender.requireRead(device)
    }
    guard request.sender.mayFollow(device) else {
      throw Problem(.forbidden, "The key \"\(request.sender.name)\" may not read any device.")
    }
    guard let reader = feed.read(device, for: request.sender, after: request.headers[.lastEventID]) else {
      throw Problem(.limitExceeded, "\(limits.eventReaders) clients read events, and more may not.").retrying(after: 10)
    }
    // The key may have been revoked after it was looked at, and before the feed knew of the reader.
    await feed.checkKeys()
    let connection = request.connection
    return Response(
      status: .ok,
      // The last one is for nginx, which would collect events before it passes them on.
      headers: [.contentType: "text/event-stream", .cacheControl: "no-store", .xAccelBuffering: "no"],
      body: ResponseBody { writer in try await reader.write(to: writer, connection) })
  }
}

extension HTTPField.Name {
  static let lastEventID = Self("Last-Event-ID")!
  static let xAccelBuffering = Self("X-Accel-Buffering")!
}
