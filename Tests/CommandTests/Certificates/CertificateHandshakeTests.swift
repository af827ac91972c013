import Foundation
import Testing

/// The issued files in libcoap's own programs, which shake hands over DTLS. Its server takes expired certificates too, so
/// that these are no matter for it.
@Suite(.timeLimit(.minutes(1))) struct CertificateHandshakeTests {
  /// How the answer of libcoap's server begins.
  private static let greeting = "This is a test server made with libcoap"

  @Test func `Server and device know each other by their certificates`() async throws {
    try await withServer { here, uri in
      try await here.make("issue", "device", "sensor-1")
      let answer = try await request(uri, as: "sensor-1", of: here, trusting: here)
      #expect(answer.output.contains { $0.hasPrefix(Self.greeting) }, "\(answer.output)")
    }
  }

  @Test func `A device of another CA gets no answer`() async throws {
    try await withServer { here, uri in
      try await withCertificates { other in
        try await other.make("init")
        try await other.make("issue", "device", "sensor-1")
        let foreign = try await request(uri, as: "sensor-1", of: other, trusting: here)
        #expect(foreign.output.contains { $0.contains("unknown CA") })
        #expect(!foreign.output.contains { $0.hasPrefix(Self.greeting) })
      }
    }
  }

  @Test func `A device does not talk to a server of another CA`() async throws {
    try await withServer { here, uri in
      try await here.make("issue", "device", "sensor-1")
      try await withCertificates { other in
        try await other.make("init")
        let answer = try await request(uri, as: "sensor-1", of: here, trusting: other)
        #expect(answer.output.contains { $0.contains("Unknown CA") })
        #expect(!answer.output.contains { $0.hasPrefix(Self.greeting) })
      }
    }
  }

  /// libcoap's client with the certificate of a device; what it logs comes with its output.
  private func request(
    _ uri: String, as device: String, of owner: Certificates, trusting: Certificates
  ) async throws -> Finished {
    let finished = try await run(
      program: "coap-client-openssl",
      [
        "-w", "-B", "10", "-c", owner.path("\(device).pem"), "-j", owner.path("\(device).key"), "-C",
        trusting.path("ca.pem"), uri,
      ])
    return Finished(output: finished.output + finished.error, error: [], code: finished.code)
  }

  /// libcoap's server with a new CA and the certificate that it has issued for an address.
  private func withServer(_ body: (Certificates, _ uri: String) async throws -> Void) async throws {
    // The server cannot be given port 0. The whole of 127/8 is this machine, so an address that nobody else has will do,
    // and the port lies below those that the system chooses.
    let address = "127.\(Int.random(in: 1...254)).\(Int.random(in: 0...255)).\(Int.random(in: 1...254))"
    let port = Int.random(in: 20_000..<32_000)
    try await withCertificates { here in
      try await here.make("init")
      try await here.make("issue", "server", "--host", address)
      let server = try RunningCommand(
        program: "coap-server-openssl",
        [
          "-A", address, "-p", "\(port)", "-v", "7", "-c", here.path("server.pem"), "-j", here.path("server.key"), "-C",
          here.path("ca.pem"),
        ])
      defer { server.send(SIGKILL) }
      _ = try await server.line(with: "created DTLS endpoint \(address):\(port + 1)")
      try await body(here, "coaps://\(address):\(port + 1)/")
    }
  }
}
