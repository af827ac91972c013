public import DeviceRPC
internal import GRDB

/// Why a store could not be opened, or could not do what was requested. It never contains a key.
public enum DeviceStoreError: Error, Sendable, Hashable {
  /// The directory has no store, and none should be created.
  case missing(directory: String)
  /// The file or its directory cannot be opened or created.
  case cannotOpen(path: String, reason: String)
  /// Others than the owner can read or replace the file, and that could not be changed.
  case notPrivate(path: String, reason: String)
  /// The file is not a store of devices.
  case notADeviceStore(path: String)
  /// The file is not a journal of calls.
  case notAJournal(path: String)
  /// The file was written by a later version of this package.
  case newer(path: String)
  /// The contents of the file are corrupt.
  case damaged(path: String)
  /// Another process has kept the file locked for 5 s.
  case busy(path: String)
  /// SQLite has failed for another reason, such as a full disk.
  case failed(path: String, reason: String)

  /// The name is not valid; see `DeviceName`.
  case invalidName(String)
  /// The identity is not valid, see `DeviceName`, or it is longer than 128 bytes.
  case invalidIdentity(String)
  /// The fingerprint is not a SHA-256, which has 32 bytes.
  case invalidFingerprint
  /// The store has no device of that name.
  case unknownDevice(String)
  /// The device already has a credential of that kind.
  case hasCredential(device: String, DeviceCredential.Kind)
  /// The device has no credential of that kind to replace.
  case noCredential(device: String, DeviceCredential.Kind)
  /// Another device has a credential of that kind with that identity.
  case identityTaken(String, device: String)

  /// The name of an API key is not valid; see `DeviceName`.
  case invalidKeyName(String)
  /// There is an API key of that name, or with that id.
  case keyNameTaken(String)
  /// The store has no API key of that name or id.
  case unknownKey(String)
  /// The store has as many API keys as it can.
  case tooManyKeys(limit: Int)
  /// The name of a user is not valid; see `DeviceName`.
  case invalidUserName(String)
  /// There is a user of that name.
  case userNameTaken(String)
  /// The store has no user of that name.
  case unknownUser(String)
  /// The store has as many users as it can.
  case tooManyUsers(limit: Int)
  /// The permissions of an API key are longer than 16 KiB in JSON.
  case permissionsTooLong(bytes: Int)
}

extension DeviceStoreError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .missing(let directory): "there is no store of devices in \(directory)"
    case .cannotOpen(let path, let reason): "cannot open \(path): \(reason)"
    case .notPrivate(let path, let reason): "\(path) is not private: \(reason)"
    case .notADeviceStore(let path): "\(path) is not a store of devices"
    case .notAJournal(let path): "\(path) is not a journal of calls"
    case .newer(let path): "\(path) was written by a later version of device-rpc"
    case .damaged(let path): "\(path) is damaged"
    case .busy(let path): "\(path) is locked by another process"
    case .failed(let path, let reason): "\(path): \(reason)"
    case .invalidName(let name):
      "\(Self.quoted(name)) cannot be the name of a device: it \(DeviceName.problem(with: name) ?? "is none")"
    case .invalidIdentity(let identity):
      "\(Self.quoted(identity)) cannot be an identity: it "
        + (DeviceName.problem(with: identity, longest: DeviceStore.longestIdentity) ?? "is none")
    case .invalidFingerprint: "a fingerprint has 32 bytes"
    case .unknownDevice(let name): "no device is named \(Self.quoted(name))"
    case .hasCredential(let device, let kind): "\(Self.quoted(device)) has \(kind.phrase) already"
    case .noCredential(let device, let kind): "\(Self.quoted(device)) does not have \(kind.phrase)"
    case .identityTaken(let identity, let device):
      "the identity \(Self.quoted(identity)) is that of the device \(Self.quoted(device))"
    case .invalidKeyName(let name):
      "\(Self.quoted(name)) cannot be the name of a key: it \(DeviceName.problem(with: name) ?? "is none")"
    case .keyNameTaken(let name): "there is a key \(Self.quoted(name)) already"
    case .unknownKey(let name): "no key is named \(Self.quoted(name))"
    case .tooManyKeys(let limit): "there are \(limit) keys already, which is the limit"
    case .invalidUserName(let name):
      "\(Self.quoted(name)) cannot be the name of a user: it \(DeviceName.problem(with: name) ?? "is none")"
    case .userNameTaken(let name): "there is a user \(Self.quoted(name)) already"
    case .unknownUser(let name): "no user is named \(Self.quoted(name))"
    case .tooManyUsers(let limit): "there are \(limit) users already, which is the limit"
    case .permissionsTooLong(let bytes):
      "the names of devices and methods are too many for one key: \(bytes) bytes as JSON, at most \(APIPermissions.longestJSON)"
    }
  }

  private static func quoted(_ text: String) -> String {
    text.utf8.count <= 300 ? "\"\(text)\"" : "\"\(text.prefix(60))…\" (\(text.utf8.count) bytes)"
  }

  /// Converts an error of a database access.
  init(_ error: any Error, path: String) {
    if let error = error as? DeviceStoreError {
      self = error
      return
    }
    // Only the code and SQLite's message, which never contain a value.
    guard let error = error as? DatabaseError else {
      self = .failed(path: path, reason: "\(type(of: error))")
      return
    }
    switch error.resultCode {
    case .SQLITE_NOTADB: self = .notADeviceStore(path: path)
    case .SQLITE_CORRUPT: self = .damaged(path: path)
    case .SQLITE_BUSY, .SQLITE_LOCKED: self = .busy(path: path)
    case .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_AUTH: self = .cannotOpen(path: path, reason: error.words)
    default: self = .failed(path: path, reason: error.words)
    }
  }
}

extension DatabaseError {
  fileprivate var words: String { message ?? "SQLite error \(extendedResultCode.rawValue)" }
}
