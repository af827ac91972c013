internal import Crypto
internal import DeviceRPC
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird

/// What a route needs of a key.
enum Need: Sendable, Equatable {
  /// Nothing: everybody may.
  case nothing
  /// A valid key; the handler looks at the permissions.
  case key
}

/// Who has sent a request: a key, or nobody where none is needed.
struct Sender: Sendable {
  /// Nil where the server takes requests without a key.
  let key: APIKey?

  /// The name for the log.
  var name: String { key?.name ?? "anonymous" }
  /// What its limits and idempotency keys belong to.
  var id: String { key?.id ?? "" }

  func requireCall(_ method: String, on device: String) throws(Problem) {
    guard key?.permissions.mayCall(method, on: device) ?? true else {
      throw Problem(.forbidden, "The key \"\(name)\" may not call \(method.prefix(255)) on \(device.prefix(255)).")
    }
  }

  func requireRead(_ device: String) throws(Problem) {
    guard mayRead(device) else { throw Problem(.forbidden, "The key \"\(name)\" may not read \(device.prefix(255)).") }
  }

  /// Also a server that is open without keys wants one for this: other users of the machine must not get the keys of devices, which
  /// the files of a store keep from them.
  func requireAdminister(_ device: String) throws(Problem) {
    guard key != nil else {
      throw Problem(.forbidden, "To administer devices needs an API key (device-rpc keys add NAME --admin).")
    }
    guard mayAdminister(device) else {
      throw Problem(.forbidden, "The key \"\(name)\" may not administer \(device.prefix(255)).")
    }
  }

  /// Whether the sender may see that there is a device, and what state it is in. Whoever may add and remove it may, too.
  func mayLookAt(_ device: String) -> Bool { mayRead(device) || mayAdminister(device) }

  func requireLookAt(_ device: String) throws(Problem) {
    if !mayAdminister(device) { try requireRead(device) }
  }

  func mayAdminister(_ device: String) -> Bool { key?.permissions.mayAdminister(device) ?? false }

  func mayRead(_ device: String) -> Bool { key?.permissions.mayRead(device) ?? true }
}

/// Looks at each request before it is handled.
struct Gate: Sendable {
  let keys: (any APIKeyProvider)?
  /// Whether requests without a key are taken for as long as there are no keys.
  let isOpenWithoutKeys: Bool
  /// The hosts that a request may be for; nil for any.
  let hosts: Set<String>?
  let rates: RateLimiter
  let now: @Sendable () -> Date

  func admit(_ request: Request, _ need: Need) async throws(Problem) -> Sender {
    if let hosts {
      let host = Self.host(in: request.head.authority ?? "")
      guard hosts.contains(host) else {
        throw Problem(.wrongHost, "This server answers requests for \(hosts.sorted().joined(separator: ", ")), not \"\(host.prefix(64))\".")
      }
    }
    if need == .nothing { return Sender(key: nil) }
    let sender = try await authenticate(request)
    if let seconds = rates.refuse(sender.id) {
      throw Problem(.tooManyRequests, "At most \(rates.perSecond) requests a second.").retrying(after: seconds)
    }
    return sender
  }

  private func authenticate(_ request: Request) async throws(Problem) -> Sender {
    guard let text = Self.keyText(in: request) else {
      if isOpenWithoutKeys {
        guard let keys, await keys.hasKeys else { return Sender(key: nil) }
      }
      throw Self.unauthorized("The request has no API key.")
    }
    guard let keys, let text = APIKeyText(text), let key = await keys.apiKey(id: text.id),
      key.matches(digest: Array(SHA256.hash(data: text.secret)))
    else { throw Self.unauthorized("The API key is not valid, or was revoked.") }
    guard !key.isExpired(at: now()) else { throw Self.unauthorized("The API key has expired.") }
    return Sender(key: key)
  }

  private static func unauthorized(_ detail: String) -> Problem {
    var problem = Problem(.unauthorized, detail)
    problem.headers[.wwwAuthenticate] = "Bearer"
    return problem
  }

  /// In `Authorization: Bearer` or `x-api-key`.
  private static func keyText(in request: Request) -> String? {
    if let header = request.headers[.authorization] {
      let parts = header.split(separator: " ", maxSplits: 1)
      if parts.count == 2, parts[0].lowercased() == "bearer" { return String(parts[1].drop { $0 == " " }) }
      return header
    }
    return request.headers[HTTPField.Name("x-api-key")!]
  }

  /// The host of an authority, without its port, in lower case.
  static func host(in authority: String) -> String {
    if authority.hasPrefix("[") { return authority.prefix { $0 != "]" }.dropFirst().lowercased() }
    return authority.prefix { $0 != ":" }.lowercased()
  }
}
