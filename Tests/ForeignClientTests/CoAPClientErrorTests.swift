import DeviceRPC
import Testing

/// What a person reads who asks `coap-client` for something that the server does not take.
@Suite(.timeLimit(.minutes(2))) struct CoAPClientErrorTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let options: [String]
    let path: String
    let answer: String
    var testDescription: String { "\(options.joined(separator: " ")) \(path)" }

    init(_ options: String, _ path: String, _ answer: String) {
      self.options = options.split(separator: " ").map(String.init)
      self.path = path
      self.answer = answer
    }
  }

  @Test(
    "A mistake is answered with its code and a diagnostic",
    arguments: [
      Case("-m post -t 50 -e {oops", "/.rpc/status", "4.00 JSON: expected a name in quotes, found 'o' at byte 1"),
      Case("-m post -t 50 -e [1]", "/.rpc/status", "4.00 a result is a map with id, status and detail"),
      Case("-m post -t 50 -e {}", "/.rpc/status", "4.00 id is missing or not text"),
      Case(#"-m post -t 50 -e {"id":"f/1"}"#, "/.rpc/status", "4.00 status is missing"),
      Case(#"-m post -t 50 -e {"id":"f/1","status":"0"}"#, "/.rpc/status", "4.00 status is not a whole number"),
      Case("-m post -t 50", "/.rpc/status", "4.00 empty payload"),
      Case(
        "-m post -t 42 -e {}", "/.rpc/status",
        "4.15 a result is JSON (50) or CBOR (60), not application/octet-stream (42)"),
      Case("-A 50", "/rpc", "4.04 no such resource; devices observe /.rpc and POST to /.rpc/status"),
      Case("-m post -t 50 -e {}", "/.rpc", "4.05 GET with Observe here, POST results to /.rpc/status"),
      Case("-m put -t 50 -e {}", "/.rpc/status", "4.05 POST results here"),
      Case("-m get", "/.rpc/status", "4.05 POST results here"),
      Case("-A 41", "/.rpc?ep=sensor-1", "4.06 calls are to be had as JSON (50) and CBOR (60)"),
      Case("-A 41 -s 60", "/.rpc?ep=sensor-1", "4.06 calls are to be had as JSON (50) and CBOR (60)"),
      Case("-A 50 -s 60", "/.rpc?ep=", "4.00 ep, the name of the device, is empty"),
    ])
  func mistake(_ mistake: Case) async throws {
    try await withServer { server, port in
      let answer = try await CoAPClient.request(port, mistake.path, mistake.options)
      #expect(answer == .init(error: mistake.answer))
      #expect(await server.devices() == [])
    }
  }

  @Test("The list of resources says what there is")
  func resources() async throws {
    try await withServer { _, port in
      let links = #"</.rpc>;ct="50 60";obs,</.rpc/status>;ct="50 60""#
      let answer = try await CoAPClient.request(port, "/.well-known/core")
      #expect(answer == .init(output: links))
    }
  }

  @Test("A result of an unknown call is taken, and told as an event")
  func stray() async throws {
    try await withServer { server, port in
      let events = server.events()
      let answer = try await CoAPClient.post(port, #"{"id":"f/1","status":0}"#)
      #expect(answer == .init())
      #expect(await events.first { _ in true } == .strayResult(id: "f/1", device: nil, isLate: false))
    }
  }
}
