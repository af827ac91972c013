import AsyncHTTPClient
import Crypto
import DeviceRPC
import DeviceRPCTesting
import Foundation
import NIOSSL
import SwiftASN1
import Testing
import X509

@testable import DeviceRPCHTTP

/// HTTPS with a certificate of the test's own.
@Suite(.timeLimit(.minutes(1))) struct TLSTests {
  /// The files of a certificate for `localhost`, and of a key that is not its own.
  private struct Files {
    let directory: URL
    var certificate: String { directory.appendingPathComponent("server.pem").path }
    var key: String { directory.appendingPathComponent("server.key").path }
    var otherKey: String { directory.appendingPathComponent("other.key").path }
    var tls: HTTPConfiguration.TLS { HTTPConfiguration.TLS(certificate: certificate, key: key) }
  }

  private func withFiles(_ body: (Files) async throws -> Void) async throws {
    let files = Files(directory: FileManager.default.temporaryDirectory.appendingPathComponent("device-rpc-\(UUID())"))
    try FileManager.default.createDirectory(at: files.directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: files.directory) }
    let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
    let name = try DistinguishedName { CommonName("localhost") }
    let certificate = try Certificate(
      version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: key.publicKey, notValidBefore: Date() - 60,
      notValidAfter: Date() + 3_600, issuer: name, subject: name, signatureAlgorithm: .ecdsaWithSHA256,
      extensions: try Certificate.Extensions {
        Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
        SubjectAlternativeNames([.dnsName("localhost")])
      }, issuerPrivateKey: key)
    try certificate.serializeAsPEM().pemString.write(toFile: files.certificate, atomically: true, encoding: .utf8)
    try key.serializeAsPEM().pemString.write(toFile: files.key, atomically: true, encoding: .utf8)
    try Certificate.PrivateKey(P256.Signing.PrivateKey()).serializeAsPEM().pemString
      .write(toFile: files.otherKey, atomically: true, encoding: .utf8)
    try await body(files)
  }

  /// Asks with a client that trusts the certificates of a file and no others; nil for those of the system.
  private func status(_ url: String, trusting file: String?) async throws -> UInt {
    var tls = TLSConfiguration.makeClientConfiguration()
    if let file { tls.trustRoots = .file(file) }
    var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
    configuration.connectionPool.retryConnectionEstablishment = false
    return try await HTTPClient.withHTTPClient(configuration: configuration) { client in
      let response = try await client.execute(HTTPClientRequest(url: url + "/healthz"), timeout: .seconds(20))
      return response.status.code
    }
  }

  @Test func `a client that checks the certificate is answered, and plain HTTP does no harm`() async throws {
    try await withFiles { files in
      try await withServer(EventCaller(), clock: ManualClock(), configure: { $0.tls = files.tls }) { url, _, _ in
        #expect(url.hasPrefix("https://127.0.0.1:"))
        let port = try #require(Int(url.split(separator: ":").last ?? ""))
        let named = "https://localhost:\(port)"
        #expect(try await status(named, trusting: files.certificate) == 200)
        // It is not trusted by others, and not valid for another name.
        await #expect(throws: (any Error).self) { try await status(named, trusting: nil) }
        await #expect(throws: (any Error).self) { try await status(url, trusting: files.certificate) }
        for text in ["GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", String(repeating: "\u{0}", count: 10_000), "\u{16}\u{3}\u{1}"] {
          let socket = try LiveSocket(port: port)
          try socket.send(text)
          if text.utf8.count > 3 { #expect(!String(decoding: await socket.rest(), as: UTF8.self).hasPrefix("HTTP/")) }
        }
        #expect(try await status(named, trusting: files.certificate) == 200)
      }
    }
  }

  @Test func `a key or certificate that cannot be used is told, and the server does not start`() async throws {
    try await withFiles { files in
      let missing = files.directory.appendingPathComponent("missing").path
      for (certificate, key) in [
        (files.certificate, files.otherKey), (files.certificate, files.certificate), (files.certificate, missing), (missing, files.key),
        (files.key, files.key),
      ] {
        let configuration = HTTPConfiguration(port: 0, tls: .init(certificate: certificate, key: key))
        let server = DeviceRPCHTTPServer(EventCaller(), configuration: configuration, logger: silentLog)
        let checked = await #expect(throws: HTTPStartError.self) { try await server.check() }
        let run = await #expect(throws: HTTPStartError.self) { try await server.run() }
        for case let error? in [checked, run] {
          guard case .certificate(let reason) = error else {
            Issue.record("\(error)")
            continue
          }
          #expect(reason.contains(certificate))
        }
      }
    }
  }
}
