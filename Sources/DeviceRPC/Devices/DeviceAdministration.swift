public import FoundationEssentials

/// A registry of the devices that may connect, for a front door that changes it: what `device-rpc devices` does on the command
/// line.
///
/// A change is permanent and in force when the method that makes it returns; the sessions of a device that may not connect any
/// more are closed. Names, identities and keys follow the rules of `DeviceName` and `DeviceKey`.
public protocol DeviceAdministration: Sendable {
  /// The devices whose names begin with a text, sorted by name.
  ///
  /// - Parameters:
  ///   - prefix: the text; empty for all devices.
  ///   - after: only devices whose names come after this one; nil for the first ones.
  ///   - limit: how many at most.
  func registeredDevices(
    prefix: String, after: String?, limit: Int
  ) async throws(DeviceAdministrationError) -> [RegisteredDevice]

  /// The device of that name; nil when there is none.
  func registeredDevice(_ name: String) async throws(DeviceAdministrationError) -> RegisteredDevice?

  /// What a device proves its identity with, keys included; empty for a device without credentials.
  ///
  /// - Throws: `unknownDevice`, `failed`.
  func credentials(of name: String) async throws(DeviceAdministrationError) -> [DeviceCredential]

  /// Adds a device, unless there is one of that name, and gives it a credential that it lacks. Both is done, or neither.
  ///
  /// The same request may be made again: a device that has the very same credential stays as it is.
  ///
  /// - Parameters:
  ///   - name: The name of the device.
  ///   - proof: The key, or what a certificate must be; nil for no credential.
  ///   - identity: The PSK identity, or the name in the certificate. Nil for the current one; without a current one it is the name
  ///     of the device. An access token needs its digest.
  /// - Returns: The device, and whether it was added.
  /// - Throws: `hasCredential`, `identityTaken`, `invalid`, `failed`.
  @discardableResult
  func register(
    _ name: String, _ proof: DeviceCredential.Proof?, identity: String?
  ) async throws(DeviceAdministrationError) -> (device: RegisteredDevice, isNew: Bool)

  /// Gives a device a credential.
  ///
  /// - Parameters:
  ///   - proof: The key, or what a certificate must be.
  ///   - identity: The PSK identity, or the name in the certificate. Nil for the current one; without a current one it is the name
  ///     of the device. An access token needs its digest.
  ///   - name: The name of the device.
  ///   - change: What the credential may be in place of.
  /// - Throws: `unknownDevice`, `hasCredential`, `noCredential`, `identityTaken`, `invalid`, `failed`.
  @discardableResult
  func setCredential(
    _ proof: DeviceCredential.Proof, identity: String?, of name: String, _ change: CredentialChange
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

extension DeviceAdministration {
  /// All devices, sorted by name.
  public func registeredDevices() async throws(DeviceAdministrationError) -> [RegisteredDevice] {
    try await registeredDevices(prefix: "", after: nil, limit: .max)
  }

  /// Adds a device without credentials.
  ///
  /// - Throws: `exists`, `invalid`, `failed`.
  @discardableResult
  public func register(_ name: String) async throws(DeviceAdministrationError) -> RegisteredDevice {
    let (device, isNew) = try await register(name, nil, identity: nil)
    guard isNew else { throw .exists(name) }
    return device
  }
}

/// What a credential of a device may be in place of. Credentials of the other kind do not matter.
public enum CredentialChange: Sendable, Hashable {
  /// Nothing: the device must not have one of that kind, unless it is the very same.
  case add
  /// The one of that kind, which the device must have.
  case rotate
  /// The one of that kind, if the device has one.
  case set
}

/// A device of a registry, without its keys.
public struct RegisteredDevice: Sendable, Hashable {
  /// A credential, without the key.
  public struct Credential: Sendable, Hashable {
    public let kind: DeviceCredential.Kind
    /// The PSK identity, or the name in the certificate: its first DNS name, or else the last common name of its subject. Of an
    /// access token it is the digest.
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
  /// The device has another credential of that kind.
  case hasCredential(device: String, DeviceCredential.Kind)
  /// The device has no credential of that kind.
  case noCredential(device: String, DeviceCredential.Kind)
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
    case .hasCredential(let device, let kind): "\"\(device)\" has \(kind.phrase) already"
    case .noCredential(let device, let kind): "\"\(device)\" does not have \(kind.phrase)"
    case .identityTaken(let identity): "the identity \"\(identity)\" is that of another device"
    case .invalid(let reason), .failed(let reason): reason
    }
  }
}

extension DeviceCredential.Kind {
  /// `a key`, `a certificate`.
  package var phrase: String {
    switch self {
    case .preSharedKey: "a key"
    case .certificate: "a certificate"
    case .accessToken: "an access token"
    }
  }
}
