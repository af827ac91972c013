internal import Foundation
internal import Glibc

/// A directory with the files of a CA, and of the certificates that it has issued.
struct CertificateDirectory {
  /// A file to write.
  struct File {
    let name: String
    let text: String
    let isPrivate: Bool
  }

  let path: String

  func path(of name: String) -> String { path.hasSuffix("/") ? path + name : "\(path)/\(name)" }

  /// Creates the directory and its missing parents, accessible only to their owner.
  func create() throws(CommandFailure) {
    var made = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      made += part + "/"
      // If a file has that name, writing into the directory fails with an error later.
      guard mkdir(made, 0o700) == 0 || errno == EEXIST else {
        throw CommandFailure("cannot make the directory \(made): \(systemReason())")
      }
    }
  }

  func has(_ name: String) -> Bool {
    // Links are not followed: a broken link also prevents writing.
    (try? FileManager.default.attributesOfItem(atPath: path(of: name))) != nil
  }

  /// Writes all files, or none if one exists and may not be replaced.
  ///
  /// Each file appears under its name complete and with its final mode. A private file is never readable by others.
  func write(_ files: [File], replacing: Bool) throws(CommandFailure) {
    if !replacing, let file = files.first(where: { has($0.name) }) { throw inTheWay(file) }
    var temporary: [String] = []
    // Those that were renamed no longer exist by then.
    defer { for path in temporary { unlink(path) } }
    for file in files { temporary.append(try writeTemporary(file)) }
    for (file, source) in zip(files, temporary) {
      let target = path(of: file.name)
      // Unlike `rename`, `link` fails if the file was created in the meantime.
      if (replacing ? rename(source, target) : link(source, target)) != 0 {
        throw errno == EEXIST ? inTheWay(file) : CommandFailure("cannot write \(target): \(systemReason())")
      }
    }
  }

  private func inTheWay(_ file: File) -> CommandFailure {
    CommandFailure("\(path(of: file.name)) exists; --force replaces it")
  }

  /// Writes a temporary file in the same directory, since a file can be renamed atomically only within a file system.
  private func writeTemporary(_ file: File) throws(CommandFailure) -> String {
    var template = Array(path(of: ".device-rpc-XXXXXX").utf8CString)
    // Created with mode 0600, whatever the umask is.
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else { throw CommandFailure("cannot write into \(path): \(systemReason())") }
    let name = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    do {
      try handle.write(contentsOf: Data(file.text.utf8))
      guard fchmod(descriptor, file.isPrivate ? 0o600 : 0o644) == 0, fsync(descriptor) == 0 else {
        throw CommandFailure(systemReason())
      }
      try handle.close()
    } catch {
      unlink(name)
      throw CommandFailure("cannot write \(path(of: file.name)): \(reason(of: error))")
    }
    return name
  }
}

/// The text of a small file.
func readText(_ path: String) throws(CommandFailure) -> String {
  // Far above the size of any certificate chain; a longer file was named by mistake.
  String(decoding: try readData(path, upTo: 1_048_576), as: UTF8.self)
}

/// The file, or its first `count` bytes.
func readData(_ path: String, upTo count: Int) throws(CommandFailure) -> Data {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { throw CommandFailure("cannot read \(path): \(systemReason())") }
  let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
  do {
    return try handle.read(upToCount: count) ?? Data()
  } catch {
    throw CommandFailure("cannot read \(path): \(reason(of: error))")
  }
}

private func systemReason() -> String { String(cString: strerror(errno)) }

/// The system's description of an error of Foundation, without Foundation's longer text.
private func reason(of error: any Error) -> String {
  if let error = error as? CommandFailure { return error.description }
  let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError ?? error as NSError
  if underlying.domain == NSPOSIXErrorDomain { return String(cString: strerror(Int32(underlying.code))) }
  return underlying.localizedDescription
}
