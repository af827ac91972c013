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
  /// Bytes of the longest identity. 128, as RFC 4279 §5.3 asks for.
  public static let longestIdentity = 128

  private static let pollInterval = DispatchTimeInterval.milliseconds(200)
  /// The time between two lines about one thing that goes on to be wrong.
  private static let reminder = Duration.seconds(60)

  struct State {
    var snapshot = CredentialSnapshot()
    // The last row of `changes` that the snapshot knows.
    var lastChange: StoreUpdate.Mark?
    var dataVersion: Int?
    // What has changed is still to be read.
    var isStale = false
    var isClosed = false
    // The files of the database that is open.
    var stamp: StoreFiles.Stamp?
    // Nil when there is no database to open.
    var queue: DatabaseQueue?
    // What is wrong, and when it was told.
    var problem: (error: DeviceStoreError, told: ContinuousClock.Instant)?
  }

  /// The path of the database.
  public let path: String
  private let files: StoreFiles
  let state = Mutex(State())
  // One element stands for all changes that were not looked at yet.
  private let hub = Hub<Void>(buffered: 1)
  // Opens, replaces and closes the database, and hands accesses to it: none comes too late for the one that it was meant for.
  private let door = DispatchQueue(label: "DeviceStore")
  // because a dispatch source is made to be used on any thread.
  private nonisolated(unsafe) let timer: any DispatchSourceTimer
  private let logger: Logger?

  /// Opens the store of a directory.
  ///
  /// The directory is created for its owner only, mode 0700; one that is there keeps its mode, and must not be writable
  /// for everybody. The files are for their owner only, 0600, whatever the umask; files that others can open are closed
  /// to them, with a warning. Directory and files belong to the user of this process, or to root; symbolic links in the
  /// places of the files are refused.
  ///
  /// A database that is put in the place of this one while it is open is read instead of it, within about a fifth of a
  /// second. When it cannot be read, or there is none any more, the credentials that were read last stay in use, and an error
  /// is logged, then and once a minute.
  ///
  /// - Parameters:
  ///   - directory: Its parent must be there.
  ///   - creating: False throws `missing` for a directory without a store.
  ///   - logger: For warnings, and errors of what is done without being asked for.
  /// - Throws: `missing`, `cannotOpen`, `notPrivate`, `notADeviceStore`, `newer`, `damaged`, `busy` or `failed`.
  public convenience init(directory: String, creating: Bool = true, logger: Logger? = nil) throws(DeviceStoreError) {
    try self.init(directory: directory, creating: creating, patience: .milliseconds(StoreSchema.patience), logger: logger)
  }

  /// `patience` is how long another process that opens the store just now is waited for.
  init(directory: String, creating: Bool = true, patience: Duration, logger: Logger? = nil) throws(DeviceStoreError) {
    files = StoreFiles(directory: directory)
    path = files.database
    self.logger = logger
    let queue = try Self.open(files, creating: creating, patience: patience, logger)
    timer = DispatchSource.makeTimerSource(queue: door)
    // At once, though it has nothing to do: one that never was may not be released, and what follows may throw.
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

  // The connection closes itself: this may be its own thread, which must not wait for itself.
  deinit { end() }

  /// Ends the streams of changes and closes the files; what is asked for afterwards fails. Closing again does nothing.
  public func close() {
    end()
    door.sync { shut() }
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

  // MARK: The database behind the door

  /// Hands `body` the database that is there now, or `otherwise` the reason why there is none.
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
    // Looked at while ours is open: its number may be given to another file afterwards.
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
      // Whatever is there in a moment is to be read from its beginning.
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

  /// Reads what other connections have changed, if they have. True when the file was written to in another way, and is to
  /// be opened anew.
  private func poll(_ queue: DatabaseQueue) throws(DeviceStoreError) -> Bool {
    do {
      return try queue.inDatabase { db in
        // https://www.sqlite.org/pragma.html#pragma_data_version: it changes with every commit of another connection. Read
        // before the rows: a commit in between is then found the next time.
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

  // Not of another file that has come in its place.
  private func note(_ stamp: StoreFiles.Stamp?) {
    state.withLock { if let stamp, stamp.database == $0.stamp?.database { $0.stamp = stamp } }
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

  /// The file as it is now has been written by us.
  func noteWritten() { note(files.stamp()) }

  /// Only one at a time: on the thread of the database.
  private func catchUp(_ db: Database) throws {
    let (known, snapshot) = state.withLock { ($0.lastChange, $0.snapshot) }
    var update: StoreUpdate?
    try db.inTransaction(.deferred) {
      update = try StoreUpdate(db, after: known)
      return .commit
    }
    guard let update else { return state.withLock { $0.isStale = false } }
    for complaint in update.complaints {
      logger?.warning("a credential is left out, its device cannot connect with it", metadata: ["reason": "\(complaint.onOneLine)"])
    }
    // Beside the one that handshakes look at, which are never held up by it.
    var (new, isNews, last) = update.applied(to: snapshot)
    state.withLock { state in
      swap(&state.snapshot, &new)
      state.lastChange = last
      state.isStale = false
    }
    if isNews { hub.send(()) }
  }
}
