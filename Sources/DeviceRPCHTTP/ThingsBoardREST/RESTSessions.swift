internal import Crypto
internal import DeviceRPC
internal import Dispatch
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird
internal import JWTKit
internal import Synchronization

/// Who has sent a request: a user who has logged in, or whoever has an API key.
struct RESTSender: Sendable {
  let name: String
  let authority: User.Authority
  let permissions: APIPermissions
  /// What its limits belong to.
  let id: String
}

/// Logging in, and the sessions of users: JSON Web Tokens as ThingsBoard makes them.
final class RESTSessions: Sendable {
  /// As ThingsBoard's (`security.jwt`): 2.5 hours, and a week for the token that renews it.
  static let lifetimes = (token: 9_000.0, refresh: 604_800.0)
  private static let issuer = "thingsboard.io"
  private static let refreshScope = "REFRESH_TOKEN"
  // Passwords are tried one at a time, 32 MiB and some 80 ms each; beyond this many that wait, requests are refused.
  private static let mostWaiting = 16

  private struct Claims: JWTPayload {
    var sub: SubjectClaim
    var userId: String
    var scopes: [String]
    var sessionId: String
    var exp: ExpirationClaim
    var iss: IssuerClaim
    var iat: IssuedAtClaim
    var enabled: Bool
    var isPublic: Bool
    var tenantId: String
    var customerId: String

    // Times are looked at with the clock of the server, which a test sets.
    func verify(using algorithm: some JWTAlgorithm) {}
  }

  private let users: (any UserProvider)?
  private let gate: Gate
  private let now: @Sendable () -> Duration
  private let failures: FailureLimiter
  private let queue = DispatchQueue(label: "device-rpc.passwords")
  private let waiting = Mutex(0)
  // What the password of nobody is compared with, so that it takes as long.
  private let nobody = PasswordHash(of: "a password that nobody has")

  init(users: (any UserProvider)?, gate: Gate, now: @escaping @Sendable () -> Duration) {
    self.users = users
    self.gate = gate
    self.now = now
    failures = FailureLimiter(burst: 10)
  }

  // MARK: Requests

  /// The sender of a request, by `X-Authorization` or `Authorization`: a session, or an API key.
  func sender(of request: Request) async throws(RESTError) -> RESTSender {
    let names = ["X-Authorization", "Authorization"].compactMap { HTTPField.Name($0) }
    guard let header = names.lazy.compactMap({ request.headers[$0] }).first else {
      // As our own API: open on loopback for as long as there is nobody who could log in, but not to administer devices.
      let isOpen = await users?.hasUsers != true
      guard isOpen, let sender = try? await gate.admit(request, .key), sender.key == nil else { throw .authentication }
      // What a web page of somebody else can send without asking is refused, as by our own API.
      let type = request.headers[.contentType]?.prefix { $0 != ";" && $0 != " " }.lowercased()
      guard request.method != .post || type == "application/json" else {
        throw RESTError(.unauthorized, .authentication, "Without a session or an API key, a body must be application/json")
      }
      return RESTSender(name: sender.name, authority: .customerUser, permissions: .standard, id: "")
    }
    let parts = header.split(separator: " ", maxSplits: 1).map(String.init)
    guard parts.count == 2 else { throw .authentication }
    switch parts[0].lowercased() {
    case "bearer" where !parts[1].hasPrefix("drpc_"):
      let claims = try await claims(in: parts[1], isRefresh: false)
      return try await sender(claims)
    case "apikey", "bearer":
      guard let text = APIKeyText(parts[1]), let key = await gate.keys?.apiKey(id: text.id),
        key.matches(digest: Array(SHA256.hash(data: text.secret))), !key.isExpired(at: gate.now())
      else { throw .authentication }
      return RESTSender(
        name: key.name, authority: key.permissions.allowsAdministering ? .tenantAdmin : .customerUser, permissions: key.permissions,
        id: key.id)
    default: throw .authentication
    }
  }

  private func sender(_ claims: Claims) async throws(RESTError) -> RESTSender {
    guard let user = await users?.user(claims.sub.value), user.changed.milliseconds / 1_000 <= claims.iat.value.milliseconds / 1_000 else {
      throw .authentication
    }
    return RESTSender(name: user.name, authority: user.authority, permissions: user.authority.permissions, id: "user/\(user.name)")
  }

