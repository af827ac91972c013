public import DeviceRPC
internal import Dispatch
internal import GRDB
public import Logging
internal import Synchronization

/// The devices and their credentials in a directory, in SQLite, for a server and the command line at the same time.
///
/// What is looked up in a handshake is answered from memory. Changes made through another store of the same directory,
/// in this process or another one, are noticed within about a fifth of a second. A change that has been made survives
/// the end of the process and a loss of power.
public final class DeviceStore: DeviceCredentials {
  /// Bytes of the longest device name. 255, as many as `Limits.deviceName` allows.
  public static let longestName = Limits().deviceName
  /// Bytes of the longest identity. 128, as RFC 4279 §5.3 asks for.
  public static let longestIdentity = 128

  private static let pollInterval = DispatchTimeInterval.milliseconds(200)

  struct State {
    var snapshot = CredentialSnapshot()
    // The last row of `changes` that the snapshot knows.
    var lastChange: Int64 = 0
    var dataVersion: Int?
    // Reading what has changed has failed, and is tried again.
    var isStale = false
    var isClosed = false
  }

  /// The path of the database.
  public let path: String
  let queue: DatabaseQueue
  let state = Mutex(State())
  // One element stands for all changes that were not looked at yet.
  private let hub = Hub<Void>(buffered: 1)
  // because a dispatch source is made to be used on any thread.
  private nonisolated(unsafe) let timer: any DispatchSourceTimer
  private let logger: Logger?

  /// Opens the store of a directory.
  ///
  /// The directory is created for its owner only, mode 0700; one that is there keeps its mode, and must not be writable
  /// for everybody. The files are for their owner only, 0600, whatever the umask; files that others can open are closed
  /// to them, with a warning.
  ///
  /// - Parameters:
  ///   - directory: Its parent must be there.
  ///   - creating: False throws `missing` for a directory without a store.
  ///   - logger: For warnings, and errors of what is done without being asked for.
  /// - Throws: `missing`, `cannotOpen`, `notPrivate`, `notADeviceStore`, `newer`, `damaged`, `busy` or `failed`.
  public init(directory: String, creating: Bool = true, logger: Logger? = nil) throws(DeviceStoreError) {
    let files = StoreFiles(directory: directory)
    path = files.database
    self.logger = logger
    queue = try files.opening(creating: creating, logger) { path throws(DeviceStoreError) in
      do {
        let queue = try DatabaseQueue(path: path, configuration: StoreSchema.configuration)
        try StoreSchema.prepare(queue, path: path)
        return queue
      } catch {
        throw DeviceStoreError(error, path: path)
      }
    }
    timer = DispatchSource.makeTimerSource(queue: DispatchQueue(label: "DeviceStore.changes"))
    // At once, though it has nothing to do: one that never was may not be released, and what follows may throw.
    timer.activate()
    do {
      try queue.inDatabase(poll)
    } catch {
      throw DeviceStoreError(error, path: path)
    }
    timer.setEventHandler { [weak self] in self?.pollNow() }
    timer.schedule(deadline: .now() + Self.pollInterval, repeating: Self.pollInterval, leeway: .milliseconds(20))
  }

  // The connection closes itself: this may be its own thread, which must not wait for itself.
  deinit { end() }

  /// Ends the streams of changes and closes the files; what is asked for afterwards fails. Closing again does nothing.
  public func close() {
    end()
    do {
      try queue.close()
    } catch {
      logger?.error("cannot close the store of devices", metadata: ["error": "\(DeviceStoreError(error, path: path))"])
    }
  }

  private func end() {
    state.withLock { $0.isClosed = true }
    timer.cancel()
    hub.finish()
  }

  // MARK: Credentials

  public func credential(_ kind: DeviceCredential.Kind, identity: String) -> DeviceCredential? {
    state.withLock { $0.snapshot.table.credential(kind, identity: identity) }
  }

  public func knows(device: String) -> Bool { state.withLock { $0.snapshot.table.knows(device: device) } }

  public func changes() -> AsyncStream<Void> { hub.subscribe() }

  // MARK: Changes

  private func pollNow() {
    do {
      try queue.inDatabase(poll)
    } catch {
      // Told once, not five times a second.
      let isNews = state.withLock { state in
        defer { state.isStale = true }
        return !state.isStale && !state.isClosed
      }
      guard isNews else { return }
      logger?.error(
        "cannot read changes of devices; going on with what is known",
        metadata: ["error": "\(DeviceStoreError(error, path: path))"])
    }
  }

  /// Reads what other connections have changed, if they have.
  private func poll(_ db: Database) throws {
    // https://www.sqlite.org/pragma.html#pragma_data_version: it changes with every commit of another connection. Read
    // before the rows: a commit in between is then found the next time.
    let version = try db.cachedStatement(sql: "PRAGMA data_version").dataVersion()
    guard state.withLock({ $0.dataVersion != version || $0.isStale }) else { return }
    try catchUp(db)
    state.withLock { $0.dataVersion = version }
  }

  /// Brings the snapshot up to date after a change of our own, before anybody hears of its success.
  func catchUpAfterWriting(_ db: Database) {
    do {
      try catchUp(db)
    } catch {
      state.withLock { $0.isStale = true }
      logger?.error(
        "cannot read a change of devices", metadata: ["error": "\(DeviceStoreError(error, path: path))"])
    }
  }

  private func catchUp(_ db: Database) throws {
    let known = state.withLock { $0.lastChange }
    var update: StoreUpdate?
    try db.inTransaction(.deferred) {
      update = try StoreUpdate(db, after: known)
      return .commit
    }
    let isNews = state.withLock { state in
      state.isStale = false
      return update?.apply(to: &state.snapshot, &state.lastChange) ?? false
    }
    if isNews { hub.send(()) }
  }
}
