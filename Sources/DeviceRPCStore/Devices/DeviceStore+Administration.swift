public import DeviceRPC
internal import Foundation

extension DeviceStore: DeviceAdministration {
  public func registeredDevices() async throws(DeviceAdministrationError) -> [RegisteredDevice] {
    try await translated { store throws(DeviceStoreError) in try await store.devices() }
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
  public func register(_ name: String) async throws(DeviceAdministrationError) -> RegisteredDevice {
    try await translated { store throws(DeviceStoreError) in try await store.add(name) }
  }

  @discardableResult
  public func setCredential(
    _ proof: DeviceCredential.Proof, identity: String?, of name: String
  ) async throws(DeviceAdministrationError) -> RegisteredDevice {
    try await translated { store throws(DeviceStoreError) in try await store.set(proof, identity: identity, of: name) }
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

  private func translated<Value: Sendable>(
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
      case .deviceExists(let name): .exists(name)
      case .identityTaken(let identity, _): .identityTaken(identity)
      case .invalidName, .invalidIdentity, .invalidFingerprint: .invalid("\(error)")
      case .missing, .cannotOpen, .notPrivate, .notADeviceStore, .newer, .damaged, .busy, .failed, .hasCredential, .noCredential,
        .invalidKeyName, .keyNameTaken, .unknownKey, .tooManyKeys, .permissionsTooLong:
        .failed("\(error)")
      }
  }
}
