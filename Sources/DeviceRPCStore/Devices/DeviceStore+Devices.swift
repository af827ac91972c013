public import DeviceRPC
public import Foundation
internal import GRDB

// Each method that changes something returns when the change is on the disk and in the snapshot.
extension DeviceStore {
  /// Adds a device with a credential, or adds a credential of another kind to a device that exists.
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
    guard DeviceName.problem(with: name) == nil else { throw .invalidName(name) }
    guard DeviceName.problem(with: identity, longest: Self.longestIdentity) == nil else { throw .invalidIdentity(identity) }
    try Self.check(proof)
    return try await write { db in
      let now = Date().milliseconds
      let kind = DeviceCredential(device: name, identity: identity, proof: proof).kind
      try db.execute(
        sql: "INSERT INTO devices (name, created) VALUES (?, ?) ON CONFLICT DO NOTHING", arguments: [name, now])
      let device = try Self.row(of: name, db)
      if try Self.hasCredential(kind, device, db) { throw DeviceStoreError.hasCredential(device: name, kind) }
      if let owner = try Self.owner(of: identity, kind, db) {
        throw DeviceStoreError.identityTaken(identity, device: owner)
      }
      try db.execute(
        sql: """
          INSERT INTO credentials (device, kind, identity, key, fingerprint, created) VALUES (?, ?, ?, ?, ?, ?)
          """,
        arguments: [device, kind.rawValue, identity, proof.key, proof.fingerprint, now])
      return try Self.fetch(db, name: name)[0]
    }
  }

  /// Adds a device without a credential. It cannot connect with proof until it has one.
  ///
  /// - Throws: `invalidName`, `deviceExists`, or an error of any access.
  @discardableResult
  public func add(_ name: String) async throws(DeviceStoreError) -> StoredDevice {
    guard DeviceName.problem(with: name) == nil else { throw .invalidName(name) }
    return try await write { db in
      try db.execute(
        sql: "INSERT INTO devices (name, created) VALUES (?, ?) ON CONFLICT DO NOTHING", arguments: [name, Date().milliseconds])
      guard db.changesCount == 1 else { throw DeviceStoreError.deviceExists(name) }
      return try Self.fetch(db, name: name)[0]
    }
  }

  /// Gives a device that exists a credential: a first one of its kind, as `add` does, or another one, as `rotate` does.
  ///
  /// - Parameter identity: The new identity; nil keeps the current one, or is the name of the device if there is none.
  /// - Throws: `unknownDevice`, `invalidIdentity`, `identityTaken`, `invalidFingerprint`, or an error of any access.
  @discardableResult
  public func set(
    _ proof: DeviceCredential.Proof, identity: String? = nil, of name: String
  ) async throws(DeviceStoreError) -> StoredDevice {
    try Self.check(proof)
    if let identity, DeviceName.problem(with: identity, longest: Self.longestIdentity) != nil { throw .invalidIdentity(identity) }
    return try await write(erasing: true) { db in
      let kind = DeviceCredential(device: name, identity: "", proof: proof).kind
      let device = try Self.row(of: name, db)
      let current = try String.fetchOne(
        db, sql: "SELECT identity FROM credentials WHERE device = ? AND kind = ?", arguments: [device, kind.rawValue])
      let identity = identity ?? current ?? name
      guard DeviceName.problem(with: identity, longest: Self.longestIdentity) == nil else {
        throw DeviceStoreError.invalidIdentity(identity)
      }
      if let owner = try Self.owner(of: identity, kind, db), owner != name {
        throw DeviceStoreError.identityTaken(identity, device: owner)
      }
      try db.execute(
        sql: """
          INSERT INTO credentials (device, kind, identity, key, fingerprint, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
          ON CONFLICT (device, kind) DO UPDATE SET identity = ?3, key = ?4, fingerprint = ?5, rotated = ?6
          """,
        arguments: [device, kind.rawValue, identity, proof.key, proof.fingerprint, Date().milliseconds])
      return try Self.fetch(db, name: name)[0]
    }
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
    try Self.check(proof)
    if let identity, DeviceName.problem(with: identity, longest: Self.longestIdentity) != nil { throw .invalidIdentity(identity) }
    return try await write(erasing: true) { db in
      let kind = DeviceCredential(device: name, identity: "", proof: proof).kind
      let device = try Self.row(of: name, db)
      if let identity, let owner = try Self.owner(of: identity, kind, db), owner != name {
        throw DeviceStoreError.identityTaken(identity, device: owner)
      }
      try db.execute(
        sql: """
          UPDATE credentials SET key = ?, fingerprint = ?, rotated = ?, identity = coalesce(?, identity)
          WHERE device = ? AND kind = ?
          """,
        arguments: [proof.key, proof.fingerprint, Date().milliseconds, identity, device, kind.rawValue])
      guard db.changesCount == 1 else { throw DeviceStoreError.noCredential(device: name, kind) }
      return try Self.fetch(db, name: name)[0]
    }
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
    try await read { db in try Self.fetch(db, name: nil) }
  }

  // MARK: Rows

  private static func row(of name: String, _ db: Database) throws -> Int64 {
    guard let row = try Int64.fetchOne(db, sql: "SELECT id FROM devices WHERE name = ?", arguments: [name]) else {
      throw DeviceStoreError.unknownDevice(name)
    }
    return row
  }

  private static func hasCredential(_ kind: DeviceCredential.Kind, _ device: Int64, _ db: Database) throws -> Bool {
    try Bool.fetchOne(
      db, sql: "SELECT EXISTS (SELECT * FROM credentials WHERE device = ? AND kind = ?)",
      arguments: [device, kind.rawValue]) ?? false
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
  private static func fetch(_ db: Database, name: String?) throws -> [StoredDevice] {
    let rows = try Row.fetchCursor(
      db,
      sql: """
        SELECT CAST(name AS BLOB), enabled, devices.created, lastSeen, kind, CAST(identity AS BLOB), fingerprint,
          credentials.created, rotated, devices.id
        FROM devices LEFT JOIN credentials ON credentials.device = devices.id
        \(name == nil ? "" : "WHERE name = :name")
        ORDER BY name, kind
        """,
      arguments: name.map { ["name": $0] } ?? [:])
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

  private static func check(_ proof: DeviceCredential.Proof) throws(DeviceStoreError) {
    if case .certificate(let fingerprint?) = proof, fingerprint.count != 32 { throw .invalidFingerprint }
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