  /// `POST /api/auth/login`.
  func logIn(_ body: RPCValue?, from host: String) async throws(RESTError) -> RPCValue {
    guard let name = body?["username"]?.stringValue, let password = body?["password"]?.stringValue, !name.isEmpty, !password.isEmpty
    else { throw .authentication }
    // Longer ones are those of nobody, and would be remembered.
    guard name.utf8.count <= DeviceName.longest else { throw .authentication }
    guard let users, await users.hasUsers else {
      throw RESTError(.unauthorized, .authentication, "There are no users; to add one: device-rpc users add NAME")
    }
    // Of a name from an address: elsewhere the user may log in. Counted before it is looked at, since that takes a while.
    let key = "\(host) \(name)"
    guard failures.take(key, now: now()) else { throw .tooMany("Too many wrong passwords; try again later", retryAfter: 1) }
    let user = await users.user(name)
    guard try await matches(password, user?.password), let user else {
      throw RESTError(.unauthorized, .authentication, "Invalid username or password")
    }
    failures.giveBack(key)
    return try await tokens(of: user)
  }

  /// `POST /api/auth/token`: a new pair for a refresh token.
  func renew(_ body: RPCValue?) async throws(RESTError) -> RPCValue {
    guard let text = body?["refreshToken"]?.stringValue else { throw .authentication }
    let claims = try await claims(in: text, isRefresh: true)
    _ = try await sender(claims)
    guard let user = await users?.user(claims.sub.value) else { throw .authentication }
    return try await tokens(of: user)
  }

  private func matches(_ password: String, _ hash: PasswordHash?) async throws(RESTError) -> Bool {
    let isTaken = waiting.withLock { waiting in
      guard waiting < Self.mostWaiting else { return false }
      waiting += 1
      return true
    }
    guard isTaken else { throw .tooMany("Too many people log in at the moment; try again later", retryAfter: 1) }
    defer { waiting.withLock { $0 -= 1 } }
    // On a thread of its own: it would hold up whoever else needs the pool.
    return await withCheckedContinuation { continuation in
      queue.async { [nobody] in
        let isRight = (hash ?? nobody)?.matches(password) ?? false
        continuation.resume(returning: isRight && hash != nil)
      }
    }
  }

  // MARK: Tokens

  private func keys() async throws(RESTError) -> JWTKeyCollection {
    guard let secret = await users?.sessionSecret, !secret.isEmpty else { throw .authentication }
    return await JWTKeyCollection().add(hmac: HMACKey(from: Data(secret)), digestAlgorithm: .sha512)
  }

  private func tokens(of user: User) async throws(RESTError) -> RPCValue {
    let now = gate.now()
    let keys = try await keys()
    func token(_ scopes: [String], _ lifetime: Double) async throws(RESTError) -> RPCValue {
      let claims = Claims(
        sub: .init(value: user.name), userId: RESTIDs.id(of: user.name, "user"), scopes: scopes,
        sessionId: RESTIDs.id(of: "\(UInt64.random(in: .min ... .max))", "session"),
        exp: .init(value: now.addingTimeInterval(lifetime)), iss: .init(value: Self.issuer), iat: .init(value: now), enabled: true,
        isPublic: false, tenantId: RESTEntity.tenant, customerId: RESTEntity.nobody)
      do {
        return .string(try await keys.sign(claims))
      } catch {
        throw RESTError(.internalServerError, .general, "The session could not be signed")
      }
    }
    return [
      "token": try await token([user.authority.rawValue], Self.lifetimes.token),
      "refreshToken": try await token([Self.refreshScope], Self.lifetimes.refresh),
    ]
  }

  private func claims(in token: String, isRefresh: Bool) async throws(RESTError) -> Claims {
    let keys = try await keys()
    guard token.utf8.count <= 8_192, let claims = try? await keys.verify(token, as: Claims.self), claims.iss.value == Self.issuer,
      claims.scopes.contains(Self.refreshScope) == isRefresh
    else { throw .authentication }
    guard claims.exp.value > gate.now() else { throw RESTError(.unauthorized, .tokenExpired, "Token has expired") }
    return claims
  }
}
