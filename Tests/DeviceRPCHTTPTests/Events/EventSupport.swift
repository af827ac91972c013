import AsyncHTTPClient
import Foundation
import NIOCore
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@testable import DeviceRPC
@testable import DeviceRPCHTTP

/// A caller whose events a test sends.
final class EventCaller: DeviceCaller {
  private struct State {
    var subscribers: [Int: (AsyncStream<DeviceEvent>.Continuation, onLoss: @Sendable () -> Void)] = [:]
    var last = 0
  }

  private let state = Mutex(State())

  /// How many follow the events.
  var subscribers: Int { state.withLock { $0.subscribers.count } }

  func events() -> AsyncStream<DeviceEvent> { events(onLoss: {}) }

  func events(onLoss: @escaping @Sendable () -> Void) -> AsyncStream<DeviceEvent> {
    let (stream, continuation) = AsyncStream.makeStream(of: DeviceEvent.self)
    let number = state.withLock { state in
      state.last += 1
      state.subscribers[state.last] = (continuation, onLoss)
      return state.last
    }
    continuation.onTermination = { [weak self] _ in self?.state.withLock { $0.subscribers[number] = nil } }
    return stream
  }

  func send(_ event: DeviceEvent) { for (subscriber, _) in state.withLock({ $0.subscribers }).values { subscriber.yield(event) } }
  func lose() { for (_, onLoss) in state.withLock({ $0.subscribers }).values { onLoss() } }
  func finish() { for (subscriber, _) in state.withLock({ $0.subscribers }).values { subscriber.finish() } }

  func begin(_ call: Call, on device: String, waiting patience: Duration?) async throws(CallError) -> CallInfo {
    throw .unknownDevice(device)
  }
  func info(of call: CallID, waiting patience: Duration?) async -> CallInfo? { nil }
  func cancel(_ call: CallID) async -> CallInfo? { nil }
  func calls(_ query: CallQuery) async -> [CallInfo] { [] }
  func info(of device: String) async -> DeviceInfo? { nil }
  func devices(_ query: DeviceQuery) async -> [DeviceInfo] { [] }
}

let eventTime = Date(timeIntervalSince1970: 1_790_000_000)

extension DeviceEvent {
  /// An event of a device that can be told from others.
  static func test(_ device: String?, _ number: Int = 0) -> DeviceEvent {
    .strayResult(id: "m/\(number)", device: device, isLate: false)
  }

  /// A call that has ended, with a detail of so many bytes.
  static func ended(_ device: String, _ bytes: Int = 0) -> DeviceEvent {
    let evidence = CallEvidence(.delivered, sentAfter: .zero, acknowledgedAfter: .milliseconds(5), resultAfter: .milliseconds(12))
    let detail = RPCValue.string(String(repeating: "x", count: bytes))
    return .callEnded(
      CallInfo(
        id: CallID(milliseconds: 1_790_000_000_000, instance: 7, serial: 0x74e4), wireID: "m/74e4", device: device,
        call: Call("m", params: [1]), state: .ended, created: eventTime, ended: eventTime.addingTimeInterval(0.012),
        outcome: .result(CallResult(id: "m/74e4", device: device, method: "m", status: .ok, detail: detail, evidence: evidence)),
        evidence: evidence))
  }
}

extension DeviceInfo {
  static func test(_ name: String) -> DeviceInfo {
    DeviceInfo(
      name: name, state: .observing, since: eventTime, evidence: "observation open", address: "memory:\(name)", dialect: "scripted",
      firstSeen: eventTime, lastHeard: eventTime, openCalls: 1)
  }
}

/// A block of a stream of events, as a client reads it (HTML Standard §9.2.6).
struct ReadEvent: Equatable, CustomStringConvertible {
  var id: String?
  var name: String?
  var data: RPCValue?
  var comment: String?

  /// What `DeviceEvent.test` was given.
  var number: Int? { data?["result"]?["wireId"]?.stringValue.flatMap { Int($0.dropFirst(2)) } }
  var description: String { "\(id ?? "-") \(name ?? "-") \(data?.description ?? "-") \(comment ?? "-")" }

