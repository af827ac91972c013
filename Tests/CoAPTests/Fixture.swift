import CoAP
import Synchronization
import Testing

/// A handler for tests: a closure answers, observers of `counter` are kept.
final class TestHandler: CoAPHandler, CoAPObservationOwner, @unchecked Sendable {
  // Unchecked because everything but `log` is touched on the loop's thread only.
  var answer: (CoAPRequest, CoAPSession) -> CoAPResponse?
  var observations: [CoAPObservation] = []
  let log = Mutex<[String]>([])
  let paths = ["a"]
  private let lines = AsyncStream.makeStream(of: String.self)

  init(_ answer: @escaping (CoAPRequest, CoAPSession) -> CoAPResponse?) { self.answer = answer }

  func respond(to request: CoAPRequest, on session: CoAPSession) -> CoAPResponse? {
    if request.path == "counter", request.method == .get {
      if request.observe == 0 {
        guard let observation = session.observe(request, owner: self) else {
          return .error(.serviceUnavailable, "full")
        }
        observations.append(observation)
        var response = CoAPResponse(.content, contentFormat: .textPlain, payload: Array("first".utf8))
        response.observe = observation.sequence
        return response
      }
      if request.observe == 1, let observation = session.observation(token: request.token) {
        session.drop(observation, reason: .deregistered)
      }
    }
    return answer(request, session)
  }

  func heard(from session: CoAPSession) {}
  func responseWasCut(_ code: CoAPCode, on session: CoAPSession) { note("cut \(code)") }
  func sessionBegan(_ session: CoAPSession) {}
  func sessionEnded(_ session: CoAPSession) { note("session ended") }
  func notificationAcknowledged(_ number: UInt32, on observation: CoAPObservation) { note("ack \(number)") }
  func notificationSettled(_ number: UInt32, on observation: CoAPObservation) { note("settled \(number)") }
  func notification(_ number: UInt32, failed failure: CoAPFailure, on observation: CoAPObservation) {
    note("failed \(number): \(failure)")
  }
  func observationEnded(_ observation: CoAPObservation, reason: CoAPObservation.End) {
    observations.removeAll { $0 === observation }
    note("ended: \(reason)")
  }

  func note(_ line: String) {
    log.withLock { $0.append(line) }
    lines.continuation.yield(line)
  }

  /// Waits for a line; those before it are not looked at again.
  func noted(_ line: String) async {
    for await other in lines.stream where other == line { return }
  }
}

struct Served {
  let endpoint: CoAPEndpoint
  let loop: EventLoop
  let client: CoAPClient
  let peer: CoAPPeer
  let handler: TestHandler
  var address: CoAPAddress { endpoint.addresses[0] }
}

/// An endpoint, a loop and a client for the length of `body`, closed whatever happens.
func withEndpoint<Result>(
  host: String = "127.0.0.1", shards: Int = 4, transmission: CoAPTransmission = CoAPTransmission(),
  limits: CoAPLimits = CoAPLimits(),
  answer: @escaping (CoAPRequest, CoAPSession) -> CoAPResponse? = { _, _ in CoAPResponse(.notFound) },
  _ body: (Served) async throws -> Result
) async throws -> Result {
  let handler = TestHandler(answer)
  var configuration = CoAPEndpoint.Configuration(
    addresses: [try #require(CoAPAddress(host: host, port: 0))], shardsPerLoop: shards)
  configuration.transmission = transmission
  configuration.limits = limits
  return try await withEndpoint(configuration, handler) { endpoint, loop, client in
    let peer = try await client.connect(to: endpoint.addresses[0])
    return try await body(Served(endpoint: endpoint, loop: loop, client: client, peer: peer, handler: handler))
  }
}

/// The same for any configuration, with a client that is not connected.
func withEndpoint<Result>(
  _ configuration: CoAPEndpoint.Configuration, _ handler: TestHandler,
  _ body: (CoAPEndpoint, EventLoop, CoAPClient) async throws -> Result
) async throws -> Result {
  let loop = try EventLoop(name: "test")
  let endpoint = try await CoAPEndpoint(configuration, loops: [loop], handlers: [handler])
  let client = try await CoAPClient(loop: loop, transmission: configuration.transmission)
  func close() async {
    await client.close()
    await endpoint.close()
    await loop.stop()
  }
  do {
    let result = try await body(endpoint, loop, client)
    await close()
    return result
  } catch {
    await close()
    throw error
  }
}
