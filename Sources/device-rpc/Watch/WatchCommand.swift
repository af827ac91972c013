internal import ArgumentParser
internal import DeviceRPC
internal import Glibc

struct WatchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "watch",
    abstract: "Show what happens to devices and calls on a running server.",
    discussion: """
      Each event is one line as soon as it happens: its time, the device, and what has happened. Everything else goes to standard error, \
      also how many events are missing, where some are.

      A lost connection is made again, and what has happened meanwhile is shown, as far as the server remembers it. Ctrl-C ends the \
      command, and so does the end of whoever reads its output.

      Exit codes:
        0   ended by Ctrl-C or SIGTERM, or because nobody reads the output any more
        4   the server refused, or could not be reached at the start
        64  the command line is wrong

      Examples:
        device-rpc watch
        device-rpc watch sensor-1 | head -1
        device-rpc watch --json | jq 'select(.event == "call.ended") | .call.detail'
      """)

  @Argument(help: "Only the events of this device.", completion: .serverDevices) var device: String?
  @Flag(help: "Print each event as a JSON object on one line.") var json = false
  @OptionGroup var server: ServerOptions

  func validate() throws {
    guard device != "" else { throw ValidationError("The name of a device is not empty.") }
  }

  func run() async throws {
    // At once, also when a write to somebody who does not read takes forever: there is nothing to clean up.
    for number in [SIGINT, SIGTERM] { signal(number) { _ in _exit(0) } }
    StandardOutput.exitWhenAbandoned()
    let output = Output(whenUnwritable: {
      if StandardOutput.isAbandoned() { _exit(0) }
      Output().error("standard output cannot be written")
      _exit(CallCommand.Exit.failed.rawValue)
    })
    do {
      let path = "/v1/events" + (device.map { "?device=\(ServerClient.encoded($0))" } ?? "")
      try await ServerClient(server).follow(path) { show($0, output) }
    } catch let failure as ServerClient.Failure {
      output.error(failure.description)
      throw ExitCode(CallCommand.Exit.failed.rawValue)
    }
  }

  private func show(_ news: ServerClient.StreamNews, _ output: Output) {
    switch news {
    case .open(let isResumed):
      output.error("watching \(device ?? "all devices") at \(server.url)")
      if !isResumed { output.error("events may be missing here: the server had not said where to resume") }
    case .lost(let reason, let wait): output.error("the connection is lost: \(reason); the next one is made in \(wait.milliseconds)")
    case .event(let event):
      let line = EventLine(event)
      if let gap = line.gap { output.error(gap) }
      if json { output.json(line.json) } else if line.gap == nil { output.line(line.text) }
    }
  }
}
