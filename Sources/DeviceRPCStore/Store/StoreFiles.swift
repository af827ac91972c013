internal import Glibc
internal import Logging

/// The files of a database: their permissions, and a lock for opening them.
struct StoreFiles {
  let directory: String
  var database: String { path(of: name) }

  private let name: String

  init(directory: String, name: String = "devices.sqlite") {
    self.directory = directory.isEmpty ? "." : directory
    self.name = name
  }

  private func path(of name: String) -> String { directory.hasSuffix("/") ? directory + name : "\(directory)/\(name)" }

  /// Checks that the files exist and are private, and runs `body`.
  ///
  /// Only one process or thread opens the store at a time: two that create its tables, or switch to write-ahead logging, would
  /// interfere. Waits up to `patience` for the lock.
  func opening<Result>(
    creating: Bool, patience: Duration, _ logger: Logger?, _ body: (String) throws(DeviceStoreError) -> Result
  ) throws(DeviceStoreError) -> Result {
    if creating, mkdir(directory, 0o700) != 0, errno != EEXIST {
      throw .cannotOpen(path: directory, reason: Self.systemError)
    }
    let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT { throw .missing(directory: directory) }
      throw .cannotOpen(path: directory, reason: Self.systemError)
    }
    defer { close(descriptor) }
    try checkDirectory(descriptor)
    try lock(descriptor, patience)
    try prepareDatabase(descriptor, creating: creating)
    for suffix in ["", "-wal", "-shm"] { try makePrivate(name + suffix, in: descriptor, logger) }
    return try body(database)
  }

  private func lock(_ descriptor: Int32, _ patience: Duration) throws(DeviceStoreError) {
    let deadline = ContinuousClock.now + patience
    while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      guard errno == EINTR || errno == EWOULDBLOCK else { throw .cannotOpen(path: directory, reason: Self.systemError) }
      guard ContinuousClock.now < deadline else { throw .busy(path: directory) }
      // `flock` has no waiting with a time limit.
      usleep(10_000)
    }
  }

  /// Refuses a directory in which others could replace the database. Its mode is the operator's choice and is not changed.
  private func checkDirectory(_ descriptor: Int32) throws(DeviceStoreError) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .cannotOpen(path: directory, reason: Self.systemError) }
    // Also if only the owner of a file may remove it (S_ISVTX): anybody could create a file that does not exist yet.
    if status.st_mode & S_IWOTH != 0 {
      throw .notPrivate(path: directory, reason: "everybody can write to it (chmod o-w, or name another directory)")
    }
    try checkOwner(status, of: directory)
  }

  /// Refuses a file of another user, who could read what is written to it. root can read it in any case.
  private func checkOwner(_ status: stat, of path: String) throws(DeviceStoreError) {
    guard status.st_uid == geteuid() || status.st_uid == 0 else {
      throw .notPrivate(path: path, reason: "it belongs to another user, number \(status.st_uid) (run this as that user)")
    }
  }

  /// Creates the database file. SQLite gives its other files the same mode, whatever the umask is.
  private func prepareDatabase(_ directory: Int32, creating: Bool) throws(DeviceStoreError) {
    var status = stat()
    // An existing file is not opened here: closing any descriptor of it would release the locks of this process's connections.
    guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0 else { return }
    guard errno == ENOENT else { throw .cannotOpen(path: database, reason: Self.systemError) }
    guard creating else { throw .missing(directory: self.directory) }
    let descriptor = openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .cannotOpen(path: database, reason: Self.systemError) }
    close(descriptor)
  }

  /// Makes a file private, with a warning if it was not, since others may have read it.
  private func makePrivate(_ name: String, in directory: Int32, _ logger: Logger?) throws(DeviceStoreError) {
    let file = path(of: name)
    var status = stat()
    guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
      if errno == ENOENT { return }
      throw .cannotOpen(path: file, reason: Self.systemError)
    }
    if status.st_mode & S_IFMT == S_IFLNK { throw .notPrivate(path: file, reason: "it is a symbolic link, which is not followed") }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .notADeviceStore(path: file) }
    try checkOwner(status, of: file)
    guard status.st_mode & 0o077 != 0 else { return }
    guard fchmodat(directory, name, 0o600, AT_SYMLINK_NOFOLLOW) == 0 else {
      throw .notPrivate(path: file, reason: Self.systemError)
    }
    logger?.warning("others could open a file with keys; now only its owner can", metadata: ["file": "\(file)"])
  }

  private static var systemError: String { String(cString: strerror(errno)) }

  // MARK: Replaced files

  /// Identifies a file; another file of the same name has another identity.
  struct Identity: Hashable {
    let device: dev_t
    let inode: ino_t
  }

  /// The state of the files at one time.
  struct Stamp: Equatable {
    let database: Identity
    /// The write-ahead log, if there is one.
    let log: Identity?
    /// When the database was last written to, by SQLite or anything else, and its length.
    let written: [Int]
  }

  /// Returns the current state; nil when there is no database.
  func stamp() -> Stamp? {
    var status = stat()
    guard lstat(database, &status) == 0 else { return nil }
    let written = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec, Int(status.st_size)]
    let identity = Identity(device: status.st_dev, inode: status.st_ino)
    let hasLog = lstat(database + "-wal", &status) == 0
    return Stamp(
      database: identity, log: hasLog ? Identity(device: status.st_dev, inode: status.st_ino) : nil, written: written)
  }

  /// Whether another database has replaced an earlier one, but the write-ahead log is still that of the earlier one: SQLite
  /// would apply it to the new one.
  func isLogLeft(of earlier: Stamp) -> Bool {
    guard let now = stamp(), let log = now.log else { return false }
    return now.database != earlier.database && log == earlier.log
  }

  func removeLog() {
    unlink(database + "-wal")
    unlink(database + "-shm")
  }
}
