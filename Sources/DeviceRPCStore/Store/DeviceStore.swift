public import DeviceRPC
internal import Dispatch
internal import GRDB
public import Logging
internal import Synchronization

/// A store of devices, their credentials, and API keys in a directory, in SQLite. A server and the command line can use it at
/// the same time.
///
/// Lookups during a handshake, and of API keys, are answered from memory. Changes that another store of the same directory
/// makes, in this or another process, are noticed within about a fifth of a second. A completed change survives the end of the
/// process and a loss of power.
public final class DeviceStore: DeviceCredentials {
  /// The length of the longest identity: 128 bytes, as RFC 4279 §5.3 requires.
  public static let longestIdentity = 128

  private static let pollInterval = DispatchTimeInterval.milliseconds(200)
  /// The time between two log lines about a problem that persists.
  private static let reminder = Duration.seconds(60)

  struct State {
    var snapshot = CredentialSnapshot()
    var apiKeys = APIKeySnapshot()
    var users = UserSnapshot()
    // The last row of `changes` that is in the snapshots.
    var lastChange: StoreUpdate.Mark?
    var dataVersion: Int?
    // There are changes that were not read yet.
    var isStale = false
    var isClosed = false
    // Identifies the files of the open database.
    var stamp: StoreFiles.Stamp?
    // Nil when there is no database to open.
    var queue: DatabaseQueue?
    // The current problem, and when it was last logged.
    var problem: (error: DeviceStoreError, told: ContinuousClock.Instant)?
  }

  /// The path of the database.
  public let path: String
  private let files: StoreFiles
  let state = Mutex(State())
  // A buffer of one, since one element is enough for any number of changes that were not handled yet.
  private let hub = Hub<Void>(buffered: 1)
  // Likewise, of API keys.
  let keyHub = Hub<Void>(buffered: 1)
  // Opens, replaces and closes the database, and starts accesses, so that no access starts on a database that is already closed.
  private let door = DispatchQueue(label: "DeviceStore")
  // Unsafe, because a dispatch source can be used on any thread.
  private nonisolated(unsafe) let timer: any DispatchSourceTimer
  private let logger: Logger?

  /// Opens the store of a directory.
  ///
  /// If the directory is created, it is accessible only to its owner, mode 0700. An existing directory keeps its mode, which must
  /// not allow everybody to write. The files are accessible only to their owner, 0600, whatever the umask is; existing files that
  /// others can open are changed to that, with a warning. Directory and files must belong to the user of this process or to root.
  /// Symbolic links in place of the files are refused.
  ///
  /// If another database replaces this one while it is open, that one is read within about a fifth of a second. If it cannot be
  /// read, or there is none, the credentials that were last read stay in use, and an error is logged at once and every minute.
  ///
  /// - Parameters:
  ///   - directory: The path of the directory; its parent must exist.
  ///   - creating: If false, throws `missing` for a directory without a store.
  ///   - logger: For warnings, and for errors that are not thrown by a method.
  /// - Throws: `missing`, `cannotOpen`, `notPrivate`, `notADeviceStore`, `newer`, `damaged`, `busy` or `failed`.
  public convenience init(directory: String, creating: Bool = true, logger: Logger? = nil) throws(DeviceStoreError) {
    try self.init(directory: directory, creating: creating, patience: .milliseconds(StoreSchema.patience), logger: logger)
  }

  /// `patience` is how long to wait for another process that is opening the store.
  init(directory: String, creating: Bool = true, patience: Duration, logger: Logger? = nil) throws(DeviceStoreError) {
    files = StoreFiles(directory: directory)
    path = files.database
    self.logger = logger
    let queue = try Self.open(files, creating: creating, patience: patience, logger)
    timer = DispatchSource.makeTimerSource(queue: door)
    // Activated at once, though it has no handler yet: a dispatch source must not be released before it is activated, and the
    // following lines may throw.
    timer.activate()
    use(queue)
    _ = try poll(queue)
    timer.setEventHandler { [weak self] in self?.look() }
    timer.schedule(deadline: .now() + Self.pollInterval, repeating: Self.pollInterval, leeway: .milliseconds(20))
  }

  private static func open(
    _ files: StoreFiles, creating: Bool, patience: Duration = .milliseconds(StoreSchema.patience), _ logger: Logger?
  ) throws(DeviceStoreError) -> DatabaseQueue {
    try files.opening(creating: creating, patience: patience, logger) { path throws(DeviceStoreError) in
      do {
        let queue = try DatabaseQueue(path: path, configuration: StoreSchema.configuration)
        try StoreSchema.prepare(queue, path: path)
        return queue
      } catch {
        throw DeviceStoreError(error, path: path)
      }
    }
  }

  // The connection is closed when it is released. This may run on its own queue, where closing it would wait for itself.
  deinit { end() }

  /// Ends the streams of changes and closes the files. Later accesses fail. Closing again does nothing.
  public func close() {
    end()
    door.sync { shut() }
  }

  private func end() {
    state.withLock { $0.isClosed = true }
    timer.cancel()
    hub.finish()
    keyHub.finish()
  }

  // MARK: Credentials

  public func credential(_ kind: DeviceCredential.Kind, identity: String) -> DeviceCredential? {
    state.withLock { $0.snapshot.table.credential(kind, identity: identity) }
  }

  public func knows(device: String) -> Bool { state.withLock { $0.snapshot.table.knows(device: device) } }

  public func changes() -> AsyncStream<Void> { hub.subscribe() }

  // MARK: Database

