// APIKeys: the keys with which back ends call devices: the snapshot that answers requests, and what changes them.
// `DeviceStore` implements `APIKeyProvider` with it, for the program `device-rpc` and for users.

internal import DeviceRPC
internal import Foundation
internal import GRDB

/// The API keys in memory, as last read from the database.
struct APIKeySnapshot: Sendable, Equatable {
  /// The keys by their ids.
  private(set) var keys: [String: APIKey] = [:]
  /// Whether there are any rows, also those that are left out: a server that has lost its only key to damage must not take
  /// that for a server without keys, which may answer everybody.
  private(set) var hasKeys = false

  init() {}

  /// Reads all keys. There are at most `DeviceStore.mostAPIKeys`, and seldom changes, so they are always read together.
  init(_ db: Database, complaints: inout [String], mostComplaints: Int) throws {
    let rows = try Row.fetchCursor(db, sql: APIKey.columns + " LIMIT ?", arguments: [DeviceStore.mostAPIKeys])
    while let row = try rows.next() {
      hasKeys = true
      let (key, problem) = APIKey.read(row)
      if let problem {
        if complaints.count < mostComplaints { complaints.append(problem) }
      } else {
        keys[key.id] = key
      }
    }
  }
}

extension APIKey {
  /// A query for all keys, for `read(_:)`.
  static let columns = """
    SELECT CAST(id AS BLOB), CAST(name AS BLOB), digest, created, expires, CAST(permissions AS BLOB)
    FROM apiKeys
    """

  /// Reads a row, which may have been written by hand: also returns why the key cannot be used, if it cannot. It is then
  /// shown as far as possible, with no permissions if these are not understood.
  static func read(_ row: Row) -> (key: APIKey, problem: String?) {
    let permissions = row.bytes(5).flatMap(APIPermissions.init(json:))
    let key = APIKey(
      id: row.shownText(0), name: row.shownText(1), digest: row.bytes(2) ?? [], created: row.date(3) ?? Date(milliseconds: 0),
      expires: row.date(4), permissions: permissions ?? .none)
    guard row.text(0) != nil else { return (key, "the id of a key is not UTF-8") }
    guard row.text(1) != nil else { return (key, "the name of the key \(key.id) is not UTF-8") }
    if let problem = DeviceName.problem(with: key.name) { return (key, "\"\(key.name)\": the name of the key \(problem)") }
    if permissions == nil { return (key, "\"\(key.name)\": the permissions of the key are not understood") }
    return (key, nil)
  }
}

extension APIPermissions {
  /// The length of the longest permissions in JSON: 16 KiB, for some hundred names.
  static let longestJSON = 16_384

  var json: String { value.description }

  init?(json: [UInt8]) {
    guard json.count <= Self.longestJSON, let value = try? JSONReader.read(json) else { return nil }
    self.init(value)
  }
}
