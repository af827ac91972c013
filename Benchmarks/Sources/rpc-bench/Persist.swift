internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCCoAP
internal import DeviceRPCStore
internal import Foundation
internal import Logging

/// Persistent calls beside ordinary ones, with each kind of journal in turn.
struct Persist: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Start a server, wait for a fleet, call its devices with persistent calls and print one JSON line.",
    discussion: """
      A call is made, waited for until the journal has its result, and followed by the next. Times are in microseconds.
      """)

  enum Kind: String, CaseIterable, ExpressibleByArgument {
    /// Calls that nobody keeps, begun and looked at in the same way.
    case ordinary
    case memory
    case normal
    case full
  }

  @Argument(help: "The journal: ordinary for calls that are not kept, memory, normal or full for SQLite's synchronous.") var kind: Kind
  @Option(help: "Devices to wait for, named d0, d1, …") var devices = 1_000
  @Option(help: "Calls under way at any time.") var inFlight = 1_000
  @Option(help: "Length of the measurement.") var seconds = 3.0
  @Option(help: "Port to listen on.") var port: UInt16 = 5_690
  @Option(help: "Where the journal is made.") var directory = FileManager.default.temporaryDirectory.path

  func validate() throws {
    guard seconds > 0, seconds <= 600 else { throw ValidationError("--seconds must be above 0, at most 600.") }
  }

  func run() async throws {
    let place = "\(directory)/rpc-bench-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: place) }
    let file = kind == .normal || kind == .full ? try SQLiteCallJournal(directory: place, durability: kind == .full ? .full : .normal) : nil
    defer { file?.close() }
    var configuration = CoAPConfiguration()
    configuration.listeners = [.init(.udp, host: "127.0.0.1", port: port)]
    var log = Logger(label: "rpc-bench")
    log.logLevel = .error
    let server = try DeviceRPCServer(coap: configuration, journal: file ?? InMemoryCallJournal(), logger: log)
    try await server.start()
    while await server.onlineDevices() < devices { try await Task.sleep(for: .milliseconds(20)) }
    _ = await call(server, kind, for: min(0.5, seconds / 4))
    let before = processorTime()
    let begin = monotonic()
    let (latencies, errors) = await call(server, kind, for: seconds)
    let time = Double(monotonic() - begin) * 1e-9
    let after = processorTime()
    await server.shutdown()
    let calls = max(1, latencies.count)
    func microseconds(_ share: Double) -> UInt32 { latencies.isEmpty ? 0 : latencies[min(calls - 1, Int(share * Double(calls)))] / 1_000 }
    let processor = (after.user + after.system - before.user - before.system) * 1e6 / Double(calls)
    print(
      "{\"kind\":\"\(kind)\",\"devices\":\(devices),\"inFlight\":\(inFlight),\"calls\":\(latencies.count),\"callsPerSecond\":\(Int(Double(calls) / time)),"
        + "\"processorPerCall\":\(Int(processor)),\"p50\":\(microseconds(0.5)),\"p99\":\(microseconds(0.99)),\"errors\":\(errors)}")
  }

  private func call(_ server: DeviceRPCServer, _ kind: Kind, for seconds: Double) async -> (latencies: [UInt32], errors: Int) {
    let end = monotonic() + UInt64(seconds * 1e9)
    let turns = Turns()
    return await withTaskGroup(of: ([UInt32], Int).self) { group in
      for _ in 0..<inFlight {
        group.addTask {
          var latencies: [UInt32] = []
          var errors = 0
          while true {
            let begin = monotonic()
            if begin >= end { return (latencies, errors) }
            let turn = turns.next()
            let device = "d\(turn % devices)"
            let call = Call("multiply", params: [7, RPCValue(turn)])
            let id = kind == .ordinary ? try? await server.begin(call, on: device).id : try? await server.submit(call, on: device).id
            let info = if let id { await server.info(of: id, waiting: nil) } else { CallInfo?.none }
            if case .result(let result) = info?.outcome, result.detail?["value"]?.intValue == 7 * turn {} else { errors += 1 }
            latencies.append(UInt32(clamping: monotonic() - begin))
          }
        }
      }
      var all: [UInt32] = []
      var errors = 0
      for await part in group {
        all += part.0
        errors += part.1
      }
      return (all.sorted(), errors)
    }
  }
}

/// Opening a journal that has many rows.
struct OpenJournal: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "open-journal",
    abstract: "Open a journal with many calls, and print how long that took and how much memory.",
    discussion: "First with --make, which writes it, then without.")

  @Option(help: "Its directory.") var directory: String
  @Option(help: "Calls to write.") var make: Int?
  @Option(help: "How many of them are open.") var open = 0

  func run() async throws {
    var limits = CallJournalLimits()
    limits.calls = 10_000_000
    let before = residentBytes()
    let begin = monotonic()
    let journal = try SQLiteCallJournal(directory: directory, limits: limits, durability: .normal)
    defer { journal.close() }
    let opened = monotonic()
    guard let make else {
      var server: DeviceRPCServer? = try DeviceRPCServer(coap: CoAPConfiguration(listeners: [.init(.udp, port: 0)]), journal: journal)
      try await server?.start()
      let loaded = monotonic()
      let after = residentBytes()
      print(
        "{\"openSeconds\":\(Double(opened - begin) * 1e-9),\"startSeconds\":\(Double(loaded - opened) * 1e-9),\"memory\":\(after - before)}")
      await server?.shutdown()
      server = nil
      return
    }
    let now = Date()
    for first in stride(from: 0, to: make, by: 5_000) {
      let changes = (first..<min(make, first + 5_000)).map { number in
        var progress = PersistentCall.Progress()
        if number >= open {
          progress.state = .successful
          progress.attempt = 1
          progress.delivery = .delivered
          progress.ended = now
          progress.status = .ok
          progress.detail = ["value": 1_337]
        }
        return CallJournalChange.add(
          PersistentCall(
            id: CallID(String(format: "01a22160-246f-7ffa-b41e-%012x", number))!, wireID: String(format: "multiply/%04x", number),
            device: "d\(number % 1_000)", call: Call("multiply", params: [7, 191]), created: now, expires: now.addingTimeInterval(86_400),
            progress: progress))
      }
      _ = try await journal.write(changes)
    }
    print("{\"rows\":\(make),\"open\":\(open),\"seconds\":\(Double(monotonic() - opened) * 1e-9)}")
  }
}
