public import FoundationEssentials

/// A registry of the devices that may connect, for a front door that changes it: what `device-rpc devices` does on the command
/// line.
///
/// A change is permanent and in force when the method that makes it returns; the sessions of a device that may not connect any
/// more are closed. Names, identities and keys follow the rules of `DeviceName` and `DeviceKey`.
public protocol DeviceAdministration: Sendable {
  /// All devices, sorted by name.
  func registeredDevices() async throws(DeviceAdministrationError) -> [RegisteredDevice]

  /// The device of that name; nil when there is none.
  func registeredDevice(_ name: String) async throws(DeviceAdministrationError) -> RegisteredDevice?

  /// What a device proves its identity with, keys included; empty for a device without credentials.
  ///
  /// - Throws: `unknownDevice`, `failed`.
  func credentials(of name: String) async throws(DeviceAdministrationError) -> [DeviceCredential]

  /// Adds a device without credentials.
  ///
  /// - Throws: `exists`, `invalid`, `failed`.
  @discardableResult
  func register(_ name: String) async throws(DeviceAdministrationError) -> RegisteredDevice

  /// Gives a device a credential, in place of the one of the same kind if it has one.
  ///
  /// - Parameters:
  ///   - proof: The key, or what a certificate must be.
  ///   - identity: The PSK identity, or the name in the certificate. Nil for the current one; without a current one it is the name
  ///     of the device.
  ///   - name: The name of the device.
  /// - Throws: `unknownDevice`, `identityTaken`, `invalid`, `failed`.
  @discardableResult
  func setCredential(
    _ proof: DeviceCredential.Proof, identity: String?, of name: String
  ) async throws(DeviceAdministrationError) -> RegisteredDevice

  /// Sets whether a device may connect.
  ///
  /// - Throws: `unknownDevice`, `failed`.
  @discardableResult
  func setEnabled(_ isEnabled: Bool, device name: String) async throws(DeviceAdministrationError) -> RegisteredDevice

  /// Removes a device and its credentials.
  ///
  /// - Throws: `unknownDevice`, `failed`.
  func unregister(_ name: String) async throws(DeviceAdministrationError)
}

/// A device of a registry, without its keys.
public struct RegisteredDevice: Sendable, Hashable {
  /// A credential, without the key.
  public struct Credential: Sendable, Hashable {
    public let kind: DeviceCredential.Kind
    /// The PSK identity, or the name in the certificate: its first DNS name, or else the last common name of its subject.
    public let identity: String
    /// The SHA-256 of the DER form of the only certificate that is accepted. Nil for a key, and if any certificate with that name
    /// is accepted.
    public let fingerprint: [UInt8]?
    public let created: Date
    /// When the key or the fingerprint was last replaced; nil if never.
    public let rotated: Date?

    public init(
      kind: DeviceCredential.Kind, identity: String, fingerprint: [UInt8]? = nil, created: Date, rotated: Date? = nil
    ) {
      self.kind = kind
      self.identity = identity
      self.fingerprint = fingerprint
      self.created = created
      self.rotated = rotated
    }
  }

  public let name: String
  /// False for a device that must not connect.
  public let isEnabled: Bool
  public let created: Date
  /// Nil for a device that has never connected.
  public let lastSeen: Date?
  /// The credentials: at most one of each kind, the key first.
  public let credentials: [Credential]

  public init(
    name: String, isEnabled: Bool = true, created: Date, lastSeen: Date? = nil, credentials: [Credential] = []
  ) {
    self.name = name
    self.isEnabled = isEnabled
    self.created = created
    self.lastSeen = lastSeen
    self.credentials = credentials
  }
}

/// Why a registry of devices could not do what was asked for. It never contains a key.
public enum DeviceAdministrationError: Error, Sendable, Hashable {
  /// There is no device of that name.
  case unknownDevice(String)
  /// There is a device of that name already.
  case exists(String)
  /// Another device has that identity.
  case identityTaken(String)
  /// A name, an identity or a fingerprint is not valid, for this reason.
  case invalid(String)
  /// The registry could not be read or written. The reason is for the operator, and may name files.
  case failed(String)
}

extension DeviceAdministrationError: CustomStringConvertible {
  /// One line for people.
  public var description: String {
    switch self {
    case .unknownDevice(let name): "no device is named \"\(name)\""
    case .exists(let name): "there is a device \"\(name)\" already"
    case .identityTaken(let identity): "the identity \"\(identity)\" is that of another device"
    case .invalid(let reason), .failed(let reason): reason
    }
  }
}
