internal import ArgumentParser
internal import CFleet
internal import Glibc

/// Packets that nobody wants, from as many addresses as there are packets.
struct Flood: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Throw packets from many addresses of 127.0.0.0/8 at a server, and print one JSON line.",
    discussion: """
      Run it beside `drive` and `fleet`. Each packet has an address and a port of its own, to which the server may answer, \
      and nobody listens. Connections are kept open until the time is up; refused ones count as failures.
      """)

  enum Kind: String, ExpressibleByArgument, CaseIterable {
    case requests, observers, garbage, hellos, connections

    var flood: flood_kind {
      switch self {
      case .requests: FLOOD_REQUESTS
      case .observers: FLOOD_OBSERVERS
      case .garbage: FLOOD_GARBAGE
      case .hellos: FLOOD_HELLOS
      case .connections: FLOOD_CONNECTIONS
      }
    }
  }

  @Option(help: "What is sent.") var kind = Kind.requests
  @Option(help: "The server's port.") var port: UInt16
  @Option(help: "The server's IPv4 address, in 127.0.0.0/8.") var host = "127.0.0.1"
  @Option(help: "Packets, or connections.") var packets = 200_000
  @Option(help: "Packets a second, at most; 0 sends as many as possible.") var rate = 0
  @Option(help: "Seconds after which it ends in any case.") var seconds = 20.0

  func validate() throws {
    guard (1...10_000_000).contains(packets) else { throw ValidationError("--packets must be 1…10000000.") }
    guard rate >= 0 else { throw ValidationError("--rate must not be negative.") }
    guard seconds > 0, seconds <= 600 else { throw ValidationError("--seconds must be above 0, at most 600.") }
  }

  func run() throws {
    var report = flood_report()
    let error = host.withCString { host in
      var options = flood_options(
        host: host, port: port, kind: kind.flood, packets: UInt64(packets), rate: UInt64(rate), seconds: seconds)
      return flood_run(&options, &report)
    }
    guard error == 0 else {
      throw ValidationError("Nothing could be sent: \(String(cString: strerror(error))).")
    }
    let length = (report.seconds * 1000).rounded() / 1000
    print(
      "{\"kind\":\"\(kind.rawValue)\",\"sent\":\(report.sent),\"failures\":\(report.failures),\"seconds\":\(length)}")
  }
}
