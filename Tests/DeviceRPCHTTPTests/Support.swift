import Crypto
import DeviceRPC
import DeviceRPCTesting
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import Metrics
import Synchronization
import Testing
import Tracing

@testable import DeviceRPCHTTP

let silentLog = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// The API in front of a server with devices in memory, asked through Hummingbird's router.
struct API: Sendable {
  let client: any TestClientProtocol
  let server: DeviceRPCServer
  let devices: InMemoryDevices
  let events: EventFeed
  let thingsBoard: ThingsBoardDevices?
  /// Sent with requests that have no other key.
  var key: String?

  struct Answer {
    let status: Int
    let headers: HTTPFields
    let text: String

    var json: RPCValue { (try? JSONReader.read(Array(text.utf8))) ?? .null }
    subscript(name: String) -> RPCValue? { json[name] }
    var type: String? { self["type"]?.stringValue }
    func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { headers[$0] } }
  }

  func ask(
    _ method: HTTPRequest.Method, _ path: String, _ body: String? = nil, headers: [String: String] = [:]
  ) async throws -> Answer {
    var fields: HTTPFields = [:]
    if body != nil { fields[.contentType] = "application/json" }
    if let key, headers["x-api-key"] == nil, headers["Authorization"] == nil { fields[try #require(HTTPField.Name("x-api-key"))] = key }
    for (name, value) in headers { fields[try #require(HTTPField.Name(name))] = value.isEmpty ? nil : value }
    return try await client.execute(
      uri: path, method: method, headers: fields, body: body.map { ByteBuffer(string: $0) }
    ) { response in
      Answer(status: response.status.code, headers: response.headers, text: String(buffer: response.body))
    }
  }

  func get(_ path: String, headers: [String: String] = [:]) async throws -> Answer {
    try await ask(.get, path, headers: headers)
  }

  func call(_ device: String, _ body: String, headers: [String: String] = [:]) async throws -> Answer {
    try await ask(.post, "/v1/devices/\(device)/calls", body, headers: headers)
  }
}

/// - Parameters:
///   - keys: nil for a server that is open without keys, or with `administration` for one key that may do everything.
///   - thingsBoard: the access tokens of ThingsBoard's API for devices; a server without credentials for `.some(nil)`, and no such
///     API for nil.
///   - time: what the clock of rates and idempotency keys says.
///   - clock: the clock of heartbeats.
func withAPI(
  keys: (any APIKeyProvider)? = nil, administration: (any DeviceAdministration)? = nil,
  thingsBoard: (any DeviceCredentials)?? = .none, users: (any UserProvider)? = nil, setup: TestingSetup = .router,
  log: Logger = silentLog, metrics: PrometheusMetrics? = nil, tracer: any Tracer = NoOpTracer(),
  time: @escaping @Sendable () -> Duration = { .zero }, date: @escaping @Sendable () -> Date = { Date(timeIntervalSince1970: 1_790_000_000) },
  clock: any Clock<Duration> = ManualClock(),
  configure: (inout HTTPConfiguration) -> Void = { _ in }, _ body: @escaping @Sendable (API) async throws -> Void
) async throws {
  var configuration = HTTPConfiguration(port: 0)
  configure(&configuration)
  // To administer devices needs a key.
  let own = administration == nil || keys != nil ? nil : InMemoryAPIKeys()
  let key = own?.add("admin", .all)
  let devices = InMemoryDevices()
  let (server, http) = withMetricsFactory(metrics ?? NOOPMetricsHandler.instance) {
    let server = withTracer(tracer) { DeviceRPCServer(devices, logger: silentLog) }
    return (
      server,
      DeviceRPCHTTPServer(
        server, keys: keys ?? own, administration: administration,
        thingsBoard: thingsBoard.map { ThingsBoardHTTP(server, credentials: $0, users: users) }, configuration: configuration, metrics: metrics, log: log,
        date: date, now: time, clock: clock)
    )
  }
  try await server.start()
  let router = withTracer(tracer) { http.router() }
  let application = Application(router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)), logger: silentLog)
  do {
    try await application.test(setup) { client in
      try await body(API(client: client, server: server, devices: devices, events: http.routes.events, thingsBoard: http.routes.thingsBoard, key: key))
    }
  } catch {
    await server.shutdown()
    throw error
  }
  await server.shutdown()
}

/// For the callers of tests that are not about it.
extension DeviceCaller {
  func status() async -> ServerStatus { ServerStatus() }
}

/// A clock that a test sets.
final class TestClock: Sendable {
  private let time = Mutex(Duration.zero)
  var now: Duration { time.withLock { $0 } }
  func advance(by duration: Duration) { time.withLock { $0 += duration } }
}

/// A clock that stands still until a test advances it.
final class ManualClock: Clock {
  struct Instant: InstantProtocol {
    var offset: Duration
    func advanced(by duration: Duration) -> Instant { Instant(offset: offset + duration) }
    func duration(to other: Instant) -> Duration { other.offset - offset }
    static func < (left: Instant, right: Instant) -> Bool { left.offset < right.offset }
  }

  private struct State {
    var now = Instant(offset: .zero)
    var last = 0
    var sleepers: [Int: (deadline: Instant, continuation: CheckedContinuation<Void, any Error>)] = [:]
    // Those whose tasks were cancelled before they slept.
    var cancelled: Set<Int> = []
  }

  private let state = Mutex(State())
  var now: Instant { state.withLock { $0.now } }
  var minimumResolution: Duration { .zero }
  var sleepers: Int { state.withLock { $0.sleepers.count } }

  func sleep(until deadline: Instant, tolerance: Duration?) async throws {
    let number = state.withLock { state in
      state.last += 1
      return state.last
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let outcome: Result<Void, any Error>? = state.withLock { state in
          if state.cancelled.remove(number) != nil { return .failure(CancellationError()) }
          if deadline <= state.now { return .success(()) }
          state.sleepers[number] = (deadline, continuation)
          return nil
        }
        if let outcome { continuation.resume(with: outcome) }
      }
    } onCancel: {
      let sleeper = state.withLock { state in
        let sleeper = state.sleepers.removeValue(forKey: number)
        if sleeper == nil { state.cancelled.insert(number) }
        return sleeper
      }
      sleeper?.continuation.resume(throwing: CancellationError())
    }
  }

  /// Waits until somebody sleeps, and wakes whoever has slept long enough then.
  func advance(by duration: Duration) async {
    await until { sleepers > 0 }
    let due = state.withLock { state in
      state.now = state.now.advanced(by: duration)
      let due = state.sleepers.filter { $0.value.deadline <= state.now }
      for number in due.keys { state.sleepers[number] = nil }
      return due.values.map(\.continuation)
    }
    for continuation in due { continuation.resume() }
  }
}

extension InMemoryAPIKeys {
  /// Adds a key and returns its text.
  func add(_ name: String, _ permissions: APIPermissions = .standard, expires: Date? = nil) -> String {
    let text = APIKeyText.generated()
    set(
      APIKey(
        id: text.id, name: name, digest: Array(SHA256.hash(data: text.secret)), created: Date(timeIntervalSince1970: 1_780_000_000),
        expires: expires, permissions: permissions))
    return text.text
  }
}

/// Lets other tasks run until the condition holds; the time limit of the suite ends it otherwise.
func until(_ condition: () async -> Bool) async {
  while !Task.isCancelled, await !condition() { await Task.yield() }
}
