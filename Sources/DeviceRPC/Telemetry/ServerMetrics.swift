internal import Metrics
internal import Synchronization

/// The server's metrics, under the names that the page Operating lists.
///
/// What happens is counted when it happens. What is, such as how many devices are connected, is looked at by `record`.
final class ServerMetrics: Sendable {
  /// False when nobody collects metrics.
  let areCollected: Bool
  let callsSent = Counter(label: "device_rpc_calls_sent_total")
  let strayResults = Counter(label: "device_rpc_stray_results_total")
  let forbiddenResults = Counter(label: "device_rpc_forbidden_results_total")
  let unreadableResults = Counter(label: "device_rpc_unreadable_results_total")
  let rateLimitedRequests = Counter(label: "device_rpc_rate_limited_requests_total")
  let droppedLogs = Counter(label: "device_rpc_dropped_logs_total")
  let loopPass = Timer(label: "device_rpc_loop_pass_seconds")
  private let roundTrip = Timer(label: "device_rpc_round_trip_seconds")
  private let ended = CallEnd.allCases.map { Counter(label: "device_rpc_calls_total", dimensions: [("outcome", $0.label)]) }

  private let devices = DeviceInfo.State.allCases.map {
    Meter(label: "device_rpc_devices", dimensions: [("state", $0.rawValue)])
  }
  private let queued = Meter(label: "device_rpc_open_calls", dimensions: [("state", "queued")])
  private let sent = Meter(label: "device_rpc_open_calls", dimensions: [("state", "sent")])
  private let waiters = Meter(label: "device_rpc_call_waiters")
  private let packetsReceived = Counter(label: "device_rpc_packets_total", dimensions: [("direction", "received")])
  private let packetsSent = Counter(label: "device_rpc_packets_total", dimensions: [("direction", "sent")])
  private let retransmissions = Counter(label: "device_rpc_retransmissions_total")
  private let refusedConnections = Counter(label: "device_rpc_refused_connections_total", dimensions: [("reason", "limit")])
  private let recorded = Mutex(TransportCounts())

  init() { areCollected = !(MetricsSystem.factory is NOOPMetricsHandler) }

  func count(_ outcome: CallOutcome) {
    switch outcome {
    case .result(let result): count(.success(result))
    case .error(let error): count(.failure(error))
    }
  }

  func count(_ outcome: Result<CallResult, CallError>) {
    ended[CallEnd(outcome).rawValue].increment()
    guard case .success(let result) = outcome else { return }
    roundTrip.recordNanoseconds(Int64(clamping: result.roundTrip.nanoseconds))
  }

  /// Records how things are, and what the transport has counted on all loops.
  func record(_ status: ServerStatus, _ now: TransportCounts) {
    for (state, meter) in zip(DeviceInfo.State.allCases, devices) { meter.set(status.devices[state, default: 0]) }
    queued.set(status.queuedCalls)
    sent.set(status.sentCalls)
    waiters.set(status.waiters)
    for table in status.tables {
      Meter(label: "device_rpc_table_entries", dimensions: [("table", table.name.rawValue)]).set(table.used)
      Meter(label: "device_rpc_table_limit", dimensions: [("table", table.name.rawValue)]).set(table.limit)
    }
    recorded.withLock { recorded in
      // Two that record at the same time may have looked in another order than they come here.
      let grown = now.grown(since: recorded)
      packetsReceived.increment(by: grown.packetsReceived)
      packetsSent.increment(by: grown.packetsSent)
      retransmissions.increment(by: grown.retransmissions)
      refusedConnections.increment(by: grown.refusedConnections)
      recorded.add(grown)
    }
  }
}

/// What the metrics of this package count, by their names. The page Operating has the same in a table.
package let metricDescriptions: [String: String] = [
  "device_rpc_calls_total": "Calls that have ended, by how.",
  "device_rpc_calls_sent_total": "Calls that were sent to their device.",
  "device_rpc_round_trip_seconds": "Time from sending a call to its result, or to its acknowledgement for a one-way call.",
  "device_rpc_open_calls": "Calls that wait to be sent, and calls that were sent and have not ended.",
  "device_rpc_call_waiters": "Callers that wait for the end of a call by its id, such as long polls.",
  "device_rpc_table_entries": "Entries of a table of the server, by table.",
  "device_rpc_table_limit": "The most entries that a table may have, by table.",
  "device_rpc_devices": "Devices that are remembered, by state.",
  "device_rpc_stray_results_total": "Results of calls that had ended or are not known.",
  "device_rpc_forbidden_results_total": "Results of calls to another device than the sender.",
  "device_rpc_unreadable_results_total": "Results that cannot be read.",
  "device_rpc_rate_limited_requests_total": "Requests of devices that were answered with 4.29.",
  "device_rpc_device_requests_total": "Calls that devices have made to the server, by outcome.",
  "device_rpc_dropped_logs_total": "Log messages of devices above the rate limit, dropped but answered with success.",
  "device_rpc_packets_total": "Datagrams and messages of devices that arrived and were sent.",
  "device_rpc_retransmissions_total": "Messages that were sent again because they were not acknowledged in time.",
  "device_rpc_refused_connections_total": "Connections that were refused, by reason.",
  "device_rpc_loop_pass_seconds": "Time from when a loop wakes up until it looks for events again.",
]

/// How a call has ended, as the metrics tell it.
private enum CallEnd: Int, CaseIterable {
  case ok, refused, unknownDevice, offline, invalidCall, limitExceeded, notSent, undelivered, unconfirmed, unanswered, rejected
  case unreadable, revoked, cancelled, shuttingDown, notKept, expired

  init(_ outcome: Result<CallResult, CallError>) {
    self =
      switch outcome {
      case .success(let result): result.status == .ok ? .ok : .refused
      case .failure(let error):
        switch error {
        case .unknownDevice: .unknownDevice
        case .offline: .offline
        case .invalidCall: .invalidCall
        case .limitExceeded: .limitExceeded
        case .notSent: .notSent
        case .undelivered: .undelivered
        case .unconfirmed: .unconfirmed
        case .unanswered: .unanswered
        case .rejected: .rejected
        case .refused: .refused
        case .unreadableResult, .garbled: .unreadable
        case .revoked: .revoked
        case .cancelled: .cancelled
        case .shuttingDown: .shuttingDown
        case .notKept: .notKept
        case .expired: .expired
        }
      }
  }

  var label: String {
    "\(self)".reduce(into: "") { label, letter in label += letter.isUppercase ? "_\(letter.lowercased())" : String(letter) }
  }
}
