internal import Synchronization

/// A credential: what a device proves its identity with in the handshake of DTLS or TLS, and the device that it identifies.
public struct DeviceCredential: Sendable, Hashable {
  /// The kind of proof; a handshake looks up a credential by its kind and identity.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    case preSharedKey = "psk"
    case certificate = "x509"
  }

  /// The secret or certificate with which a device proves its identity.
  public enum Proof: Sendable, Hashable {
    /// A key that both sides know (RFC 4279).
    case preSharedKey(DeviceKey)
    /// A certificate issued by a CA that the server trusts. With a fingerprint, the SHA-256 of the certificate's DER form, only
    /// that certificate is accepted.
    case certificate(fingerprint: [UInt8]?)
  }

  /// The name under which the device is called. If it is not valid, see `DeviceName`, the device cannot connect.
  public let device: String
  /// The PSK identity, `name@project` by Golioth's convention, or the name in the certificate: its first DNS name, or else the
  /// last common name of its subject. An identity that is not valid, see `DeviceName`, is never accepted.
  public let identity: String
  public let proof: Proof
  /// False for a device that is known but must not connect.
  public let isEnabled: Bool

  public init(device: String, identity: String, proof: Proof, isEnabled: Bool = true) {
    self.device = device
    self.identity = identity
    self.proof = proof
    self.isEnabled = isEnabled
  }

  public var kind: Kind {
    switch proof {
    case .preSharedKey: .preSharedKey
    case .certificate: .certificate
    }
  }
}

/// A pre-shared key. It is never printed, and comparing two keys of one length takes constant time.
public struct DeviceKey: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// The length of the longest key: 64 bytes. OpenSSL takes 256 at most, and firmware takes fewer.
  public static let longest = 64

  /// The raw bytes. Golioth's firmware uses the characters of its configured key directly, without decoding them.
  public let bytes: [UInt8]

  /// Creates a key; nil if it is empty or longer than `longest`.
  public init?(_ bytes: some Collection<UInt8>) {
    guard (1...Self.longest).contains(bytes.count) else { return nil }
    self.bytes = Array(bytes)
  }

  public static func == (left: DeviceKey, right: DeviceKey) -> Bool {
    guard left.bytes.count == right.bytes.count else { return false }
    return zip(left.bytes, right.bytes).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }

  public var description: String { "(a key of \(bytes.count) bytes)" }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: []) }
}

/// A source of the devices' credentials, which also reports changes.
public protocol DeviceCredentials: Sendable {
  /// Returns the credential of an identity, also a disabled one; nil when there is none.
  ///
  /// Called on the threads of the loops during a handshake, so it must answer from memory and never block.
  func credential(_ kind: DeviceCredential.Kind, identity: String) -> DeviceCredential?

  /// Returns whether a device of this name has a credential, also a disabled one. If so, nobody can use its name without proof.
  ///
  /// Called on the threads of the loops, like `credential(_:identity:)`.
  func knows(device: String) -> Bool

  /// Returns a stream with an element after each change of one or more credentials. The server then closes the sessions whose
  /// credentials are no longer valid.
  func changes() -> AsyncStream<Void>
}

/// Credentials that are kept in memory.
public final class InMemoryCredentials: DeviceCredentials {
  private let table = Mutex(CredentialTable())
  // A buffer of one, since one element is enough for any number of changes that were not handled yet.
  private let hub = Hub<Void>(buffered: 1)

  public init(_ credentials: some Sequence<DeviceCredential> = []) {
    table.withLock { for credential in credentials { $0.set(credential) } }
  }

  public func credential(_ kind: DeviceCredential.Kind, identity: String) -> DeviceCredential? {
    table.withLock { $0.credential(kind, identity: identity) }
  }

  public func knows(device: String) -> Bool { table.withLock { $0.knows(device: device) } }

  /// Adds a credential; it replaces the one of the same kind and identity.
  public func set(_ credential: DeviceCredential) {
    table.withLock { $0.set(credential) }
    hub.send(())
  }

  /// Removes a credential; does nothing if there is none.
  public func remove(_ kind: DeviceCredential.Kind, identity: String) {
    table.withLock { $0.remove(kind, identity: identity) }
    hub.send(())
  }

  public func changes() -> AsyncStream<Void> { hub.subscribe() }
}
