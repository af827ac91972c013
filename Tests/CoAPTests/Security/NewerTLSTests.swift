import CoAP
import Crypto
import Foundation
import SwiftASN1
import Testing
import X509

/// Devices that speak TLS 1.3 alone.
@Suite(.timeLimit(.minutes(1))) struct NewerTLSTests {
  @Test("A device with a key is let in over TLS 1.3, whether the server has a certificate or not", arguments: [false, true])
  func key(_ hasCertificate: Bool) async throws {
    try await SecureEndpointTests().withSecured(
      cipherSuites: ["PSK-AES128-CCM8"], certificate: hasCertificate ? Self.certificate() : nil
    ) { secured in
      let peer = try KeyedPeer(
        "-tls1_3", to: try #require(secured.address(.coapsTCP)), identity: "sensor-1", key: Array("first-key".utf8))
      // The server's CSM, which it sends when it has the device's Finished.
      #expect(try await peer.receive().dropFirst().first == 0xe1)
    }
  }

  /// One that a server has issued to itself, and trusts.
  private static func certificate() throws -> CoAPCertificate {
    let key = P256.Signing.PrivateKey()
    let subject = try DistinguishedName { CommonName("server") }
    let certificate = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(1), publicKey: .init(key.publicKey),
      notValidBefore: Date(timeIntervalSinceNow: -86_400), notValidAfter: Date(timeIntervalSinceNow: 86_400),
      issuer: subject, subject: subject, extensions: Certificate.Extensions([]), issuerPrivateKey: .init(key))
    let pem = Array(try certificate.serializeAsPEM().pemString.utf8)
    return CoAPCertificate(certificate: pem, key: Array(key.pemRepresentation.utf8), trusted: pem)
  }
}
