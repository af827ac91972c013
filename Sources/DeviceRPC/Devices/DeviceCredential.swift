internal import Synchronization

/// A credential: what a device proves its identity with, and the device that it identifies. Keys and certificates are for the
/// handshake of DTLS or TLS, access tokens for the requests of ThingsBoard's device API.
public struct DeviceCredential: Sendable, Hashable {
  /// The kind of proof; a credential is looked up by its kind and identity.
  public enum Kind: String, Sendable, Hashable, CaseIterable {
    case preSharedKey = "psk"
    case certificate = "x509"
    case accessToken = "token"
  }

  /// The secret or certificate with which a device proves its identity.
  public enum Proof: Sendable, Hashable {
    /// A key that both sides know (RFC 4279).
    case preSharedKey(DeviceKey)
    /// A certificate issued by a CA that the server trusts. With a fingerprint, the SHA-256 of the certificate's DER form, only
    /// that certificate is accepted.
    case certificate(fingerprint: [UInt8]?)
    /// An access token, of which only the digest is kept: it is the identity.
    case accessToken

    public var kind: Kind {
      switch self {
      case .preSharedKey: .preSharedKey
      case .certificate: .certificate
      case .accessToken: .accessToken
      }
    }
  }

  /// The name under which the device is called. If it is not valid, see `DeviceName`, the device cannot connect.
  public let device: String
  /// The PSK identity, `name@project` by Golioth's convention, or the name in the certificate: its first DNS name, or else the
  /// last common name of its subject, or `AccessToken.digest`. An identity that is not valid, see `DeviceName`, is never accepted.
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

  /// The credential of an access token.
  public init(device: String, token: AccessToken, isEnabled: Bool = true) {
    self.init(device: device, identity: token.digest, proof: .accessToken, isEnabled: isEnabled)
  }

  public var kind: Kind { proof.kind }
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

  /// Returns a new random key: 32 hexadecimal digits, with 128 bits from the system's random number generator.
  ///
  /// Firmware uses the digits themselves as the key. 32 bytes is the longest key of Mbed TLS by default (`MBEDTLS_PSK_MAX_LEN`).
  public static func generated() -> DeviceKey {
    let digits = Array("0123456789abcdef".utf8)
    var generator = SystemRandomNumberGenerator()
    guard let key = DeviceKey((0..<32).map { _ in digits[Int(generator.next(upperBound: UInt(16)))] }) else {
      preconditionFailure("32 bytes are a key")
    }
    return key
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
  /// Called on the threads of the loops during a handshake, and for each request with an access token, so it must answer from
  /// memory and never block.
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

extension Sequence<UInt8> {
  /// `7D:00:AE:…`, as OpenSSL prints fingerprints.
  package var hexadecimal: String {
    map { ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true) }.joined(separator: ":")
  }
}

extension [UInt8] {
  /// The bytes of a fingerprint as text: pairs of hexadecimal digits, with or without colons between them. Nil for anything else.
  package init?(hexadecimal text: String) {
    self.init()
    var rest = Substring(text)
    while !rest.isEmpty {
      guard rest.utf8.count >= 2, rest.prefix(2).allSatisfy(\.isHexDigit), let byte = UInt8(rest.prefix(2), radix: 16) else {
        return nil
      }
      append(byte)
      rest = rest.dropFirst(2)
      if rest.first == ":", rest.utf8.count > 1 { rest.removeFirst() }
    }
  }
}
