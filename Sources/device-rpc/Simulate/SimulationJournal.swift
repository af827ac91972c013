internal import DeviceRPC
internal import DeviceSimulator
internal import Synchronization

/// Prints the events of simulated devices: for each one by name while there are few, as counts when there are many.
final class SimulationJournal: Sendable {
  private struct State {
    var connected: Set<String> = []
    var hasComplained = false
  }

  private let output: Output
  private let total: Int
  private let place: String
  private let showsCalls: Bool
  private let state = Mutex(State())

  init(output: Output, total: Int, place: String, showsCalls: Bool) {
    self.output = output
    self.total = total
    self.place = place
    self.showsCalls = showsCalls
  }

  private var showsEach: Bool { total <= 20 }

  func note(_ event: SimulatedEvent, of device: String) {
    switch event {
    case .connected: connected(device)
    case .disconnected(let reason, _): disconnected(device, reason)
    case .called(let id, let method, let params, _):
      guard showsCalls else { return }
      // The ids of this server have the method in them in Golioth's dialect, and are bare numbers in ThingsBoard's.
      let call = id.hasPrefix("\(method)/") ? id : "\(id) \(method)"
      output.line("\(device) \(call) (\(params.map(\.description).joined(separator: ", ")))")
    case .answered(let id, let result, _, let answer):
      let status = RPCStatus(rawValue: result.status)
      let refusal = answer.code.hasPrefix("2.") ? "" : ", which the server refuses: \(answer.code)"
      guard showsCalls || !refusal.isEmpty else { return }
      output.line("\(device) \(id) -> \(status)\(result.detail.map { " \($0)" } ?? "")\(refusal)")
    case .dropped(let message, let reason):
      output.line("\(device) drops a message: \(reason): \(message.text ?? "\(message.payload.count) bytes")")
    case .deregistered: break
    }
  }

  private func connected(_ device: String) {
    let count = state.withLock { state in
      state.connected.insert(device)
      state.hasComplained = false
      return state.connected.count
    }
    if showsEach {
      output.line("\(device) connected to \(place)")
    } else if count == total {
      output.line("\(total) devices connected to \(place)")
    }
  }

  private func disconnected(_ device: String, _ reason: String) {
    let (wasConnected, isFirst) = state.withLock { state in
      defer { state.hasComplained = true }
      return (state.connected.remove(device) != nil, !state.hasComplained)
    }
    if wasConnected, showsEach {
      output.line("\(device) disconnected: \(reason); trying again")
    } else if isFirst {
      // Printed once, however many devices there are and however often they try.
      output.line("no connection to \(place): \(reason); trying again")
    }
  }
}
