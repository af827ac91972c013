import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Which cipher suites devices may come with, seen by `openssl s_client`.
@Suite(.timeLimit(.minutes(2))) struct CipherSuiteTests {
  typealias CipherSuite = DeviceSecurity.CipherSuite

  @Test(
    "Each cipher suite of the default is enough alone", arguments: CipherSuite.allCases,
    [CoAPConfiguration.Transport.dtls, .tls])
  func alone(_ suite: CipherSuite, _ transport: CoAPConfiguration.Transport) async throws {
    try await withSecureServer { server in
      let agreed = try await Self.agreed([suite], transport, server)
      #expect(agreed == suite.openSSLName)
      #expect(server.log.lines == [])
    }
  }

  @Test(
    "Of several the first of the default is taken, whatever the device prefers",
    arguments: [CoAPConfiguration.Transport.dtls, .tls])
  func preference(_ transport: CoAPConfiguration.Transport) async throws {
    try await withSecureServer { server in
      var suites = CipherSuite.allCases
      while let best = suites.first {
        let agreed = try await Self.agreed(suites.reversed(), transport, server)
        #expect(agreed == best.openSSLName)
        suites.removeFirst()
      }
    }
  }

  @Test(
    "A device whose cipher suites are not in the list is refused, with the reason in the log",
    arguments: [CoAPConfiguration.Transport.dtls, .tls])
  func refused(_ transport: CoAPConfiguration.Transport) async throws {
    let all = CipherSuite.allCases.filter { $0 != .pskAES128CBCSHA256 }
    try await withSecureServer(cipherSuites: all) { server in
      let refused = try await Self.agreed([.pskAES128CBCSHA256], transport, server)
      #expect(refused == "(NONE)")
      let line = try await server.log.next("connection refused")
      #expect(line.metadata["reason"] == "it offers no cipher suite that the server takes")
      let agreed = try await Self.agreed([.pskAES128GCMSHA256], transport, server)
      #expect(agreed == "PSK-AES128-GCM-SHA256")
    }
  }

  @Test("A certificate needs no cipher suite of the list", arguments: [CoAPConfiguration.Transport.dtls, .tls])
  func certificate(_ transport: CoAPConfiguration.Transport) async throws {
    try await withCertificates { certificates in
      let options = try await certificates.device()
      try await withSecureServer(certificates.server, cipherSuites: []) { server in
        try await CoAPClient.observing(at: server.uri(transport, "/.rpc"), .json, options) { _ in
          #expect(await server.server.devices().map(\.name) == ["sensor-1"])
        }
      }
    }
  }

  /// OpenSSL's name of the suite of a handshake in which these are offered, the first one preferred.
  static func agreed(
    _ suites: [CipherSuite], _ transport: CoAPConfiguration.Transport, _ server: SecureServer
  ) async throws -> String {
    // A client of OpenSSL 3.2 or later does not offer those with short tags by itself.
    let list = suites.map(\.openSSLName).joined(separator: ":") + ":@SECLEVEL=0"
    let options = [transport == .dtls ? "-dtls1_2" : "-tls1_2", "-cipher", list]
    return try await OpenSSL.attempting(options, transport, server) { client in
      String(try await client.line(with: "New, ").split(separator: " ").last ?? "")
    }
  }
}

/// `openssl s_client` as sensor-1, which tells on standard output what has been agreed on.
enum OpenSSL {
  static func attempting<Result>(
    _ options: [String], key: String = "first-key", _ transport: CoAPConfiguration.Transport, _ server: SecureServer,
    _ body: (ForeignProcess) async throws -> Result
  ) async throws -> Result {
    let address = try server.uri(transport).split(separator: "/").last.map(String.init) ?? ""
    let hex = key.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    return try await withProcess(
      "/usr/bin/openssl",
      ["s_client", "-connect", address, "-psk_identity", "sensor-1@lab", "-psk", hex] + options, body)
  }
}

/// Devices that speak TLS 1.3 alone, and are not let in.
@Suite(.timeLimit(.minutes(2))) struct NewerTLSTests {
  @Test("A wrong key over TLS 1.3 is told as that", arguments: [false, true])
  func wrongKey(_ hasCertificate: Bool) async throws {
    try await withCertificates { certificates in
      try await withSecureServer(hasCertificate ? certificates.server : nil) { server in
        try await OpenSSL.attempting(["-tls1_3"], key: "another", .tls, server) { _ in
          let line = try await server.log.next("connection refused")
          #expect(line.metadata["reason"] == "its key is not the one of this identity")
          #expect(line.metadata["identity"] == "sensor-1@lab")
        }
      }
    }
  }

  @Test("A key that cannot be used with the only cipher suite of TLS 1.3 is not told to be wrong", arguments: [false, true])
  func suite(_ hasCertificate: Bool) async throws {
    try await withCertificates { certificates in
      try await withSecureServer(hasCertificate ? certificates.server : nil) { server in
        try await OpenSSL.attempting(["-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"], .tls, server) { _ in
          let line = try await server.log.next("connection refused")
          #expect(line.metadata["reason"] == "its key cannot be used with the cipher suites of TLS 1.3 that it offers")
        }
      }
    }
  }
}
