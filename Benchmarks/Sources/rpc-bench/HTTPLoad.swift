internal import ArgumentParser
internal import Glibc

/// Requests to `http-server`, from one thread.
struct HTTPLoad: ParsableCommand {
  enum Kind: String, ExpressibleByArgument, CaseIterable { case calls, empty, polls, events }

  static let configuration = CommandConfiguration(
    commandName: "http",
    abstract: "Send requests to an `http-server`, and print one JSON line.",
    discussion: """
      `calls` calls the devices of the fleet in turn, and checks each result; `empty` asks the route that does nothing. \
      With --rate, requests are due at fixed times, from which their times count; without, each connection sends the next \
      one when it has its answer. `polls` waits on all connections for calls that do not end (`fleet --ack-only`), and \
      `events` reads the events of all calls on all connections but one, which makes --rate calls a second. Both tell the \
      server's memory for each connection, as its /metrics has it.
      """)

  @Argument(help: "What is asked for.") var kind: Kind
  @Option(help: "Port of the server. (default: 8090, or 8091 for empty)") var httpPort: Int?
  @Option(help: "Devices of the fleet, named d0, d1, …") var devices = 1_000
  @Option(help: "Connections.") var connections = 64
  @Option(help: "Length of the measurement.") var seconds = 5.0
  @Option(help: "Requests a second; 0 for as many as possible.") var rate = 0.0

  func validate() throws {
    guard (1...1_000_000).contains(devices) else { throw ValidationError("--devices must be 1…1000000.") }
    guard (1...19_000).contains(connections) else { throw ValidationError("--connections must be 1…19000.") }
    guard seconds > 0, seconds <= 600 else { throw ValidationError("--seconds must be above 0, at most 600.") }
    guard (0...1_000_000).contains(rate) else { throw ValidationError("--rate must be 0…1000000.") }
  }

  func run() throws {
    switch kind {
    case .calls, .empty: try measure()
    case .polls: try poll()
    case .events: try readEvents()
    }
  }

  private var port: Int { httpPort ?? (kind == .empty ? 8_091 : 8_090) }

  // MARK: Requests

  private func request(_ turn: Int) -> [UInt8] {
    let body = #"{"method":"multiply","params":[7,\#(turn)]}"#
    return HTTPConnection.request("POST", kind == .empty ? "/empty" : "/v1/devices/d\(turn % devices)/calls", body: body)
  }

  private func isRight(_ answer: HTTPConnection.Answer, _ turn: Int) -> Bool {
    // The devices of a fleet answer with numbers that JSON may write with a fraction.
    answer.status == 200 && (kind == .empty || answer.body.contains("\"value\":\(7 * turn)"))
  }

  private func measure() throws {
    var all = try (0..<connections).map { _ in try HTTPConnection(port: port) }
    var turns = [Int](repeating: 0, count: connections)
    var waiting = all.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    var latencies: [UInt32] = []
    var (turn, errors) = (0, 0)
    let start = monotonic()
    let end = start + UInt64(seconds * 1e9)
    var idle = Array(all.indices)
    while true {
      let now = monotonic()
      let isOver = now >= end
      if isOver, idle.count == connections { break }
      while !isOver, let index = idle.last {
        let due = rate > 0 ? start + UInt64(Double(turn) / rate * 1e9) : now
        guard due <= now else { break }
        idle.removeLast()
        turns[index] = turn
        try all[index].send(request(turn), at: due)
        turn += 1
      }
      Glibc.poll(&waiting, nfds_t(waiting.count), rate > 0 ? 1 : 1_000)
      for index in all.indices where waiting[index].revents != 0 {
        guard let began = all[index].began, let answer = try all[index].receive() else { continue }
        latencies.append(UInt32(clamping: monotonic() - began))
        if !isRight(answer, turns[index]) { errors += 1 }
        idle.append(index)
      }
    }
    report(latencies.sorted(), errors, Double(monotonic() - start) * 1e-9)
  }

  private func report(_ latencies: [UInt32], _ errors: Int, _ seconds: Double, _ more: String = "") {
    func quantile(_ share: Double) -> Double {
      latencies.isEmpty ? 0 : Double(latencies[min(latencies.count - 1, Int(share * Double(latencies.count)))] / 100) / 10
    }
    print(
      """
      {"kind":"\(kind.rawValue)","connections":\(connections),"requests":\(latencies.count),\
      "requestsPerSecond":\(Int(Double(latencies.count) / seconds)),"p50":\(quantile(0.5)),"p99":\(quantile(0.99)),\
      "max":\(quantile(1)),"errors":\(errors)\(more)}
      """)
  }

