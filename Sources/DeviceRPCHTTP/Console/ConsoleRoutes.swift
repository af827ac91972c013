internal import HTTPTypes
internal import Hummingbird

/// The console at `/`. Its files need no key: what they show comes from the API, which does.
struct ConsoleRoutes: Sendable {
  var routes: [APIRoute] {
    [
      route("/") { _ in ConsoleFile.page },
      route("/console/{file}") { ConsoleFile.all[$0.parameter("file")] },
    ]
  }

  private func route(_ path: String, _ file: @escaping @Sendable (APIRequest) -> ConsoleFile?) -> APIRoute {
    APIRoute(
      method: .get, path: path, need: .nothing,
      description: RouteDescription(name: "console", summary: "The console.", responses: []),
      handler: { request throws(Problem) in
        guard let file = file(request) else { throw Problem(.notFound, "The console has no such file.") }
        var headers = Self.headers
        headers[.eTag] = file.tag
        if request.hasSeen(file.tag) { return Response(status: .notModified, headers: headers) }
        headers[.contentType] = file.type
        return Response(status: .ok, headers: headers, body: ResponseBody(byteBuffer: file.content))
      })
  }

  /// The page can be made to do nothing but ask this server: no script or style of anybody else, no markup from text, no frame
  /// around it.
  private static let headers: HTTPFields = {
    var headers: HTTPFields = [
      // After an update of the server the next look finds the new files.
      .cacheControl: "no-cache",
      .contentSecurityPolicy: "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
      .xContentTypeOptions: "nosniff",
    ]
    headers[HTTPField.Name("Referrer-Policy")!] = "no-referrer"
    headers[HTTPField.Name("Cross-Origin-Opener-Policy")!] = "same-origin"
    headers[HTTPField.Name("Cross-Origin-Resource-Policy")!] = "same-origin"
    return headers
  }()
}
