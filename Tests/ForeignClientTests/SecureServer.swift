import CoAP
import DeviceRPC
import DeviceRPCCoAP
import Logging
import TestSupport
import Testing

/// A server that listens with each transport of CoAP, and what it logs.
struct SecureServer {
  let server: DeviceRPCServer
  let credentials: InMemoryCredentials
  let log: RecordedLog

  /// `coaps://127.0.0.1:40000` and the path.
  func uri(_ transport: CoAPConfiguration.Transport, _ path: String = "") throws -> String {
    try #require(server.addresses.first { $0.hasPrefix("\(transport.rawValue)://") }) + path
  }

  /// The device that is called: nobody bears the name of one that has credentials without them.
  static func device(over transport: CoAPConfiguration.Transport) -> String { transport.isSecure ? "sensor-1" : "lamp" }

  /// Calls a coap-client that observes with these options, and answers for it with another one.
  func callAnswers(
    _ transport: CoAPConfiguration.Transport = .dtls, to client: ForeignProcess, with options: [String],
    id: String = "74e4"
  ) async throws {
    async let result = server.device(Self.device(over: transport)).call("multiply", 7, 191)
    #expect(try await client.line() == #"{"id":"multiply/\#(id)","method":"multiply","params":[7,191]}"#)
    let answer = try await CoAPClient.request(
      at: uri(transport, "/.rpc/status"),
      options + ["-m", "post", "-t", "50", "-e", #"{"id":"multiply/\#(id)","status":0,"detail":{"value":1337}}"#])
    #expect(answer == .init())
    #expect(try await result.detail == ["value": 1_337])
  }
}

/// Runs such a server for the length of `body`. It knows sensor-1 by the key `first-key` of the identity `sensor-1@lab`,
/// and by certificates whose common name is `sensor-1`; and sensor-2 by the key `second-key`.
func withSecureServer<Result>(
  _ certificate: ServerCertificate? = nil, certificateInterval: Duration = .seconds(5),
  cipherSuites: [DeviceSecurity.CipherSuite] = DeviceSecurity.CipherSuite.allCases,
  log: RecordedLog = RecordedLog(), _ body: (SecureServer) async throws -> Result
) async throws -> Result {
  let credentials = InMemoryCredentials([
    try .withKey("sensor-1", "first-key"), try .withKey("sensor-2", "second-key"), .withCertificate("sensor-1"),
  ])
  var configuration = CoAPConfiguration(
    listeners: CoAPConfiguration.Transport.allCases.map { CoAPConfiguration.Listener($0, port: 0) })
  configuration.security = DeviceSecurity(credentials: credentials, certificate: certificate)
  configuration.security?.cipherSuites = cipherSuites
  configuration.shards = 4
  let transport = try CoAPTransport(
    configuration, limits: .forTests, certificateInterval: certificateInterval, log: log.logger)
  return try await withServer(transport, log.logger) { server in
    try await body(SecureServer(server: server, credentials: credentials, log: log))
  }
}

extension DeviceCredential {
  static func withKey(_ device: String, _ key: String, isEnabled: Bool = true) throws -> DeviceCredential {
    DeviceCredential(
      device: device, identity: "\(device)@lab", proof: .preSharedKey(try #require(DeviceKey(key.utf8))),
      isEnabled: isEnabled)
  }

  static func withCertificate(
    _ device: String, fingerprint: [UInt8]? = nil, isEnabled: Bool = true
  ) -> DeviceCredential {
    DeviceCredential(
      device: device, identity: device, proof: .certificate(fingerprint: fingerprint), isEnabled: isEnabled)
  }
}
