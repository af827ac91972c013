public import DeviceRPC
public import Foundation
internal import GRDB

// Each method that changes something returns when the change is on the disk and in the snapshot.
extension DeviceStore {
  /// Adds a device with a credential, or adds a credential of another kind to a device that exists. A device that has the very
  /// same credential stays as it is.
  ///
  /// - Parameters:
  ///   - name: The name of the device; see `DeviceName`.
  ///   - identity: The PSK identity, `name@project` by Golioth's convention, or the name in the certificate: its first DNS name,
  ///     or else the last common name of its subject. It follows the rules of `DeviceName`, with 128 bytes at most.
  /// - Throws: `invalidName`, `invalidIdentity`, `invalidFingerprint`, `hasCredential`, `identityTaken`, or an error of any
  ///   access: `busy`, `damaged`, `failed`.
  @discardableResult
  public func add(
    _ name: String, identity: String, proof: DeviceCredential.Proof
  ) async throws(DeviceStoreError) -> StoredDevice {
    try await insert(name, proof, identity: identity).device
  }

  /// Replaces a device's key or fingerprint, and its identity if one is given.
  ///
  /// The old key is overwritten in the files, as by `remove(_:)`.
  ///
  /// - Parameter identity: The new identity; nil keeps the current one.
  /// - Throws: `unknownDevice`, `noCredential`, `invalidIdentity`, `identityTaken`, `invalidFingerprint`, or an error of any
  ///   access.
  @discardableResult
  public func rotate(
    _ name: String, to proof: DeviceCredential.Proof, identity: String? = nil
  ) async throws(DeviceStoreError) -> StoredDevice {
    try await put(proof, identity: identity, of: name, .rotate)
  }

  /// Adds a device unless there is one of that name, and a credential if one is given.
  func insert(
    _ name: String, _ proof: DeviceCredential.Proof?, identity: String?
  ) async throws(DeviceStoreError) -> (device: StoredDevice, isNew: Bool) {
    guard DeviceName.problem(with: name) == nil else { throw .invalidName(name) }
    try Self.check(proof, identity)
    return try await write { db in
      let now = Date().milliseconds
      try db.execute(
        sql: "INSERT INTO devices (name, created) VALUES (?, ?) ON CONFLICT DO NOTHING", arguments: [name, now])
      let isNew = db.changesCount == 1
      if let proof { try Self.put(proof, identity, of: name, .add, at: now, db) }
      return (try Self.fetch(db, name: name)[0], isNew)
    }
  }

  /// Gives a device that exists a credential.
  func put(
    _ proof: DeviceCredential.Proof, identity: String?, of name: String, _ change: CredentialChange
  ) async throws(DeviceStoreError) -> StoredDevice {
    try Self.check(proof, identity)
    return try await write(erasing: change != .add) { db in
      try Self.put(proof, identity, of: name, change, at: Date().milliseconds, db)
      return try Self.fetch(db, name: name)[0]
    }
  }

  private static func put(
    _ proof: DeviceCredential.Proof, _ identity: String?, of name: String, _ change: CredentialChange, at now: Int64, _ db: Database
  ) throws {
    let kind = proof.kind
    let device = try row(of: name, db)
    let current = try Row.fetchOne(
      db, sql: "SELECT identity, key IS ? AND fingerprint IS ? FROM credentials WHERE device = ? AND kind = ?",
      arguments: [proof.key, proof.fingerprint, device, kind.rawValue])
    let identity = identity ?? current?.text(0) ?? name
    switch change {
    case .add where current != nil:
      guard current?.integer(1) == 1, current?.text(0) == identity else { throw DeviceStoreError.hasCredential(device: name, kind) }
      return
    case .rotate where current == nil: throw DeviceStoreError.noCredential(device: name, kind)
    case .add, .rotate, .set: break
    }
    // The name of a device may be longer than an identity.
    try check(proof, identity)
    if let owner = try owner(of: identity, kind, db), owner != name {
      throw DeviceStoreError.identityTaken(identity, device: owner)
    }
    try db.execute(
      sql: """
        INSERT INTO credentials (device, kind, identity, key, fingerprint, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT (device, kind) DO UPDATE SET identity = ?3, key = ?4, fingerprint = ?5, rotated = ?6
        """,
      arguments: [device, kind.rawValue, identity, proof.key, proof.fingerprint, now])
  }

  /// Sets whether a device may connect.
  ///
  /// - Throws: `unknownDevice`, or an error of any access.
  @discardableResult
  public func setEnabled(_ isEnabled: Bool, _ name: String) async throws(DeviceStoreError) -> StoredDevice {
    try await write { db in
      let device = try Self.row(of: name, db)
      // No update if nothing changes: a change makes every process check all of its sessions.
      try db.execute(
        sql: "UPDATE devices SET enabled = ?1 WHERE id = ?2 AND enabled <> ?1", arguments: [isEnabled, device])
      return try Self.fetch(db, name: name)[0]
    }
  }

