/// What a path below `api/v1` means.
enum ThingsBoardPath: Equatable {
  /// `{token}/rpc`, or `rpc` of a device that its session has proved: a device observes it, and POSTs its own calls there.
  case rpc(token: String?)
  /// `{token}/rpc/{id}` or `rpc/{id}`: a device POSTs the result of a call there.
  case result(token: String?, id: String)
  /// Something else of ThingsBoard's device API, such as telemetry.
  case other(feature: String)

  static let root = "api/v1"

  /// - Parameter path: a path of a request, without a leading slash, with `/` and `%` percent-encoded inside its segments. Nil for
  ///   one that is not below `api/v1`.
  init?(_ path: String) {
    var segments = path.split(separator: "/", omittingEmptySubsequences: false).map { Self.decoded($0) }
    // Some clients put the whole path into one option, with or without a leading slash.
    if segments.count == 1, segments[0].contains("/") {
      segments = segments[0].split(separator: "/").map(String.init)
    }
    guard segments.count >= 2, segments[0] == "api", segments[1] == "v1" else { return nil }
    segments.removeFirst(2)
    // `rpc/12` is a result of a device without a token. (`CoapTransportResource.getFeatureType`)
    let hasToken = segments.count >= 2 && !(segments.count == 2 && Self.isNumber(segments[1]))
    let token = hasToken ? segments.removeFirst() : nil
    guard let feature = segments.first else { return nil }
    guard feature.lowercased() == "rpc", segments.count <= 2 else {
      self = .other(feature: segments.joined(separator: "/"))
      return
    }
    self = segments.count == 1 ? .rpc(token: token) : .result(token: token, id: segments[1])
  }

  private static func isNumber(_ text: String) -> Bool { !text.isEmpty && text.utf8.allSatisfy { (0x30...0x39).contains($0) } }

  // Only these two are ever encoded.
  private static func decoded(_ segment: Substring) -> String {
    segment.contains("%") ? String(segment.replacing("%2F", with: "/").replacing("%25", with: "%")) : String(segment)
  }
}
