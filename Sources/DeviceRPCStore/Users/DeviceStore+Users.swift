public import DeviceRPC
internal import Foundation
internal import GRDB
internal import Synchronization

extension DeviceStore: UserProvider {
  /// The largest number of users in a store: 1,000.
  public static let mostUsers = 1_000

  public func user(_ name: String) -> User? { state.withLock { $0.users.users[name] } }

  public var hasUsers: Bool { state.withLock(\.users.hasUsers) }

  public var sessionSecret: [UInt8] { state.withLock { $0.users.sessionSecret } }

  /// Adds a user.
  ///
  /// - Parameters:
  ///   - name: The name to log in with; see `DeviceName`.
  ///   - authority: What the user may do.
  ///   - password: The password, hashed.
  /// - Throws: `invalidUserName`, `userNameTaken`, `tooManyUsers`, or an error of any access.
  @discardableResult
  public func addUser(
    _ name: String, _ authority: User.Authority, password: PasswordHash
  ) async throws(DeviceStoreError) -> User {
    guard DeviceName.problem(with: name) == nil else { throw .invalidUserName(name) }
    return try await write { db in
      let now = Date().milliseconds
      let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM users") ?? 0
      guard count < Self.mostUsers else { throw DeviceStoreError.tooManyUsers(limit: Self.mostUsers) }
      try db.execute(
        sql: "INSERT INTO users (name, authority, password, created, changed) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        arguments: [name, authority.rawValue, password.text, now, now])
      guard db.changesCount == 1 else { throw DeviceStoreError.userNameTaken(name) }
      return User(
        name: name, authority: authority, password: password, created: Date(milliseconds: now), changed: Date(milliseconds: now))
    }
  }

  /// Sets a user's password. Whoever has logged in as that user is logged out.
  ///
  /// - Throws: `unknownUser`, or an error of any access.
  public func setPassword(_ password: PasswordHash, of name: String) async throws(DeviceStoreError) {
    try await write(erasing: true) { db in
      try db.execute(
        sql: "UPDATE users SET password = ?, changed = ? WHERE name = ?", arguments: [password.text, Date().milliseconds, name])
      guard db.changesCount == 1 else { throw DeviceStoreError.unknownUser(name) }
    }
  }

  /// Removes a user, who is logged out.
  ///
  /// - Throws: `unknownUser`, or an error of any access.
  public func removeUser(_ name: String) async throws(DeviceStoreError) {
    try await write(erasing: true) { db in
      try db.execute(sql: "DELETE FROM users WHERE name = ?", arguments: [name])
      guard db.changesCount == 1 else { throw DeviceStoreError.unknownUser(name) }
    }
  }

  /// Returns all users, sorted by name. One with invalid contents, which were written by other means, is left out.
  ///
  /// - Throws: An error of any access.
  public func users() async throws(DeviceStoreError) -> [User] {
    try await read { db in try UserSnapshot(db).users.values.sorted { $0.name < $1.name } }
  }
}

/// The users in memory, as last read from the database.
struct UserSnapshot: Sendable {
  private(set) var users: [String: User] = [:]
  private(set) var sessionSecret: [UInt8] = []
  /// Whether there are any rows, also those that are left out: a server whose only user cannot be read is not open for everybody.
  private(set) var hasUsers = false

  init() {}

  /// Reads all users. There are few, and they seldom change, so they are always read together.
  init(_ db: Database) throws {
    sessionSecret = try Data.fetchOne(db, sql: "SELECT value FROM secrets WHERE name = 'sessions'").map(Array.init) ?? []
    let rows = try Row.fetchCursor(
      db, sql: "SELECT CAST(name AS BLOB), authority, password, created, changed FROM users LIMIT ?", arguments: [DeviceStore.mostUsers])
    while let row = try rows.next() {
      hasUsers = true
      guard let name = row.text(0), DeviceName.problem(with: name) == nil,
        let authority = row.text(1).flatMap(User.Authority.init), let password = row.text(2).flatMap(PasswordHash.init(text:)),
        let created = row.date(3), let changed = row.date(4)
      else { continue }
      users[name] = User(name: name, authority: authority, password: password, created: created, changed: changed)
    }
  }
}
