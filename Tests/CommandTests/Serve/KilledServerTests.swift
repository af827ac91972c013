import AsyncHTTPClient
import DeviceRPC
import DeviceRPCStore
import DeviceSimulator
import Foundation
import GRDB
import NIOCore
import Synchronization
import TestSupport
import Testing

/// `serve --data` that is killed again and again, with persistent calls to devices of which a tenth is away at any moment.
///
/// The long form is `KILLS=20 KILL_CALLS=10000 KILL_DEVICES=1000 KILL_EXPIRES=120 swift test --filter KilledServerTests`.
@Suite(.timeLimit(.minutes(30))) struct KilledServerTests {
  private static func setting(_ name: String, _ standard: Int) -> Int {
    ProcessInfo.processInfo.environment[name].flatMap { Int($0) } ?? standard
  }

  @Test func `each call ends once, and no device runs one twice`() async throws {
    let kills = Self.setting("KILLS", 3)
    let calls = Self.setting("KILL_CALLS", 300)
    let expires = Self.setting("KILL_EXPIRES", 8)
    try await withData { place in
      let data = place.directory
      let host = try await Host(data: data)
      defer { host.kill() }
      let fleet = Fleet(count: Self.setting("KILL_DEVICES", 40), port: host.coapPort)
      var random = SeededGenerator(state: 7_641)
      let kept = try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask { await fleet.run() }
        let submission = Submission(host, devices: fleet.names, calls: calls, expires: expires)
        let points = (1...kills).map { _ in Int.random(in: 1...calls, using: &random) }.sorted()
        async let submitted: Void = submission.run()
        for point in points {
          await submission.reached(point)
          try await host.killAndRestart()
        }
        await submitted
        try await host.allEnded()
        group.cancelAll()
        try await group.waitForAll()
        return submission.kept
      }
      let all = try await host.calls()
      #expect(kept.count == calls && kept.isSubset(of: Set(all.map(\.id))))
      let states = Dictionary(grouping: all, by: \.state).mapValues(\.count)
      #expect(Set(states.keys).isSubset(of: ["SUCCESSFUL", "EXPIRED"]), "\(states)")
      // What was sent when the server was killed may have been lost, and one call to a device is under way at a time.
      #expect(states["SUCCESSFUL", default: 0] > calls / 2, "\(states)")
      let runs = fleet.runs
      #expect(runs.values.allSatisfy { $0 == 1 }, "\(runs.filter { $0.value > 1 })")
      #expect(all.filter { $0.state == "SUCCESSFUL" }.allSatisfy { runs["\($0.device) \($0.wireID)"] == 1 })
      try await host.stop()
      let journal = try SQLiteCallJournal(directory: data)
      let open = try await journal.openCalls()
      #expect(open.isEmpty)
      journal.close()
      #expect(try await DatabaseQueue(path: journal.path).read { try String.fetchAll($0, sql: "PRAGMA integrity_check") } == ["ok"])
    }
  }
}

/// The server, over its lives.
private final class Host: Sendable {
  struct Listed {
    let id: String
    let device: String
    let wireID: String
    let state: String
  }

  private let data: String
  let url: String
  let coapPort: UInt16
  private let process: Mutex<RunningCommand>
  // Whoever wants to send a request waits here while it is down.
  private let state = Mutex<(isUp: Bool, waiters: [CheckedContinuation<Void, Never>])>((true, []))

  init(data: String) async throws {
    self.data = data
    let (command, coap, url) = try await Self.start(data, coap: "0", http: "0")
    process = Mutex(command)
    coapPort = try #require(UInt16(coap))
    self.url = url
  }

  private static func start(_ data: String, coap: String, http: String) async throws -> (RunningCommand, coap: String, url: String) {
    let command = try RunningCommand(["serve", "--data", data, "--listen", "coap://127.0.0.1:\(coap)", "--http", http])
    let port = try #require(try await command.line(with: "listening on coap://").split(separator: ":").last)
    let url = String(try await command.line(with: "listening on http://").dropFirst("listening on ".count))
    return (command, String(port), url)
  }

  func kill() { process.withLock { $0.send(SIGKILL) } }