  /// Removes a device and its credentials.
  ///
  /// When this returns, the key has been overwritten in the files, unless another program kept reading them for half a
  /// second. In that case the write-ahead log contains the key until the log is emptied: by the next removal or
  /// new key, or when no program has the store open.
  ///
  /// - Throws: `unknownDevice`, or an error of any access.
  public func remove(_ name: String) async throws(DeviceStoreError) {
    try await write(erasing: true) { db in
      try db.execute(sql: "DELETE FROM devices WHERE id = ?", arguments: [Self.row(of: name, db)])
    }
  }

  /// Stores when devices were last heard, with one write to the disk for all of them.
  ///
  /// Times older than the stored ones are ignored, as are devices that are not in the store.
  ///
  /// - Throws: An error of any access.
  public func noteSeen(_ times: [String: Date]) async throws(DeviceStoreError) {
    guard !times.isEmpty else { return }
    let times = times.mapValues(\.milliseconds)
    try await write { db in
      let update = try db.cachedStatement(
        sql: "UPDATE devices SET lastSeen = ?1 WHERE name = ?2 AND (lastSeen IS NULL OR lastSeen < ?1)")
      for (name, time) in times { try update.execute(arguments: [time, name]) }
    }
  }

  /// Returns a device; nil when there is none of that name.
  ///
  /// - Throws: An error of any access.
  public func device(_ name: String) async throws(DeviceStoreError) -> StoredDevice? {
    try await read { db in try Self.fetch(db, name: name).first }
  }

  /// Returns all devices, sorted by name.
  ///
  /// - Throws: An error of any access.
  public func devices() async throws(DeviceStoreError) -> [StoredDevice] {
    try await devices(prefix: "", after: nil, limit: .max)
  }

  /// Returns the devices whose names begin with `prefix`, sorted by name: at most `limit` of those that come after `after`.
  func devices(prefix: String, after: String?, limit: Int) async throws(DeviceStoreError) -> [StoredDevice] {
    try await read { db in
      // Compared as bytes, as SQLite sorts names.
      try Self.fetch(
        db,
        where: """
          name >= :prefix AND substr(CAST(name AS BLOB), 1, length(CAST(:prefix AS BLOB))) = CAST(:prefix AS BLOB)
          AND (:after IS NULL OR name > :after) ORDER BY name LIMIT :limit
          """,
        ["prefix": prefix, "limit": limit, "after": after])
    }
  }

  // MARK: Rows

  private static func row(of name: String, _ db: Database) throws -> Int64 {
    guard let row = try Int64.fetchOne(db, sql: "SELECT id FROM devices WHERE name = ?", arguments: [name]) else {
      throw DeviceStoreError.unknownDevice(name)
    }
    return row
  }

  private static func owner(of identity: String, _ kind: DeviceCredential.Kind, _ db: Database) throws -> String? {
    try String.fetchOne(
      db,
      sql: """
        SELECT name FROM credentials JOIN devices ON devices.id = credentials.device
        WHERE kind = ? AND identity = ?
        """,
      arguments: [kind.rawValue, identity])
  }

  // Rows may have been written by hand: a row with invalid contents is shown as far as possible.
  private static func fetch(_ db: Database, name: String) throws -> [StoredDevice] {
    try fetch(db, where: "name = :name", ["name": name])
  }

  private static func fetch(_ db: Database, where condition: String, _ arguments: StatementArguments) throws -> [StoredDevice] {
    let rows = try Row.fetchCursor(
      db,
      sql: """
        SELECT CAST(name AS BLOB), enabled, devices.created, lastSeen, kind, CAST(identity AS BLOB), fingerprint,
          credentials.created, rotated, devices.id
        FROM (SELECT * FROM devices WHERE \(condition)) AS devices LEFT JOIN credentials ON credentials.device = devices.id
        ORDER BY name, kind
        """,
      arguments: arguments)
    var devices: [StoredDevice] = []
    var last: Int64?
    while let row = try rows.next() {
      let credential = row.text(4).flatMap(DeviceCredential.Kind.init).map { kind in
        StoredCredential(
          kind: kind, identity: row.shownText(5), fingerprint: row.bytes(6), created: row.date(7) ?? Date(milliseconds: 0),
          rotated: row.date(8))
      }
      let others = last == row.integer(9) && !devices.isEmpty ? devices.removeLast().credentials : []
      last = row.integer(9)
      devices.append(
        StoredDevice(
          name: row.shownText(0), isEnabled: row.integer(1) != 0, created: row.date(2) ?? Date(milliseconds: 0),
          lastSeen: row.date(3), credentials: others + (credential.map { [$0] } ?? [])))
    }
    return devices
  }

  // MARK: Checks

  private static func check(_ proof: DeviceCredential.Proof?, _ identity: String?) throws(DeviceStoreError) {
    if let identity, DeviceName.problem(with: identity, longest: longestIdentity) != nil { throw .invalidIdentity(identity) }
    if case .certificate(let fingerprint?) = proof, fingerprint.count != 32 { throw .invalidFingerprint }
    if proof == .accessToken, let identity, !AccessToken.isDigest(identity) { throw .invalidIdentity(identity) }
  }
}

extension DeviceCredential.Proof {
  fileprivate var key: Data? {
    if case .preSharedKey(let key) = self { Data(key.bytes) } else { nil }
  }

  fileprivate var fingerprint: Data? {
    if case .certificate(let fingerprint?) = self { Data(fingerprint) } else { nil }
  }
}
