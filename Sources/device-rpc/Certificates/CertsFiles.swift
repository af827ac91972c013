internal import Foundation
internal import Glibc

/// A directory with the files of a CA and what it has issued.
struct CertificateDirectory {
  /// One file that is to be written.
  struct File {
    let name: String
    let text: String
    let isPrivate: Bool
  }

  let path: String

  func path(of name: String) -> String { path.hasSuffix("/") ? path + name : "\(path)/\(name)" }

  /// Makes the directory and those above it, for their owner alone, unless they are there.
  func create() throws(CommandFailure) {
    var made = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      made += part + "/"
      // A file of that name is told when something is written into it.
      guard mkdir(made, 0o700) == 0 || errno == EEXIST else {
        throw CommandFailure("cannot make the directory \(made): \(systemReason())")
      }
    }
  }

  func has(_ name: String) -> Bool {
    // Links are not followed: one that leads nowhere is in the way too.
    (try? FileManager.default.attributesOfItem(atPath: path(of: name))) != nil
  }

  /// Writes all of them, or nothing if one is there and may not be replaced.
  ///
  /// Each file appears under its name complete and with its final mode, and a private one is never readable to others.
  func write(_ files: [File], replacing: Bool) throws(CommandFailure) {
    if !replacing, let file = files.first(where: { has($0.name) }) { throw inTheWay(file) }
    var temporary: [String] = []
    // Those that were moved are gone by then.
    defer { for path in temporary { unlink(path) } }
    for file in files { temporary.append(try writeTemporary(file)) }
    for (file, source) in zip(files, temporary) {
      let target = path(of: file.name)
      // A link, unlike a renaming, fails when somebody else has made the file in the meantime.
      if (replacing ? rename(source, target) : link(source, target)) != 0 {
        throw errno == EEXIST ? inTheWay(file) : CommandFailure("cannot write \(target): \(systemReason())")
      }
    }
  }

  private func inTheWay(_ file: File) -> CommandFailure {
    CommandFailure("\(path(of: file.name)) exists; --force replaces it")
  }

  /// Beside its target, because only within a file system can it be moved at once.
  private func writeTemporary(_ file: File) throws(CommandFailure) -> String {
    var template = Array(path(of: ".device-rpc-XXXXXX").utf8CString)
    // Made with mode 0600, whatever the umask.
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
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { throw CommandFailure("cannot read \(path): \(systemReason())") }
  let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
  do {
    // Far above any chain of certificates; what is longer was named by mistake.
    return String(decoding: try handle.read(upToCount: 1_048_576) ?? Data(), as: UTF8.self)
  } catch {
    throw CommandFailure("cannot read \(path): \(reason(of: error))")
  }
}

private func systemReason() -> String { String(cString: strerror(errno)) }

/// The system's own words for an error of Foundation, which wraps them in many more.
private func reason(of error: any Error) -> String {
  if let error = error as? CommandFailure { return error.description }
  let underlying = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError ?? error as NSError
  if underlying.domain == NSPOSIXErrorDomain { return String(cString: strerror(Int32(underlying.code))) }
  return underlying.localizedDescription
}
