#ifndef RPC_BENCH_FLOOD_H
#define RPC_BENCH_FLOOD_H

#include <stdint.h>

enum flood_kind {
  FLOOD_REQUESTS,     ///< CoAP requests that are answered with 4.04.
  FLOOD_OBSERVERS,    ///< Observations of devices that never say anything more.
  FLOOD_GARBAGE,      ///< Random bytes.
  FLOOD_HELLOS,       ///< DTLS ClientHellos without a cookie, whose senders never answer.
  FLOOD_CONNECTIONS,  ///< TCP connections on which nothing is said, kept open to the end.
};

/// Packets from as many addresses of 127.0.0.0/8 and ports as there are packets.
struct flood_options {
  const char *host;  ///< The server's IPv4 address, in 127.0.0.0/8.
  uint16_t port;
  enum flood_kind kind;
  uint64_t packets;  ///< Packets, or connections.
  uint64_t rate;     ///< Packets a second, at most; 0: as many as possible.
  double seconds;    ///< The run ends by itself after this time.
};

struct flood_report {
  uint64_t sent;
  uint64_t failures;  ///< Packets that could not be sent, connections that were refused or closed.
  double seconds;
};

/// Returns 0, or an `errno` value when nothing could be sent at all.
int flood_run(const struct flood_options *options, struct flood_report *report);

#endif
