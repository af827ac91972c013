internal import DeviceRPC

/// A credential that a request asks for: `{"kind": "psk", "identity": "sensor-1@lab", "key": "…"}`,
/// `{"kind": "x509", "identity": "sensor-1", "fingerprint": "…"}` or `{"kind": "token", "token": "…"}`. Without a key or a token
/// the server makes one.
struct CredentialRequest: Sendable {
  let proof: DeviceCredential.Proof
  /// Nil for the one that the device has, or else its name.
  let identity: String?
  /// The key or token as text, if the server has made it.
  let generated: String?

  /// - Parameter body: nil for a new key.
  init(_ body: RPCValue?) throws(Problem) {
    var members = try Members(body ?? .object(RPCObject()))
    let kinds = DeviceCredential.Kind.allCases.map(\.rawValue)
    guard let kind = DeviceCredential.Kind(rawValue: try members.string("kind") ?? DeviceCredential.Kind.preSharedKey.rawValue) else {
      throw Members.wrong("kind", kinds.joined(separator: " or "))
    }
    let identity = try members.string("identity")
    switch kind {
    case .preSharedKey:
      let text = try members.string("key")
      guard let key = text.map({ DeviceKey($0.utf8) }) ?? .generated() else {
        throw Members.wrong("key", "a text of 1 to \(DeviceKey.longest) bytes")
      }
      self.identity = identity
      proof = .preSharedKey(key)
      generated = text == nil ? String(decoding: key.bytes, as: UTF8.self) : nil
    case .certificate:
      let fingerprint = try members.string("fingerprint")
      let bytes = fingerprint.flatMap { [UInt8](hexadecimal: $0) }
      guard fingerprint == nil || bytes?.count == 32 else {
        throw Members.wrong("fingerprint", "a SHA-256 as 64 hexadecimal digits, with or without colons")
      }
      self.identity = identity
      proof = .certificate(fingerprint: bytes)
      generated = nil
    case .accessToken:
      let text = try members.string("token")
      guard text == nil || identity == nil else { throw Members.wrong("identity", "left out if there is a token") }
      guard identity.map(AccessToken.isDigest) ?? true else {
        throw Members.wrong("identity", "the SHA-256 of the token as 64 hexadecimal digits in lower case")
      }
      guard let token = text.map(AccessToken.init) ?? .generated() else {
        throw Members.wrong("token", "1 to \(AccessToken.longest) visible characters of ASCII without a slash")
      }
      self.identity = identity ?? token.digest
      proof = .accessToken
      generated = text == nil && identity == nil ? token.text : nil
    }
    try members.end()
  }
}
