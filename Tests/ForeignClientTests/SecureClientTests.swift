import DeviceRPC
import DeviceRPCCoAP
import Testing

/// Devices over DTLS, TCP and TLS, with libcoap's `coap-client`.
@Suite(.timeLimit(.minutes(2))) struct SecureClientTests {
  /// Who a client says it is.
  enum Proof: Sendable { case none, preSharedKey, certificate }

  static let preSharedKey = ["-u", "sensor-1@lab", "-k", "first-key"]

  private static func withServer(
    _ proof: Proof, _ body: (SecureServer, _ options: [String]) async throws -> Void
  ) async throws {
    try await withCertificates { certificates in
      let options =
        switch proof {
        case .none: [String]()
        case .preSharedKey: preSharedKey
        case .certificate: try await certificates.device()
        }
      try await withSecureServer(certificates.server) { try await body($0, options) }
    }
  }

  @Test(
    "A call is read from one coap-client and answered with another",
    arguments: [
      (CoAPConfiguration.Transport.dtls, Proof.preSharedKey), (.dtls, .certificate), (.tcp, .none),
      (.tls, .preSharedKey), (.tls, .certificate),
    ])
  func call(_ transport: CoAPConfiguration.Transport, _ proof: Proof) async throws {
    try await Self.withServer(proof) { server, options in
      let name = SecureServer.device(over: transport)
      let uri = try server.uri(transport, proof == .none ? "/.rpc?ep=\(name)" : "/.rpc")
      try await CoAPClient.observing(at: uri, .json, options) { client in
        // The one that answers has a session of its own, of the same device: only an observation takes the place of one.
        for id in ["74e4", "74e5"] {
          try await server.callAnswers(transport, to: client, with: options, id: id)
        }
        #expect(await server.server.devices().map(\.name) == [name])
      }
      #expect(server.log.lines == [])
    }
  }

  @Test("A device that observes anew takes the place of its former self at once")
  func anew() async throws {
    try await withSecureServer { server in
      let uri = try server.uri(.dtls, "/.rpc")
      try await CoAPClient.observing(at: uri, .json, Self.preSharedKey) { _ in
        try await CoAPClient.observing(at: uri, .json, Self.preSharedKey) { client in
          try await server.callAnswers(to: client, with: Self.preSharedKey)
          #expect(await server.server.onlineDevices() == 1)
        }
      }
    }
  }

  @Test(
    "A device is known by the common name of its certificate, whatever else is in the subject",
    arguments: [("sensor-1", "CN=pump"), ("a/b", "lab"), ("pümpe", "lab")])
  func commonName(_ name: String, _ project: String) async throws {
    try await withCertificates { certificates in
      let options = try await certificates.device(name, "--project", project)
      try await withSecureServer(certificates.server) { server in
        for name in [name, "pump"] { server.credentials.set(.withCertificate(name)) }
        try await CoAPClient.observing(at: server.uri(.dtls, "/.rpc"), .json, options) { _ in
          #expect(await server.server.devices().map(\.name) == [name])
        }
        #expect(server.log.lines == [])
      }
    }
  }
}
