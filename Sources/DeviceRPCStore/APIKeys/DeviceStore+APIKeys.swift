internal import Crypto
public import DeviceRPC
public import Foundation
internal import GRDB
internal import Synchronization

extension DeviceStore: APIKeyProvider {
  /// The largest number of API keys in a store: 10,000.
  public static let mostAPIKeys = 10_000

  public func apiKey(id: String) -> APIKey? { state.withLock { $0.apiKeys.keys[id] } }

  public var hasKeys: Bool { state.withLock { $0.apiKeys.hasKeys } }

  /// Adds an API key with a new secret, of which only the digest is stored.
  ///
  /// - Parameters:
  ///   - name: The name for people; see `DeviceName`. It is also not the id of another key.
  ///   - expires: The time from which the key is refused; nil if it never expires.
  ///   - permissions: What the key may do, in JSON at most 16 KiB.
  /// - Returns: The stored key, and its text, which cannot be had again.
  /// - Throws: `invalidKeyName`, `keyNameTaken`, `tooManyKeys`, `permissionsTooLong`, or an error of any access.
  public func addAPIKey(
    name: String, expires: Date? = nil, permissions: APIPermissions = .standard
  ) async throws(DeviceStoreError) -> (key: APIKey, text: APIKeyText) {
    guard DeviceName.problem(with: name) == nil else { throw .invalidKeyName(name) }
    let json = permissions.json
    guard json.utf8.count <= APIPermissions.longestJSON else { throw .permissionsTooLong(bytes: json.utf8.count) }
    return try await write { db in
      if try Self.keyRow(name, db) != nil { throw DeviceStoreError.keyNameTaken(name) }
      let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM apiKeys") ?? 0
      guard count < Self.mostAPIKeys else { throw DeviceStoreError.tooManyKeys(limit: Self.mostAPIKeys) }
      var text = APIKeyText.generated()
      // Names and ids are apart, so that either of them says which key is meant.
      while try Self.keyRow(text.id, db) != nil { text = .generated() }
      try db.execute(
        sql: "INSERT INTO apiKeys (id, name, digest, created, expires, permissions) VALUES (?, ?, ?, ?, ?, ?)",
        arguments: [
          text.id, name, Data(SHA256.hash(data: text.secret)), Date().milliseconds, expires?.milliseconds, json,
        ])
      guard let row = try Row.fetchOne(db, sql: APIKey.columns + " WHERE id = ?", arguments: [text.id]) else {
        preconditionFailure("the key has been added")
      }
      return (APIKey.read(row).key, text)
    }
  }

  /// Returns all API keys, also expired ones, sorted by name. A key with invalid contents, which were written by other means,
  /// is included as far as it can be read.
  ///
  /// - Throws: An error of any access.
  public func apiKeys() async throws(DeviceStoreError) -> [APIKey] {
    try await read { db in
      try Row.fetchAll(db, sql: APIKey.columns + " ORDER BY name, id").map { APIKey.read($0).key }
    }
  }

  /// Removes an API key. This store refuses it when this returns, others of the same directory within about a fifth of a
  /// second.
  ///
  /// - Parameter nameOrID: The key's name, or its id.
  /// - Returns: The key that is removed.
  /// - Throws: `unknownKey`, or an error of any access.
  @discardableResult
  public func revokeAPIKey(_ nameOrID: String) async throws(DeviceStoreError) -> APIKey {
    try await write { db in
      guard let row = try Self.keyRow(nameOrID, db) else { throw DeviceStoreError.unknownKey(nameOrID) }
      guard let key = try Row.fetchOne(db, sql: APIKey.columns + " WHERE rowid = ?", arguments: [row]) else {
        preconditionFailure("the row has been found")
      }
      try db.execute(sql: "DELETE FROM apiKeys WHERE rowid = ?", arguments: [row])
      return APIKey.read(key).key
    }
  }

  public func apiKeyChanges() -> AsyncStream<Void> { keyHub.subscribe() }

  // The row id; of two keys that were written by other means, that of the name.
  private static func keyRow(_ nameOrID: String, _ db: Database) throws -> Int64? {
    try Int64.fetchOne(
      db, sql: "SELECT rowid FROM apiKeys WHERE name = ?1 OR id = ?1 ORDER BY name = ?1 DESC LIMIT 1", arguments: [nameOrID])
  }
}
