internal import DeviceRPC
internal import Foundation
internal import ServiceLifecycle
internal import Synchronization

/// The console of `serve`: prints which devices connect and disconnect, and performs the calls that are typed.
final class Console: Service {
  private static let concurrentCalls = 64

  private let server: DeviceRPCServer
  private let output: Output
  private let wait: Duration
  private let events: AsyncStream<DeviceEvent>
  private let isEnding = Atomic(false)
  private let callsUnderWay = Atomic(0)
  private let budget = Mutex(LogBudget())
  private let quits = AsyncStream.makeStream(of: Void.self)

  /// Create it before the server starts, so that it misses no event.
  init(server: DeviceRPCServer, output: Output, wait: Duration) {
    self.server = server
    self.output = output
    self.wait = wait
    events = server.events()
  }

  func run() async throws {
    await withTaskGroup(of: Void.self) { group in
      group.addTask { await self.showDevices() }
      group.addTask { await self.showWhatWasLeftOut() }
      group.addTask { await self.readLines() }
      try? await gracefulShutdown()
      group.cancelAll()
    }
  }

  /// Returns when `quit` was typed, or Ctrl-D at a terminal.
  func quit() async {
    for await _ in quits.stream { return }
  }

  /// The server is shutting down. From now on disconnections are its own and are not printed.
  func willEnd() {
    isEnding.store(true, ordering: .relaxed)
    output.endPrompt()
    let isOpen = callsUnderWay.load(ordering: .relaxed) > 0
    output.line(
      isOpen ? "closing: open calls have \(server.limits.grace.readable) to end; Ctrl-C again stops at once" : "closing")
  }

  // MARK: Devices

  private func showDevices() async {
    // Devices refresh their registration from time to time, which is not worth a line.
    var addresses: [String: String] = [:]
    for await event in events {
      switch event {
      case .online(let device):
        guard addresses.updateValue(device.address ?? "", forKey: device.name) != device.address else { continue }
        tell("devices connected", device.name, " " + EventWords.online(from: device.place))
      case .offline(let device, let reason):
        addresses[device.name] = nil
        guard !isEnding.load(ordering: .relaxed) else { continue }
        tell("devices disconnected", device.name, " " + EventWords.offline(reason))
      case .forbiddenResult(let id, let device?):
        tell("results of other devices' calls", device, " " + EventWords.forbidden(id))
      case .forbiddenResult(let id, nil):
        let call = "\(id.cut(to: 64)), a call to a device that has some"
        tell("results of other devices' calls", nil, "somebody without credentials sent a result for \(call)")
      case .quiet(let device): tell("quiet devices", device.name, " " + EventWords.quiet(device.evidence))
      case .heardAgain(let device): tell("devices heard again", device.name, " " + EventWords.heardAgain)
      case .strayResult(let id, let device, let isLate):
        tell("late or unknown results", device ?? "a device", " " + EventWords.stray(id, isLate: isLate))
      case .unreadableResult(let id, let device, let reason):
        tell("unreadable results", device ?? "a device", (id == nil ? ": " : " ") + EventWords.unreadable(id, reason))
      case .callQueued, .callSent, .callAcknowledged, .callEnded: break
      }
    }
  }

  /// Prints a line that begins with the name of a device, if the budget allows it: packets must not fill the screen.
  private func tell(_ kind: String, _ device: String?, _ text: String) {
    guard let dropped = budget.withLock({ $0.take(kind, about: device ?? "", now: Self.now) }) else { return }
    if dropped > 0 { output.line("\(dropped) more \(kind), not shown") }
    output.line((device ?? "").cut() + text)
  }

  // Prints the counts of kinds that have no lines at present; for the others, the next line prints it.
  private func showWhatWasLeftOut() async {
    while (try? await Task.sleep(for: .seconds(1))) != nil {
      for (kind, count) in budget.withLock({ $0.takeDropped(now: Self.now) }) { output.line("\(count) more \(kind), not shown") }
    }
  }