  static func read(_ text: some StringProtocol) -> [ReadEvent] {
    text.components(separatedBy: "\n\n").filter { !$0.isEmpty }.map { block in
      var event = ReadEvent()
      for line in block.split(separator: "\n", omittingEmptySubsequences: false) {
        let parts = line.split(separator: ": ", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        switch parts[0] {
        case "id": event.id = parts.last
        case "event": event.name = parts.last
        case "data": event.data = try? JSONReader.read(Array((parts.last ?? "").utf8))
        case "": event.comment = parts.last
        default: Issue.record("\(line)")
        }
      }
      return event
    }
  }
}

/// Events that are read over HTTP, one after the other, through the comments.
struct EventStream {
  let response: HTTPClientResponse
  private var body: HTTPClientResponse.Body.AsyncIterator
  private var text = ""
  private var events: [ReadEvent] = []
  private(set) var lastID: String?
  private(set) var comments: [String] = []

  /// Returns when the stream is open.
  static func open(_ url: String, headers: [String: String] = [:]) async throws -> EventStream {
    var request = HTTPClientRequest(url: url)
    for (name, value) in headers { request.headers.add(name: name, value: value) }
    return EventStream(try await HTTPClient.shared.execute(request, timeout: .seconds(60)))
  }

  private init(_ response: HTTPClientResponse) {
    self.response = response
    body = response.body.makeAsyncIterator()
  }

  /// The next event; nil at the end.
  mutating func next() async throws -> ReadEvent? {
    while true {
      while !events.isEmpty {
        let event = events.removeFirst()
        if let id = event.id { lastID = id }
        if let comment = event.comment { comments.append(comment) }
        if event.name != nil { return event }
        if event.comment != nil { return event }
      }
      guard let buffer = try await body.next() else { return nil }
      text += String(buffer: buffer)
      if let end = text.range(of: "\n\n", options: .backwards) {
        events = ReadEvent.read(text[..<end.upperBound])
        text.removeSubrange(..<end.upperBound)
      }
    }
  }

  /// The next event of this name; what comes before it is skipped.
  mutating func next(_ name: String) async throws -> ReadEvent? {
    while let event = try await next() { if event.name == name { return event } }
    return nil
  }
}

extension API {
  /// The address of a live server.
  var url: String { "http://127.0.0.1:\(client.port ?? 0)" }
}

/// Runs a server of its own, as a service.
func withServer(
  _ caller: any DeviceCaller, clock: ManualClock, configure: (inout HTTPConfiguration) -> Void = { _ in },
  _ body: (_ url: String, _ events: EventFeed, _ shutDown: () async -> Void) async throws -> Void
) async throws {
  var configuration = HTTPConfiguration(port: 0)
  configure(&configuration)
  let (urls, found) = AsyncStream.makeStream(of: String.self)
  let server = DeviceRPCHTTPServer(
    caller, keys: nil, configuration: configuration, log: silentLog, date: { eventTime }, now: { .zero }, clock: clock,
    onListening: { found.yield($0) })
  let services = ServiceGroup(configuration: .init(services: [server], logger: silentLog))
  try await running(services) {
    var url = urls.makeAsyncIterator()
    try await body(try #require(await url.next()), server.routes.events) { await services.triggerGracefulShutdown() }
  }
}

/// Runs a server for the length of `body`.
func running<Result>(_ server: DeviceRPCHTTPServer, _ body: () async throws -> Result) async throws -> Result {
  try await running(ServiceGroup(configuration: .init(services: [server], logger: silentLog)), body)
}

private func running<Result>(_ services: ServiceGroup, _ body: () async throws -> Result) async throws -> Result {
  try await withThrowingTaskGroup { group in
    group.addTask { try await services.run() }
    let result = try await body()
    await services.triggerGracefulShutdown()
    try await group.waitForAll()
    return result
  }
}

/// Connects, and returns when the server closes the connection.
func untilClosed(port: Int) async throws {
  try await withCheckedThrowingContinuation { continuation in
    DispatchQueue.global().async {
      let socket = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      defer { close(socket) }
      let isConnected = connectToLoopback(socket, UInt16(port)) == 0
      var byte: UInt8 = 0
      continuation.resume(with: isConnected && read(socket, &byte, 1) == 0 ? .success(()) : .failure(CocoaError(.fileReadUnknown)))
    }
  }
}
