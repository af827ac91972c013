public import DeviceRPC

/// A stored device, without its keys.
public typealias StoredDevice = RegisteredDevice
/// A stored credential, without the key.
public typealias StoredCredential = RegisteredDevice.Credential
