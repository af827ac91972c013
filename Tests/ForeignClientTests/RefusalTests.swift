import DeviceRPC
import DeviceRPCCoAP
import Foundation
import TestSupport
import Testing

/// Clients that are not let in.
// One after the other: libcoap prints the addresses in a complaint to one place for all threads (`coap_session_str`), and
// with several servers in this process one's complaint may be taken for another's.
@Suite(.serialized, .timeLimit(.minutes(2))) struct RefusalTests {
  enum Intruder: CaseIterable, Sendable {
    case wrongKey, unknownIdentity, forger, lookalike, otherSpelling, disabledKey
    case expired, notYetValid, anotherCA, unknownName, noName, namedByProject, anotherFingerprint, disabledCertificate
    case noCertificate, distrustful

    /// What the log says.
    var reason: String {
      switch self {
      case .wrongKey: "its key is not the one of this identity"
      case .forger: "its identity has a control character, U+000A"
      case .lookalike: "its identity has an invisible character, U+200B"
      case .otherSpelling: "its identity is not in Unicode's Normalization Form C"
      case .unknownIdentity, .unknownName, .namedByProject: "there is no device of that identity"
      case .disabledKey, .disabledCertificate: "the device is disabled"
      case .expired: "its certificate has expired"
      case .notYetValid: "its certificate is not yet valid"
      case .anotherCA: "its certificate is not of a CA that is trusted"
      case .noName: "its certificate has neither a DNS name nor a common name that can be used"
      case .anotherFingerprint: "its certificate is not the one that is pinned"
      case .noCertificate: "it has no certificate"
      case .distrustful: #"it has refused the server, with the alert "unknown CA""#
      }
    }

    var identity: String? {
      switch self {
      case .wrongKey, .disabledKey: "sensor-1@lab"
      case .unknownIdentity: "stranger@lab"
      case .forger: #"a\nnotice: all is well"#
      case .lookalike: "sensor-1\u{200b}@lab"
      case .otherSpelling: "cafe\u{301}"
      case .unknownName, .namedByProject: "stranger"
      case .noName, .noCertificate, .distrustful: nil
      default: "sensor-1"
      }
    }

    /// The options of its coap-client.
    func options(_ ours: DevelopmentCertificates, _ others: DevelopmentCertificates) async throws -> [String] {
      switch self {
      case .wrongKey: ["-u", "sensor-1@lab", "-k", "another-key"]
      case .unknownIdentity: ["-u", "stranger@lab", "-k", "first-key"]
      case .lookalike: ["-u", "sensor-1\u{200b}@lab", "-k", "first-key"]
      case .otherSpelling: ["-u", "cafe\u{301}", "-k", "first-key"]
      case .forger: ["-u", "a\nnotice: all is well", "-k", "first-key"]
      case .disabledKey: SecureClientTests.preSharedKey
      case .expired: try await ours.device("sensor-1", "--valid-from", "2020-01-01", "--days", "1")
      case .notYetValid:
        try await ours.device("sensor-1", "--valid-from", Date(timeIntervalSinceNow: 86_400).formatted(.iso8601))
      case .anotherCA: try await others.device().dropLast() + ["\(ours.folder)/ca.pem"]
      case .unknownName: try await ours.device("stranger")
      case .noName: try await ours.device(subject: "/O=CN=sensor-1")
      case .namedByProject: try await ours.device("stranger", "--project", "CN=sensor-1")
      case .anotherFingerprint, .disabledCertificate: try await ours.device()
      case .noCertificate: ["-C", "\(ours.folder)/ca.pem"]
      case .distrustful: try await ours.device().dropLast() + ["\(others.folder)/ca.pem"]
      }
    }

    func prepare(_ credentials: InMemoryCredentials) throws {
      switch self {
      case .disabledKey: credentials.set(try .withKey("sensor-1", "first-key", isEnabled: false))
      case .disabledCertificate: credentials.set(.withCertificate("sensor-1", isEnabled: false))
      case .anotherFingerprint:
        credentials.set(.withCertificate("sensor-1", fingerprint: Array(repeating: 7, count: 32)))
      default: break
      }
    }

    /// DTLS drops a record that does not decrypt, and does not tell its sender (RFC 6347 §4.1.2.7).
    func goesOn(over transport: CoAPConfiguration.Transport) -> Bool { self == .wrongKey && transport == .dtls }
  }

  @Test(
    "A client that may not connect is refused, with one line in the log", arguments: Intruder.allCases,
    [CoAPConfiguration.Transport.dtls, .tls])
  func refusal(_ intruder: Intruder, _ transport: CoAPConfiguration.Transport) async throws {
    let log = RecordedLog()
    try await withCertificates { certificates in
      try await withCertificates { others in
        let options = try await intruder.options(certificates, others)
        try await withSecureServer(certificates.server, log: log) { server in
          try intruder.prepare(server.credentials)
          let uri = try server.uri(transport, "/.rpc")
          try await CoAPClient.attempting(at: uri, options) { client in
            _ = try await log.next("connection refused")
            if !intruder.goesOn(over: transport) {
              let printed = await client.printed()
              #expect(!printed.output.contains("\"OK\""))
            }
          }
          #expect(await server.server.devices() == [])
          try await CoAPClient.observing(at: uri, .json, ["-u", "sensor-2@lab", "-k", "second-key"]) { _ in
            #expect(await server.server.devices().map(\.name) == ["sensor-2"])
          }
        }
      }
    }
    // The server is closed: whatever it had kept of a handshake has been told.
    let line = try #require(log.lines.first)
    #expect(log.lines.count == 1)
    #expect(line.level == .notice)
    // Newer OpenSSL says more: "or the system clock is incorrect".
    #expect(line.metadata["reason"]?.hasPrefix(intruder.reason) == true)
    #expect(line.metadata["identity"] == intruder.identity)
    #expect(line.metadata["address"]?.hasPrefix("127.0.0.1:") == true)
  }

  @Test("A certificate is refused where the server has none", arguments: [CoAPConfiguration.Transport.dtls, .tls])
  func keysOnly(_ transport: CoAPConfiguration.Transport) async throws {
    let log = RecordedLog()
    try await withCertificates { certificates in
      let options = try await certificates.device()
      try await withSecureServer(log: log) { server in
        try await CoAPClient.attempting(at: server.uri(transport, "/.rpc"), options) { client in
          _ = try await log.next("connection refused")
          let printed = await client.printed()
          #expect(!printed.output.contains("\"OK\""))
        }
      }
    }
    // TLS 1.3 has no cipher suites for certificates alone.
    let reason = transport == .dtls ? "it offers no cipher suite that the server takes" : "it wants a certificate of the server, which has none"
    #expect(log.lines.map { $0.metadata["reason"] } == [reason])
  }

  /// What OpenSSL has words for that nobody understands.
  enum Stranger: CaseIterable, Sendable {
    case outdated, browser

    func command(_ host: Substring, _ port: Substring) -> (String, [String]) {
      switch self {
      case .outdated:
        ("/usr/bin/openssl", ["s_client", "-connect", "\(host):\(port)", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"])
      case .browser: ("/bin/bash", ["-c", "exec 3<>/dev/tcp/\(host)/\(port); echo 'GET / HTTP/1.1' >&3; cat <&3"])
      }
    }

    var reason: String {
      switch self {
      case .outdated: "it speaks no version of the protocol that the server takes: DTLS 1.2, TLS 1.2 and TLS 1.3"
      case .browser: "what it sends is not TLS"
      }
    }
  }

  @Test("What is no device is told in words, with its address", arguments: Stranger.allCases)
  func stranger(_ stranger: Stranger) async throws {
    try await withSecureServer { server in
      let address = try server.uri(.tls).dropFirst("coaps+tcp://".count).split(separator: ":")
      let (program, arguments) = stranger.command(address[0], address[1])
      try await withProcess(program, arguments) { _ in
        let line = try await server.log.next("connection refused")
        #expect(line.metadata["reason"] == stranger.reason)
        #expect(line.metadata["address"]?.hasPrefix("127.0.0.1:") == true)
      }
    }
  }

  @Test("A device that is refused again and again is told once")
  func again() async throws {
    let log = RecordedLog()
    try await withSecureServer(log: log) { server in
      let uri = try server.uri(.tls, "/.rpc")
      for _ in 0..<5 {
        try await CoAPClient.attempting(at: uri, ["-u", "stranger@lab", "-k", "first-key"]) { _ = await $0.printed() }
      }
    }
    #expect(log.lines.map { $0.metadata["identity"] } == ["stranger@lab"])
  }
}