  func killAndRestart() async throws {
    state.withLock { $0.isUp = false }
    let old = process.withLock { $0 }
    old.send(SIGKILL)
    _ = await old.exitCode()
    let port = try #require(url.split(separator: ":").last)
    let (command, _, _) = try await Self.start(data, coap: "\(coapPort)", http: String(port))
    process.withLock { $0 = command }
    let waiters = state.withLock { state in
      state.isUp = true
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  func stop() async throws {
    let command = process.withLock { $0 }
    command.send(SIGTERM)
    #expect(await command.exitCode() == 0)
  }

  func isUp() async {
    await withCheckedContinuation { continuation in
      let isUp = state.withLock { state in
        if !state.isUp { state.waiters.append(continuation) }
        return state.isUp
      }
      if isUp { continuation.resume() }
    }
  }

  func ask(_ method: String, _ path: String, body: String? = nil, prefer: String? = nil) async throws -> (status: Int, body: RPCValue) {
    var request = HTTPClientRequest(url: url + path)
    request.method = .init(rawValue: method)
    if let body {
      request.headers.add(name: "Content-Type", value: "application/json")
      request.body = .bytes(ByteBuffer(string: body))
    }
    if let prefer { request.headers.add(name: "Prefer", value: prefer) }
    let response = try await HTTPClient.shared.execute(request, timeout: .seconds(120))
    return (Int(response.status.code), try JSONReader.read(Array(try await response.body.collect(upTo: 16 << 20).readableBytesView)))
  }

  /// Returns when no call is open any more.
  func allEnded() async throws {
    for state in ["queued", "sent", "acknowledged"] {
      while let call = try await ask("GET", "/v1/calls?state=\(state)&limit=1").body["calls"]?[0]?["id"]?.stringValue {
        _ = try await ask("GET", "/v1/calls/\(call)", prefer: "wait=60")
      }
    }
  }

  func calls() async throws -> [Listed] {
    var all: [Listed] = []
    while true {
      let after = all.last.map { "&after=\($0.id)" } ?? ""
      let page = try #require(try await ask("GET", "/v1/calls?limit=1000\(after)").body["calls"]?.arrayValue)
      if page.isEmpty { return all }
      all += try page.map { call in
        Listed(
          id: try #require(call["id"]?.stringValue), device: try #require(call["device"]?.stringValue),
          wireID: try #require(call["wireId"]?.stringValue), state: call["persistent"]?["state"]?.stringValue ?? "")
      }
    }
  }
}

/// Makes the calls, some at a time, each until the server has it.
private final class Submission: Sendable {
  private let host: Host
  private let devices: [String]
  private let calls: Int
  private let expires: Int
  private let state = Mutex<(next: Int, kept: Set<String>, waiting: [(count: Int, continuation: CheckedContinuation<Void, Never>)])>((0, [], []))

  init(_ host: Host, devices: [String], calls: Int, expires: Int) {
    self.host = host
    self.devices = devices
    self.calls = calls
    self.expires = expires
  }

  var kept: Set<String> { state.withLock { $0.kept } }

  func run() async {
    await withTaskGroup { group in
      for _ in 0..<8 {
        group.addTask {
          while let number = self.state.withLock({ state in
            defer { state.next += 1 }
            return state.next < self.calls ? state.next : nil
          }) { await self.submit(number) }
        }
      }
    }
  }

  private func submit(_ number: Int) async {
    let device = devices[number * 7_919 % devices.count]
    while true {
      await host.isUp()
      let answer = try? await host.ask(
        "POST", "/v1/devices/\(device)/calls", body: #"{"method":"multiply","params":[\#(number),1],"persistent":{"expires":\#(expires)}}"#)
      guard let answer, answer.status == 202, let id = answer.body["id"]?.stringValue else { continue }
      let reached = state.withLock { state in
        state.kept.insert(id)
        let reached = state.waiting.filter { $0.count <= state.kept.count }
        state.waiting.removeAll { $0.count <= state.kept.count }
        return reached
      }
      for waiter in reached { waiter.continuation.resume() }
      return
    }
  }

  /// Returns when the server has so many calls.
  func reached(_ count: Int) async {
    await withCheckedContinuation { continuation in
      let isReached = state.withLock { state in
        if state.kept.count < count { state.waiting.append((count, continuation)) }
        return state.kept.count >= count
      }
      if isReached { continuation.resume() }
    }
  }
}

/// Devices in ten parts, one of which is away.
private final class Fleet: Sendable {
  let names: [String]
  private let port: UInt16
  private let received = Mutex<[String: Int]>([:])

  init(count: Int, port: UInt16) {
    names = (0..<count).map { "d\($0)" }
    self.port = port
  }

  /// How often each call has arrived, by the device and the id of the call.
  var runs: [String: Int] { received.withLock { $0 } }

  func run() async {
    var parts: [Task<Void, any Error>] = (0..<10).map(start)
    for turn in 0... {
      parts[turn % 10].cancel()
      _ = await parts[turn % 10].result
      // That it takes time is what is tested here, and nothing waits for it.
      guard (try? await Task.sleep(for: .milliseconds(300))) != nil else { break }
      parts[turn % 10] = start(turn % 10)
    }
    for part in parts {
      part.cancel()
      _ = await part.result
    }
  }

  private func start(_ part: Int) -> Task<Void, any Error> {
    let devices = stride(from: part, to: names.count, by: 10).map { number in
      let name = names[number]
      var device = SimulatedDevice(name: name, port: port)
      device.reconnectDelay = .milliseconds(50) ... .milliseconds(200)
      device.responseTimeout = .seconds(1)
      device.keepAlive = .milliseconds(500)
      device.onEvent = { event in
        if case .called(let id, _, _, _) = event { self.received.withLock { $0["\(name) \(id)", default: 0] += 1 } }
      }
      return device
    }
    return Task { try await DeviceFleet(devices).run() }
  }
}
