internal import ArgumentParser
internal import DeviceRPC
internal import DeviceRPCCoAP
internal import Glibc
internal import Logging
internal import Synchronization

/// A server that calls the devices of a fleet round-robin and measures the calls.
struct Drive: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Start a server, wait for a fleet, call its devices and print one JSON line.",
    discussion: """
      Times are in microseconds, memory in bytes. Each of the --in-flight callers has one call under way at any \
      time. With --default-executor the callers run on Swift's own threads instead of the server's loop.
      """)

  @Option(help: "Devices to wait for, named d0, d1, …") var devices: Int
  @Option(help: "Calls under way at any time.") var inFlight = 64
  @Option(help: "Length of the measurement.") var seconds = 5.0
  @Option(help: "How the devices connect.") var transport = Scheme.coap
  @Option(help: "Port to listen on.") var port: UInt16 = 5_690
  @Option(help: "IPv4 address to listen on.") var host = "127.0.0.1"
  @Option(help: "Seconds to wait for the devices.") var connectTimeout = 60.0
  @Option(help: "Threads of the server.") var loops = 1
  @Option(help: "libcoap contexts per thread; the server's own choice by default.") var shards: Int?
  @Flag(help: "Run the callers on Swift's default executor.") var defaultExecutor = false

  func validate() throws {
    guard (1...1_000_000).contains(devices) else { throw ValidationError("--devices must be 1…1000000.") }
    guard (1...100_000).contains(inFlight) else { throw ValidationError("--in-flight must be 1…100000.") }
    guard seconds > 0, seconds <= 3_600 else { throw ValidationError("--seconds must be above 0, at most 3600.") }
  }

  func run() async throws {
    var configuration = CoAPConfiguration()
    let transport = CoAPConfiguration.Transport(rawValue: transport.rawValue) ?? .udp
    configuration.listeners = [.init(transport, host: host, port: port)]
    if transport.isSecure {
      let key = DeviceKey(Fleet.key.utf8)
      let credentials = (0..<devices).compactMap { number in
        key.map { DeviceCredential(device: "d\(number)", identity: "d\(number)", proof: .preSharedKey($0)) }
      }
      configuration.security = DeviceSecurity(credentials: InMemoryCredentials(credentials))
    }
    configuration.loops = loops
    if let shards { configuration.shards = shards }
    var log = Logger(label: "rpc-bench")
    log.logLevel = .error
    let server = try DeviceRPCServer(coap: configuration, logger: log)
    try await server.start()
    let empty = residentBytes()
    let connect = try await waitForDevices(server)
    let connected = residentBytes()
    if let connect {
      // A first round finds caches and free lists empty; it is not measured.
      _ = await measure(server, seconds: min(1, seconds / 5))
      let before = processorTime()
      let measurement = await measure(server, seconds: seconds)
      let after = processorTime()
      report(
        measurement, processorTime: (after.user - before.user, after.system - before.system), connectSeconds: connect,
        empty: empty, connected: connected)
    }
    await server.shutdown()
    if connect == nil {
      throw ValidationError("Not all \(devices) devices connected within \(connectTimeout) s.")
    }
  }

  /// Seconds from the first device to the last, or nil when some are missing at the end.
  private func waitForDevices(_ server: DeviceRPCServer) async throws -> Double? {
    let giveUp = monotonic() + UInt64(connectTimeout * 1e9)
    var first: UInt64?
    while monotonic() < giveUp {
      let count = await server.onlineDevices()
      if count > 0, first == nil { first = monotonic() }
      if count >= devices, let first { return Double(monotonic() - first) * 1e-9 }
      try await Task.sleep(for: .milliseconds(5))
    }
    return nil
  }

  private struct Measurement: Sendable {
    var seconds: Double
    var latencies: [UInt32]
    var errors: Int
    /// When the slowest call began, in nanoseconds from the start.
    var slowest: (latency: UInt32, at: UInt64) = (0, 0)
  }

  private func measure(_ server: DeviceRPCServer, seconds: Double) async -> Measurement {
    let turns = Turns()
    let start = monotonic()
    let end = start + UInt64(seconds * 1e9)
    let all = (0..<devices).map { server.device("d\($0)") }
    // With several loops a caller calls the devices of its own.
    let fleets = Dictionary(grouping: all) { server.executor(for: $0.name).map { ObjectIdentifier($0 as AnyObject) } }
    let parts = await withTaskGroup(of: Measurement.self, returning: [Measurement].self) { group in
      for caller in 0..<inFlight {
        let executor = defaultExecutor ? nil : server.executor(for: all[caller % all.count].name)
        let devices = executor.flatMap { fleets[ObjectIdentifier($0 as AnyObject)] } ?? all
        group.addTask(executorPreference: executor) {
          var part = Measurement(seconds: 0, latencies: [], errors: 0)
          while true {
            let begin = monotonic()
            if begin >= end { return part }
            let turn = turns.next()
            let device = devices[turn % devices.count]
            do throws(CallError) {
              let result = try await device.call("multiply", 7, turn)
              if result.detail?["value"]?.intValue != 7 * turn { part.errors += 1 }
            } catch {
              part.errors += 1
            }
            let latency = UInt32(clamping: monotonic() - begin)
            part.latencies.append(latency)
            if latency > part.slowest.latency { part.slowest = (latency, begin - start) }
          }
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    return Measurement(
      seconds: Double(monotonic() - start) * 1e-9, latencies: parts.flatMap(\.latencies).sorted(),
      errors: parts.reduce(0) { $0 + $1.errors },
      slowest: parts.map(\.slowest).max { $0.latency < $1.latency } ?? (0, 0))
  }

  private func report(
    _ measurement: Measurement, processorTime: (user: Double, system: Double), connectSeconds: Double, empty: Int,
    connected: Int
  ) {
    let calls = measurement.latencies.count
    func perCall(_ seconds: Double) -> String { rounded(seconds * 1e6 / Double(max(1, calls)), 3) }
    func quantile(_ share: Double) -> Double {
      guard calls > 0 else { return 0 }
      return Double(measurement.latencies[min(calls - 1, Int(share * Double(calls)))]) / 1_000
    }
    let fields: [(String, String)] = [
      ("server", "\"swift-device-rpc\""),
      ("devices", "\(devices)"),
      ("inFlight", "\(inFlight)"),
      ("seconds", rounded(measurement.seconds, 3)),
      ("connectSeconds", rounded(connectSeconds, 3)),
      ("connectsPerSecond", rounded(Double(devices) / max(connectSeconds, 0.001), 0)),
      ("calls", "\(calls)"),
      ("callsPerSecond", rounded(Double(calls) / max(measurement.seconds, 0.001), 0)),
      ("userPerCall", perCall(processorTime.user)),
      ("systemPerCall", perCall(processorTime.system)),
      ("p50", rounded(quantile(0.5), 1)),
      ("p90", rounded(quantile(0.9), 1)),
      ("p99", rounded(quantile(0.99), 1)),
      ("max", rounded(quantile(1), 1)),
      ("maxAt", rounded(Double(measurement.slowest.at) * 1e-9, 1)),
      ("errors", "\(measurement.errors)"),
      ("rss", "\(residentBytes())"),
      ("rssMost", "\(mostResidentBytes())"),
      ("bytesPerDevice", "\((connected - empty) / devices)"),
    ]
    print("{" + fields.map { "\"\($0)\":\($1)" }.joined(separator: ",") + "}")
  }

  private func rounded(_ value: Double, _ digits: Int) -> String {
    if digits == 0 { return "\(Int(value.rounded()))" }
    let scale = digits == 1 ? 10.0 : 1_000.0
    return "\((value * scale).rounded() / scale)"
  }
}

/// Whose turn it is.
final class Turns: Sendable {
  private let last = Atomic(0)
  func next() -> Int { last.add(1, ordering: .relaxed).oldValue }
}

func monotonic() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Seconds of the processor that this process has used.
func processorTime() -> (user: Double, system: Double) {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) * 1e-6 }
  return (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

/// The most that the process ever held.
private func mostResidentBytes() -> Int {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  return usage.ru_maxrss * 1_024
}

/// Bytes of physical memory that the process holds; `/proc/self/statm` counts pages.
func residentBytes() -> Int {
  guard let file = fopen("/proc/self/statm", "r") else { return 0 }
  defer { fclose(file) }
  var text = [CChar](repeating: 0, count: 128)
  guard fgets(&text, Int32(text.count), file) != nil else { return 0 }
  let words = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    .split(separator: " ")
  return words.count > 1 ? (Int(words[1]) ?? 0) * sysconf(Int32(_SC_PAGESIZE)) : 0
}