  /// Calls `body` with the current database, or `otherwise` with the reason why there is none.
  func access(
    _ body: @escaping @Sendable (DatabaseQueue) -> Void, otherwise: @escaping @Sendable (DeviceStoreError) -> Void
  ) {
    door.async {
      do throws(DeviceStoreError) {
        body(try self.current())
      } catch {
        otherwise(error)
      }
    }
  }

  private func current() throws(DeviceStoreError) -> DatabaseQueue {
    let (queue, stamp) = state.withLock { ($0.queue, $0.stamp) }
    if let queue, let stamp, files.stamp()?.database == stamp.database { return queue }
    return try reopen()
  }

  private func reopen() throws(DeviceStoreError) -> DatabaseQueue {
    guard !state.withLock(\.isClosed) else { throw .failed(path: path, reason: "the store is closed") }
    // Checked while the old database is open: after closing, its inode number may be given to another file.
    let isLogLeft = state.withLock { $0.stamp.map(files.isLogLeft) } == true
    shut()
    if isLogLeft { files.removeLog() }
    let queue = try Self.open(files, creating: false, logger)
    use(queue)
    return queue
  }

  private func use(_ queue: DatabaseQueue) {
    let stamp = files.stamp()
    state.withLock { state in
      state.queue = queue
      state.stamp = stamp
      state.lastChange = nil
      state.isStale = true
    }
  }

  private func shut() {
    let queue = state.withLock { state in
      defer { state.queue = nil }
      return state.queue
    }
    do {
      try queue?.close()
    } catch {
      logger?.error("cannot close the store of devices", metadata: ["error": "\(DeviceStoreError(error, path: path))"])
    }
  }

  // MARK: Changes

  private func look() {
    guard !state.withLock(\.isClosed) else { return }
    do throws(DeviceStoreError) {
      if try poll(try current()) { _ = try poll(try reopen()) }
      tell(nil)
    } catch {
      tell(error)
      // The database is opened and read again at the next poll.
      if case .busy = error { return }
      shut()
    }
  }

  private func tell(_ error: DeviceStoreError?) {
    let now = ContinuousClock.now
    let isNews = state.withLock { state in
      guard let error else {
        defer { state.problem = nil }
        return state.problem != nil
      }
      if let problem = state.problem, problem.error == error, now - problem.told < Self.reminder { return false }
      state.problem = (error, now)
      return true
    }
    guard isNews else { return }
    guard let error else {
      logger?.notice("the devices can be read again", metadata: ["file": "\(path)"])
      return
    }
    logger?.error(
      "cannot read changes of devices; going on with the credentials that were read last", metadata: ["error": "\(error)"])
  }

  /// Reads the changes of other connections, if there are any. Returns true if the file was written to by something else than
  /// SQLite, and must be opened again.
  private func poll(_ queue: DatabaseQueue) throws(DeviceStoreError) -> Bool {
    do {
      return try queue.inDatabase { db in
        // https://www.sqlite.org/pragma.html#pragma_data_version: it changes with every commit of another connection. It is read
        // before the rows, so that a commit in between is found at the next poll.
        let version = try db.cachedStatement(sql: "PRAGMA data_version").dataVersion()
        let stamp = files.stamp()
        let (isNews, known) = state.withLock { ($0.dataVersion != version || $0.isStale, $0.stamp) }
        guard isNews else { return stamp?.written != known?.written }
        try catchUp(db)
        state.withLock { $0.dataVersion = version }
        note(stamp)
        return false
      }
    } catch {
      throw DeviceStoreError(error, path: path)
    }
  }

  // Ignored if another file has replaced the database.
  private func note(_ stamp: StoreFiles.Stamp?) {
    state.withLock { if let stamp, stamp.database == $0.stamp?.database { $0.stamp = stamp } }
  }

  /// Updates the snapshots after a change by this store, before its caller is notified.
  func catchUpAfterWriting(_ db: Database) {
    do {
      try catchUp(db)
    } catch {
      state.withLock { $0.isStale = true }
      logger?.error(
        "cannot read a change of devices", metadata: ["error": "\(DeviceStoreError(error, path: path))"])
    }
  }

  /// Notes that the last write to the file was by this store.
  func noteWritten() { note(files.stamp()) }

  /// Updates the snapshots. Runs on the database's queue, so only one at a time.
  private func catchUp(_ db: Database) throws {
    let (known, snapshot, apiKeys) = state.withLock { ($0.lastChange, $0.snapshot, $0.apiKeys) }
    var update: StoreUpdate?
    try db.inTransaction(.deferred) {
      update = try StoreUpdate(db, after: known)
      return .commit
    }
    guard let update else { return state.withLock { $0.isStale = false } }
    for complaint in update.complaints {
      logger?.warning("a credential is left out, its device cannot connect with it", metadata: ["reason": "\(complaint.onOneLine)"])
    }
    for complaint in update.keyComplaints {
      logger?.warning("an API key is left out, nobody can call with it", metadata: ["reason": "\(complaint.onOneLine)"])
    }
    // The new snapshots are built as copies, so that lookups never wait.
    var (new, isNews, last) = update.applied(to: snapshot)
    var newKeys = update.apiKeys ?? apiKeys
    let areKeysNews = update.apiKeys != nil && newKeys != apiKeys
    state.withLock { state in
      swap(&state.snapshot, &new)
      swap(&state.apiKeys, &newKeys)
      if let users = update.users { state.users = users }
      state.lastChange = last
      state.isStale = false
    }
    if isNews { hub.send(()) }
    if areKeysNews { keyHub.send(()) }
  }
}