  private static var now: Duration { start.duration(to: .now) }
  private static let start = ContinuousClock.now

  private func show(_ device: DeviceInfo) {
    let heard = Duration.seconds(max(0, Date().timeIntervalSince(device.lastHeard))).milliseconds
    let since = Duration.seconds(max(0, Date().timeIntervalSince(device.since))).milliseconds
    let calls = device.openCalls == 0 ? "" : "; open calls: \(device.openCalls)"
    let evidence =
      device.isOnline || device.address == nil ? device.evidence : "\(device.evidence), last heard \(heard) ago"
    output.line("\(device.name) \(device.state.rawValue) for \(since), \(device.place): \(evidence)\(calls)")
  }

  // MARK: Lines

  private func readLines() async {
    let input = StandardInput()
    if StandardInput.isDialogue { output.setPrompt("> ") }
    await withTaskGroup(of: Void.self) { tasks in
      var started = 0
      for await item in input.items {
        input.taken()
        output.promptAgain()
        guard let line = parse(item) else { continue }
        guard case .call = line else {
          await obey(line)
          continue
        }
        if started == Self.concurrentCalls {
          // At a terminal, the user must be able to type something else. From a file, the calls wait for each other.
          if StandardInput.isDialogue, callsUnderWay.load(ordering: .relaxed) >= Self.concurrentCalls {
            output.error("\(Self.concurrentCalls) calls are under way, as many as are made at a time; this one is not made")
            continue
          }
          await tasks.next()
          started -= 1
        }
        started += 1
        callsUnderWay.add(1, ordering: .relaxed)
        tasks.addTask {
          await self.obey(line)
          self.callsUnderWay.subtract(1, ordering: .relaxed)
        }
      }
    }
    // The end of a file or a pipe only means that no more calls follow; at a terminal it is Ctrl-D, which quits.
    if StandardInput.isTerminal, !Task.isCancelled { quits.continuation.yield() }
  }

  private func parse(_ item: StandardInput.Item) -> ConsoleLine? {
    switch item {
    case .tooLong:
      output.error("a line has at most \(LineSplitter.longest) bytes; this one is ignored")
      return nil
    case .line(let text):
      do throws(ConsoleLine.Problem) {
        return try ConsoleLine(text)
      } catch {
        output.error("\(error.text) (\"help\" shows how to call)")
        return nil
      }
    }
  }

  private func obey(_ line: ConsoleLine) async {
    switch line {
    case .empty: break
    case .help: for line in Self.help { output.line(line) }
    case .devices:
      let devices = await server.devices()
      if devices.isEmpty { output.line("no device has connected yet") }
      for device in devices { show(device) }
    case .quit: quits.continuation.yield()
    case .device(let name):
      if let device = await server.device(name).info { show(device) } else {
        output.error("\(CallError.unknownDevice(name)) (\"help\" shows how to call)")
      }
    case .call(let device, let method, let params): await call(method, params, on: device)
    }
  }

  private func call(_ method: String, _ params: [RPCValue], on device: String) async {
    let call = Call(method, params: .array(params), wait: wait)
    let slot = CallSlot()
    do throws(CallError) {
      let result = try await server.perform(call, on: device, slot: slot)
      output.line("\(device) " + EventWords.ended(result.id, result.status, result.detail, after: result.roundTrip))
    } catch {
      output.line("\(device) " + EventWords.failed(slot.id(of: call) ?? method, error.text(naming: false)))
    }
  }

  private static let help = [
    "DEVICE METHOD [PARAMETER ...]   call a function:  sensor-1 multiply 7 191",
    "                                a parameter is JSON, or else text:  sensor-1 echo hello {\"a\": [1, 2]} \"two words\"",
    "DEVICE                          show a device",
    "devices                         list all devices",
    "quit                            close the server, as Ctrl-C does",
  ]
}

extension DeviceInfo {
  fileprivate var place: String { EventWords.place(address, dialect) }
}
