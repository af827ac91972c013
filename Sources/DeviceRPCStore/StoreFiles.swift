internal import Glibc
internal import Logging

/// The files of a store: who may read them, and one opening at a time.
struct StoreFiles {
  let directory: String
  var database: String { directory.hasSuffix("/") ? directory + "devices.sqlite" : directory + "/devices.sqlite" }

  init(directory: String) { self.directory = directory.isEmpty ? "." : directory }

  /// Runs `body` when the files are there and private.
  ///
  /// No other opening of this store runs meanwhile, here or in another process: two that create its tables, or turn to
  /// write-ahead logging, would get in each other's way.
  func opening<Result>(
    creating: Bool, _ logger: Logger?, _ body: (String) throws(DeviceStoreError) -> Result
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
    while flock(descriptor, LOCK_EX) != 0 {
      guard errno == EINTR else { throw .cannotOpen(path: directory, reason: Self.systemError) }
    }
    try prepareDatabase(creating: creating)
    for file in [database, database + "-wal", database + "-shm"] { try makePrivate(file, logger) }
    return try body(database)
  }

  /// Whoever can write to the directory can put a database of his own there. Its mode is the operator's, and left alone.
  private func checkDirectory(_ descriptor: Int32) throws(DeviceStoreError) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .cannotOpen(path: directory, reason: Self.systemError) }
    if status.st_mode & S_IWOTH != 0, status.st_mode & S_ISVTX == 0 {
      throw .notPrivate(path: directory, reason: "everybody can write to it (chmod o-w)")
    }
  }

  /// SQLite gives its other files the mode of this one, whatever the umask; so it is created here and not there.
  private func prepareDatabase(creating: Bool) throws(DeviceStoreError) {
    // Never opened when it is there: closing any descriptor of it would drop the locks of this process's connections.
    guard access(database, F_OK) != 0 else { return }
    guard errno == ENOENT else { throw .cannotOpen(path: database, reason: Self.systemError) }
    guard creating else { throw .missing(directory: directory) }
    let descriptor = open(database, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw .cannotOpen(path: database, reason: Self.systemError) }
    close(descriptor)
  }

  /// A file that others can read is closed to them; they may have read it before, so that is worth a warning.
  private func makePrivate(_ file: String, _ logger: Logger?) throws(DeviceStoreError) {
    var status = stat()
    guard stat(file, &status) == 0 else {
      if errno == ENOENT { return }
      throw .cannotOpen(path: file, reason: Self.systemError)
    }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .notADeviceStore(path: file) }
    guard status.st_mode & 0o077 != 0 else { return }
    guard chmod(file, 0o600) == 0 else { throw .notPrivate(path: file, reason: Self.systemError) }
    logger?.warning("others could open a file with keys; now only its owner can", metadata: ["file": "\(file)"])
  }

  private static var systemError: String { String(cString: strerror(errno)) }
}
