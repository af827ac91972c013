public import FoundationEssentials
internal import Synchronization

/// A person or a program that logs in with a name and a password, as ThingsBoard's clients do.
public struct User: Sendable, Hashable {
  /// What a user may do, by ThingsBoard's names.
  public enum Authority: String, Sendable, Hashable, CaseIterable {
    /// Calls devices, and administers them.
    case tenantAdmin = "TENANT_ADMIN"
    /// Calls devices, and looks at them.
    case customerUser = "CUSTOMER_USER"

    public var permissions: APIPermissions { self == .tenantAdmin ? .all : .standard }
  }

  /// The name to log in with, usually an e-mail address; see `DeviceName` for what it may be.
  public let name: String
  public let authority: Authority
  public let password: PasswordHash
  public let created: Date
  /// When the password was last set: whoever has logged in before is logged out.
  public let changed: Date

  public init(name: String, authority: Authority, password: PasswordHash, created: Date, changed: Date) {
    self.name = name
    self.authority = authority
    self.password = password
    self.created = created
    self.changed = changed
  }
}

/// A source of users.
public protocol UserProvider: Sendable {
  /// The user of a name; nil when there is none. Called for each request, so it should answer from memory.
  func user(_ name: String) async -> User?

  /// Whether there are any users.
  var hasUsers: Bool { get async }

  /// The secret with which sessions are signed, 64 random bytes: the same for as long as sessions shall be valid.
  var sessionSecret: [UInt8] { get async }
}

/// Users that are kept in memory. Their sessions end with it.
public final class InMemoryUsers: UserProvider {
  private let users: Mutex<[String: User]>
  public let sessionSecret = (0..<64).map { _ in UInt8.random(in: .min ... .max) }

  /// Users by their names; the last one of the same name is used.
  public init(_ users: some Sequence<User> = []) {
    self.users = Mutex(Dictionary(users.map { ($0.name, $0) }, uniquingKeysWith: { _, last in last }))
  }

  public func user(_ name: String) -> User? { users.withLock { $0[name] } }

  public var hasUsers: Bool { users.withLock { !$0.isEmpty } }

  /// Adds a user; it replaces the one of the same name.
  public func set(_ user: User) { users.withLock { $0[user.name] = user } }

  /// Removes a user; does nothing if there is none.
  public func remove(_ name: String) { users.withLock { $0[name] = nil } }
}
