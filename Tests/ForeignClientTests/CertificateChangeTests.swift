import DeviceRPC
import DeviceRPCCoAP
import Testing

/// The files of the server's certificate are replaced while it runs.
@Suite(.timeLimit(.minutes(2))) struct CertificateChangeTests {
  @Test(
    "New files are used for the next handshake, and sessions go on",
    arguments: [CoAPConfiguration.Transport.dtls, .tls])
  func change(_ transport: CoAPConfiguration.Transport) async throws {
    try await withCertificates { certificates in
      try await withCertificates { others in
        let old = try await certificates.device()
        let new = try await others.device()
        try await withSecureServer(certificates.server, certificateInterval: .milliseconds(20)) { server in
          let uri = try server.uri(transport, "/.rpc")
          try await CoAPClient.observing(at: uri, .json, old) { client in
            // The server may look at any moment. The certificate comes last: before that nothing fits together.
            try certificates.take([\.key, \.trusted, \.certificate], from: others)
            let line = try await server.log.next("new certificate in use")
            #expect(line.metadata == ["file": certificates.server.certificate])
            // The old session goes on, and clients that trust nothing but the new CA are welcome.
            try await server.callAnswers(transport, to: client, with: new)
          }
          try await CoAPClient.observing(at: uri, .json, new) { client in
            try await server.callAnswers(transport, to: client, with: new, id: "74e5")
          }
          // Whom the new files do not name is trusted no more.
          try await CoAPClient.attempting(at: uri, old.dropLast() + ["\(others.folder)/ca.pem"]) { _ in
            let line = try await server.log.next("connection refused")
            #expect(line.metadata["reason"] == "its certificate is not of a CA that is trusted")
          }
        }
      }
    }
  }

  @Test("Files that do not fit together are not used, and the old ones stay")
  func mismatch() async throws {
    try await withCertificates { certificates in
      try await withCertificates { others in
        let options = try await certificates.device()
        try await withSecureServer(certificates.server, certificateInterval: .milliseconds(20)) { server in
          try certificates.take([\.key], from: others)
          let line = try await server.log.next("the new certificate is not used")
          #expect(line.level == .error)
          #expect(line.metadata["reason"]?.contains("server.key is not the private key of") == true)
          try await CoAPClient.observing(at: server.uri(.dtls, "/.rpc"), .json, options) { client in
            try await server.callAnswers(to: client, with: options)
          }
        }
      }
    }
  }
}
