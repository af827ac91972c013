internal import Metrics

/// The server's metrics, under the names that are documented at `DeviceRPCServer`.
struct ServerMetrics: Sendable {
  let callsSent = Counter(label: "device_rpc_calls_sent_total")
  let callsAnswered = Counter(label: "device_rpc_calls_answered_total")
  let callsFailed = Counter(label: "device_rpc_calls_failed_total")
  let strayResults = Counter(label: "device_rpc_stray_results_total")
  let forbiddenResults = Counter(label: "device_rpc_forbidden_results_total")
  let unreadableResults = Counter(label: "device_rpc_unreadable_results_total")
  let rateLimitedRequests = Counter(label: "device_rpc_rate_limited_requests_total")
  let droppedLogs = Counter(label: "device_rpc_dropped_logs_total")
  let devicesOnline = Meter(label: "device_rpc_devices_online")
  let roundTrip = Timer(label: "device_rpc_round_trip")
}
