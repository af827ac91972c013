// Call: `device-rpc call`: a call over HTTP, from the command line.
// Uses the rooms Client and Terminal, and the parameters of the room Serve.

internal import ArgumentParser
internal import DeviceRPC
internal import Foundation
internal import NIOHTTP1

struct CallCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "call",
    abstract: "Call a function on a device through a running server.",
    discussion: """
      A parameter is JSON where it is JSON, and text where it is not. Options may stand anywhere. The detail of the result goes to standard output as \
      JSON, everything else to standard error.

      Exit codes:
        0   the device answered OK, or has acknowledged a one-way call
        1   the device refused: it answered with another status
        2   unanswered: the device was called, and no result is known
        3   offline: the device is unknown or not connected; nothing was sent
        4   the server refused the call, cannot be reached, or could not send it
        64  the command line is wrong

      Examples:
        device-rpc call sensor-1 multiply 7 191
        device-rpc call sensor-1 setLed '{"on": true}' --timeout 3
        device-rpc call sensor-1 reboot --one-way --wait 60
        device-rpc call sensor-1 update https://example.org/f.bin --persistent --expires 604800
        DEVICE_RPC_SERVER=https://rpc.example.org DEVICE_RPC_API_KEY=drpc_... device-rpc call sensor-1 measure
      """)

  enum Exit: Int32 {
    case refused = 1
    case unanswered = 2
    case offline = 3
    case failed = 4
  }

  @Argument(help: "The name of the device.", completion: .serverDevices) var device: String
  @Argument(help: "The name of the function.") var method: String
  @Argument(
    parsing: .allUnrecognized,
    help: "Parameters of the function, in order.") var params: [String] = []

  @Option(help: ArgumentHelp("How long to wait for the result. (default: the server's, 10)", valueName: "seconds"))
  var timeout: Double?
  @Option(help: ArgumentHelp("How long to wait for a device that is not connected.", valueName: "seconds"))
  var wait = 0.0
  @Flag(help: "Want no result: the call ends when the device has acknowledged it.") var oneWay = false
  @Flag(help: "Do not wait for the end: print the id of the call.") var async = false
  @Flag(
    help: "Keep the call until it is done, also while the device is away and over restarts of the server, and print its id.")
  var persistent = false
  @Option(help: ArgumentHelp("When a persistent call is given up. (default: 86400, a day)", valueName: "seconds"))
  var expires: Double?
  @Flag(help: "The device may run the persistent call more than once. Without this, what it may have run is never sent again.")
  var repeatable = false
  @Option(help: ArgumentHelp("How often a repeatable call may be sent. (default: any number of times)", valueName: "number"))
  var attempts: Int?
  @Option(help: ArgumentHelp("Make the call only once, however often this key is used in an hour.", valueName: "key"))
  var idempotencyKey: String?
  @Flag(help: "Print the whole call as JSON, whatever came of it.") var json = false
  @OptionGroup var server: ServerOptions

  func validate() throws {
    guard timeout.map({ (0.001...86_400).contains($0) }) ?? true else {
      throw ValidationError("--timeout must be 0.001 to 86400 seconds.")
    }
    guard (0...86_400).contains(wait) else { throw ValidationError("--wait must be 0 to 86400 seconds.") }
    guard idempotencyKey.map({ (1...255).contains($0.utf8.count) }) ?? true else {
      throw ValidationError("--idempotency-key must have 1 to 255 bytes.")
    }
    guard persistent || expires == nil && attempts == nil && !repeatable else {
      throw ValidationError("--expires, --attempts and --repeatable are for --persistent.")
    }
    guard !persistent || wait == 0 else { throw ValidationError("--wait is not for --persistent, which waits until --expires.") }
    guard expires.map({ (0.001...31_536_000).contains($0) }) ?? true else {
      throw ValidationError("--expires must be 0.001 to 31536000 seconds.")
    }
    guard attempts.map({ (1...1_000_000).contains($0) }) ?? true else { throw ValidationError("--attempts must be 1 to 1000000.") }
    guard attempts == nil || repeatable else { throw ValidationError("--attempts is for --repeatable.") }
    // Negative numbers are parameters, and everything else with a dash is a mistyped option.
    if let option = params.first(where: { $0.hasPrefix("-") && Double($0) == nil }) {
      throw ValidationError("Unknown option \(option). As a parameter it is written as a JSON string, '\"\(option)\"'.")
    }
    do throws(ConsoleLine.Problem) {
      _ = try params.map(ConsoleLine.parameter)
    } catch {
      throw ValidationError("\(error.text).")
    }
  }

  func run() async throws {
    let output = Output()
    var body: [(String, RPCValue)] = [
      ("method", .string(method)), ("params", .array(try params.map(ConsoleLine.parameter))),
    ]
    if let timeout { body.append(("timeout", .double(timeout))) }
    if wait > 0 { body.append(("wait", .double(wait))) }
    if oneWay { body.append(("oneWay", true)) }
    if persistent {
      var how: [(String, RPCValue)] = [("repeatable", .bool(repeatable))]
      if let expires { how.append(("expires", .double(expires))) }
      if let attempts { how.append(("attempts", RPCValue(attempts))) }
      body.append(("persistent", .object(RPCObject(how))))
    }
    var headers: [(String, String)] = []
    if let idempotencyKey { headers.append(("Idempotency-Key", idempotencyKey)) }
    if async { headers.append(("Prefer", "respond-async")) }
    let client = ServerClient(server)
    do {
      var answer = try await client.ask(
        .POST, "/v1/devices/\(ServerClient.encoded(device))/calls", .object(RPCObject(body)), headers: headers)
      // A server waits for some minutes at most.
      while !async, !persistent, answer.status == 202, let id = answer.body["id"]?.stringValue {
        answer = try await client.ask(.GET, "/v1/calls/\(id)", headers: [("Prefer", "wait=60")])
        if answer.status == 200, answer.body["state"] != "ended" { answer.status = 202 }
      }
      try show(answer, output)
    } catch let failure as ServerClient.Failure {
      output.error(failure.description)
      throw ExitCode(Exit.failed.rawValue)
    }
  }

  private func show(_ answer: ServerClient.Answer, _ output: Output) throws {
    let call = answer.body["call"] ?? answer.body
    if json, call["id"] != nil { output.document(call) }
    // A call that failed while it was waited for in parts is a call like others, with its error in it.
    let problem = call["error"] ?? answer.body
    guard answer.status < 300, call["error"] == nil else {
      output.error(problem["detail"]?.stringValue ?? "the server answered with HTTP status \(answer.status)")
      throw ExitCode(Self.exit(for: problem["type"]?.stringValue ?? "").rawValue)
    }
    guard answer.status != 202 else {
      if !json { output.line(call["id"]?.stringValue ?? "") }
      return
    }
    if !json, !oneWay { output.document(call["detail"] ?? .null) }
    let code = call["status"]?["code"]?.intValue ?? 0
    guard code == 0 else {
      output.error("\(device) refused the call: \(call["status"]?["name"]?.stringValue ?? "") (\(code))")
      throw ExitCode(Exit.refused.rawValue)
    }
  }

  static func exit(for type: String) -> Exit {
    switch type.split(separator: "/").last {
    case "unknown-device", "offline": .offline
    case "undelivered", "unconfirmed", "unanswered", "rejected", "unreadable", "revoked", "cancelled", "shutting-down", "expired":
      .unanswered
    default: .failed
    }
  }
}
