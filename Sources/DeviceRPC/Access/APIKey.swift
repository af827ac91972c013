// Access: API keys of back ends and access tokens of devices: their texts, what a key may do, and where they are looked up.
// Front doors check keys, of which only digests are stored; the doors of devices look tokens up here.

public import FoundationEssentials

/// An API key, with which a back end calls devices over HTTP. It contains a digest of the secret, not the secret.
public struct APIKey: Sendable, Hashable, Identifiable {
  /// The public part of the key's text, by which it is looked up; see `APIKeyText`.
  public let id: String
  /// The name for people, unique among the keys; it follows the rules of `DeviceName`.
  public let name: String
  /// The SHA-256 of `APIKeyText.secret`, 32 bytes. A digest of another length matches no key.
  public let digest: [UInt8]
  public let created: Date
  /// The time from which the key is refused; nil if it never expires.
  public let expires: Date?
  public let permissions: APIPermissions

  public init(
    id: String, name: String, digest: [UInt8], created: Date, expires: Date? = nil, permissions: APIPermissions = .standard
  ) {
    self.id = id
    self.name = name
    self.digest = digest
    self.created = created
    self.expires = expires
    self.permissions = permissions
  }

  /// Returns whether the key is refused at a time because it has expired.
  public func isExpired(at time: Date) -> Bool { expires.map { time >= $0 } ?? false }

  /// Returns whether this is the digest of the key's secret. The comparison takes the same time for any digest of 32 bytes.
  public func matches(digest other: some Collection<UInt8>) -> Bool {
    guard digest.count == 32, other.count == 32 else { return false }
    return zip(digest, other).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }
}
