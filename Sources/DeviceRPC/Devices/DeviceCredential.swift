internal import Synchronization

/// What a device proves itself with in the handshake of DTLS or TLS, and the device that it is then known as.
public struct DeviceCredential: Sendable, Hashable {
  /// The kind of proof, by which a handshake looks its credential up.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    case preSharedKey = "psk"
    case certificate = "x509"
  }

  public enum Proof: Sendable, Hashable {
    /// A key that both sides know (RFC 4279).
    case preSharedKey(DeviceKey)
    /// A certificate of a CA that the server trusts; with a fingerprint, the SHA-256 of its DER form, that one only.
    case certificate(fingerprint: [UInt8]?)
  }

  /// The name under which the device is called. With one that is none, see `DeviceName`, nobody is let in.
  public let device: String
  /// The PSK identity, `name@project` by Golioth's convention, or the name in the certificate: its first DNS name, or
  /// else its subject's last common name. One that is no name in the sense of `DeviceName` proves nothing.
  public let identity: String
  public let proof: Proof
  /// False for a device that is known and must not connect.
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

/// A pre-shared key. It is never printed, and comparing two takes the same time wherever they differ.
public struct DeviceKey: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// Bytes of the longest key. 64; OpenSSL takes 256 at most, and firmware less.
  public static let longest = 64

  /// The raw bytes: Golioth's firmware takes the characters of the key that it is given as they are.
  public let bytes: [UInt8]

  /// Nil for a key of no bytes, or of more than `longest`.
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

/// Where the credentials of the devices are looked up, and what changes of them is told.
public protocol DeviceCredentials: Sendable {
  /// The credential of an identity, also when it is disabled; nil when there is none.
  ///
  /// Called on the loops' threads, in the middle of a handshake: it must answer from memory.
  func credential(_ kind: DeviceCredential.Kind, identity: String) -> DeviceCredential?

  /// Whether a device of this name has a credential, also a disabled one: then nobody bears its name without that proof.
  ///
  /// Called on the loops' threads like the other.
  func knows(device: String) -> Bool

  /// One element after each change of any credential, or of several at once. Sessions that were opened with what is no
  /// longer so are then closed.
  func changes() -> AsyncStream<Void>
}

/// Credentials that are kept in memory.
public final class InMemoryCredentials: DeviceCredentials {
  private let table = Mutex(CredentialTable())
  // One element stands for all changes that were not looked at yet.
  private let hub = Hub<Void>(buffered: 1)

  public init(_ credentials: some Sequence<DeviceCredential> = []) {
    table.withLock { for credential in credentials { $0.set(credential) } }
  }

  public func credential(_ kind: DeviceCredential.Kind, identity: String) -> DeviceCredential? {
    table.withLock { $0.credential(kind, identity: identity) }
  }

  public func knows(device: String) -> Bool { table.withLock { $0.knows(device: device) } }

  /// Adds a credential, in the place of the one of the same kind and identity.
  public func set(_ credential: DeviceCredential) {
    table.withLock { $0.set(credential) }
    hub.send(())
  }

  public func remove(_ kind: DeviceCredential.Kind, identity: String) {
    table.withLock { $0.remove(kind, identity: identity) }
    hub.send(())
  }

  public func changes() -> AsyncStream<Void> { hub.subscribe() }
}