  // MARK: Connections that wait

  private func ask(_ connection: inout HTTPConnection, _ request: [UInt8]) throws -> HTTPConnection.Answer {
    try connection.send(request, at: monotonic())
    while true { if let answer = try connection.receive() { return answer } }
  }

  private func residentBytes(_ connection: inout HTTPConnection) throws -> Int {
    let page = try ask(&connection, HTTPConnection.request("GET", "/metrics")).body
    let line = page.split(separator: "\n").first { $0.hasPrefix("process_resident_memory_bytes ") }
    guard let bytes = line?.split(separator: " ").last.flatMap({ Int($0) }) else {
      throw ValidationError("The server has no /metrics.")
    }
    return bytes
  }

  private func poll() throws {
    var own = try HTTPConnection(port: port)
    var calls: [String] = []
    for number in 0..<min(devices, connections) {
      let request = HTTPConnection.request(
        "POST", "/v1/devices/d\(number)/calls", headers: "Prefer: respond-async\r\n",
        body: #"{"method":"multiply","params":[1,2],"timeout":3600}"#)
      let answer = try ask(&own, request)
      guard answer.status == 202, let id = answer.body.firstRange(of: #""id":""#).map({ answer.body[$0.upperBound...].prefix(36) })
      else { throw ValidationError("A call was answered with \(answer.status); does the fleet run with --ack-only?") }
      calls.append(String(id))
    }
    let before = try residentBytes(&own)
    var all: [HTTPConnection] = []
    for number in 0..<connections {
      all.append(try HTTPConnection(port: port))
      let path = "/v1/calls/\(calls[number % calls.count])"
      try all[number].send(HTTPConnection.request("GET", path, headers: "Prefer: wait=300\r\n"), at: monotonic())
    }
    usleep(2_000_000)
    let after = try residentBytes(&own)
    var waiting = all.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    let answered = Glibc.poll(&waiting, nfds_t(waiting.count), 0)
    // Others are called while they wait.
    let begin = monotonic()
    for call in calls { _ = try ask(&own, HTTPConnection.request("DELETE", "/v1/calls/\(call)")) }
    var ended = 0
    for index in all.indices { ended += try hasEnded(&all[index]) ? 1 : 0 }
    print(
      """
      {"kind":"polls","connections":\(connections),"waiting":\(connections - Int(answered)),\
      "bytesPerConnection":\((after - before) / connections),"ended":\(ended),\
      "secondsToEndAll":\(Double((monotonic() - begin) / 1_000_000) / 1_000)}
      """)
  }

  private func hasEnded(_ connection: inout HTTPConnection) throws -> Bool {
    while true { if let answer = try connection.receive() { return answer.status == 200 } }
  }

  private func readEvents() throws {
    var own = try HTTPConnection(port: port)
    let before = try residentBytes(&own)
    var readers: [HTTPConnection] = []
    for number in 0..<connections {
      readers.append(try HTTPConnection(port: port))
      try readers[number].send(HTTPConnection.request("GET", "/v1/events"), at: monotonic())
    }
    usleep(2_000_000)
    let after = try residentBytes(&own)
    var waiting = (readers + [own]).map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
    var (turn, events, errors) = (0, 0, 0)
    var latencies: [UInt32] = []
    let rate = rate > 0 ? rate : 10
    let start = monotonic()
    let end = start + UInt64(seconds * 1e9)
    var last = start
    // Until a second has passed in which nothing came.
    while monotonic() < max(end, last) + 1_000_000_000 {
      let now = monotonic()
      let due = start + UInt64(Double(turn) / rate * 1e9)
      if now < end, own.began == nil, due <= now {
        try own.send(
          HTTPConnection.request("POST", "/v1/devices/d\(turn % devices)/calls", body: #"{"method":"multiply","params":[7,\#(turn)]}"#),
          at: due)
        turn += 1
      }
      guard Glibc.poll(&waiting, nfds_t(waiting.count), 1) > 0 else { continue }
      for index in readers.indices where waiting[index].revents != 0 {
        let count = try readers[index].receiveEvents()
        if count > 0 { last = monotonic() }
        events += count
      }
      if waiting[connections].revents != 0, let began = own.began, let answer = try own.receive() {
        latencies.append(UInt32(clamping: monotonic() - began))
        if answer.status != 200 { errors += 1 }
      }
    }
    report(
      latencies.sorted(), errors, seconds,
      #","bytesPerConnection":\#((after - before) / connections),"eventsPerCallAndReader":\#(Double(events * 100 / max(1, turn * connections)) / 100)"#)
  }
}
