#ifndef RPC_BENCH_FLEET_H
#define RPC_BENCH_FLEET_H

#include <stdint.h>

/// How a fleet of simulated devices behaves. All devices share one thread and one epoll set.
struct fleet_options {
  const char *host;    ///< The server's IPv4 address.
  uint16_t port;       ///< The server's UDP port.
  const char *source;  ///< The IPv4 address that the devices' sockets are bound to.
  int devices;         ///< Number of devices; each needs one file descriptor.
  int first_index;     ///< Device i calls itself `ep=d<first_index + i>`.
  int json;            ///< 0: CBOR (60), otherwise JSON (50).
  double seconds;      ///< The run ends by itself after this time.
  int max_outstanding; ///< Observe requests without an answer at any time, at most.
  int cpu;             ///< Run on this CPU only; negative: anywhere.
  int ack_only;        ///< Acknowledge notifications but never answer them.
};

/// What happened. Counters are totals over all devices.
struct fleet_report {
  int connected;            ///< Devices whose observation was answered with 2.05.
  double connect_seconds;   ///< From the first observe request to the last device's answer.
  double seconds;           ///< Length of the run.
  uint64_t notifications;   ///< New notifications that carried a call.
  uint64_t duplicates;      ///< Notifications seen before: acknowledged again, not run again.
  uint64_t posts;           ///< Results sent, without retransmissions.
  uint64_t answers;         ///< Results that were answered 2.xx.
  uint64_t refusals;        ///< Observations or results answered 4.xx or 5.xx.
  uint64_t observe_retransmissions;
  uint64_t post_retransmissions;
  uint64_t abandoned;       ///< Results dropped: too many unanswered, or retransmitted too often.
  uint64_t malformed;       ///< Datagrams and calls that could not be understood.
};

typedef void (*fleet_connected_callback)(const struct fleet_report *report, void *user);

/// Runs the fleet until `seconds` have passed, or SIGINT or SIGTERM arrives.
///
/// `connected` is called once, when every device observes. Returns 0, or an `errno` value when the
/// fleet could not be set up.
int fleet_run(const struct fleet_options *options, fleet_connected_callback connected, void *user,
              struct fleet_report *report);

#endif
