public import DeviceRPC
internal import Foundation

extension DeviceStore: DeviceAdministration {
  public func registeredDevices(
    prefix: String, after: String?, limit: Int
  ) async throws(DeviceAdministrationError) -> [RegisteredDevice] {
    try await translated { store throws(DeviceStoreError) in
      try await store.devices(prefix: prefix, after: after, limit: limit)
    }
  }

  public func registeredDevice(_ name: String) async throws(DeviceAdministrationError) -> RegisteredDevice? {
    try await translated { store throws(DeviceStoreError) in try await store.device(name) }
  }

  public func credentials(of name: String) async throws(DeviceAdministrationError) -> [DeviceCredential] {
    guard let device = try await registeredDevice(name) else { throw .unknownDevice(name) }
    // A credential of another device: one that has changed hands since the device was read.
    return device.credentials.compactMap { credential($0.kind, identity: $0.identity) }.filter { $0.device == name }
  }

  @discardableResult
  public func register(
    _ name: String, _ proof: DeviceCredential.Proof?, identity: String?
  ) async throws(DeviceAdministrationError) -> (device: RegisteredDevice, isNew: Bool) {
    try await translated { store throws(DeviceStoreError) in try await store.insert(name, proof, identity: identity) }
  }

  @discardableResult
  public func setCredential(
    _ proof: DeviceCredential.Proof, identity: String?, of name: String, _ change: CredentialChange
  ) async throws(DeviceAdministrationError) -> RegisteredDevice {
    try await translated { store throws(DeviceStoreError) in
      try await store.put(proof, identity: identity, of: name, change)
    }
  }

  @discardableResult
  public func setEnabled(
    _ isEnabled: Bool, device name: String
  ) async throws(DeviceAdministrationError) -> RegisteredDevice {
    try await translated { store throws(DeviceStoreError) in try await store.setEnabled(isEnabled, name) }
  }

  public func unregister(_ name: String) async throws(DeviceAdministrationError) {
    try await translated { store throws(DeviceStoreError) in try await store.remove(name) }
  }

  /// What `body` returns; its errors are those of any registry.
  func translated<Value: Sendable>(
    _ body: @Sendable (DeviceStore) async throws(DeviceStoreError) -> Value
  ) async throws(DeviceAdministrationError) -> Value {
    do {
      return try await body(self)
    } catch {
      throw DeviceAdministrationError(error)
    }
  }
}

extension DeviceAdministrationError {
  init(_ error: DeviceStoreError) {
    self =
      switch error {
      case .unknownDevice(let name): .unknownDevice(name)
      case .hasCredential(let device, let kind): .hasCredential(device: device, kind)
      case .noCredential(let device, let kind): .noCredential(device: device, kind)
      case .identityTaken(let identity, _): .identityTaken(identity)
      case .invalidName, .invalidIdentity, .invalidFingerprint: .invalid("\(error)")
      case .missing, .cannotOpen, .notPrivate, .notADeviceStore, .notAJournal, .newer, .damaged, .busy, .failed,
        .invalidKeyName, .keyNameTaken, .unknownKey, .tooManyKeys, .permissionsTooLong, .invalidUserName, .userNameTaken, .unknownUser,
        .tooManyUsers:
        .failed("\(error)")
      }
  }
}
