#include "flood.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t next(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static size_t request(uint8_t *out) {
  uint16_t mid = (uint16_t)next();
  const uint8_t message[] = {0x41, 1, (uint8_t)(mid >> 8), (uint8_t)mid, 7, 0xb5, 'f', 'l', 'o', 'o', 'd'};
  memcpy(out, message, sizeof message);
  return sizeof message;
}

// An observation of a device that says nothing more.
static size_t observe(uint8_t *out) {
  uint16_t mid = (uint16_t)next();
  const uint8_t head[] = {0x41, 1, (uint8_t)(mid >> 8), (uint8_t)mid, 7, 0x60, 0x54, '.', 'r', 'p', 'c', 0x4c, 'e', 'p', '=', 'f'};
  memcpy(out, head, sizeof head);
  uint64_t name = next();
  for (size_t i = 0; i < 8; i++) out[sizeof head + i] = "0123456789abcdef"[(name >> (4 * i)) & 15];
  return sizeof head + 8;
}

static size_t garbage(uint8_t *out) {
  size_t count = 1 + next() % 64;
  for (size_t i = 0; i < count; i++) out[i] = (uint8_t)next();
  return count;
}

// RFC 6347 §4.2.1, with one PSK suite (RFC 6655).
static size_t hello(uint8_t *out) {
  static const uint8_t head[] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 54, 1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42, 0xfe, 0xfd};
  static const uint8_t tail[] = {0, 0, 0, 2, 0xc0, 0xa8, 1, 0};
  memcpy(out, head, sizeof head);
  for (size_t i = 0; i < 32; i++) out[sizeof head + i] = (uint8_t)next();
  memcpy(out + sizeof head + 32, tail, sizeof tail);
  return sizeof head + 32 + sizeof tail;
}

static size_t write_packet(enum flood_kind kind, uint8_t *out) {
  switch (kind) {
    case FLOOD_OBSERVERS: return observe(out);
    case FLOOD_GARBAGE: return garbage(out);
    case FLOOD_HELLOS: return hello(out);
    default: return request(out);
  }
}

static struct sockaddr_in any_source(void) {
  struct sockaddr_in source = {.sin_family = AF_INET};
  source.sin_addr.s_addr = htonl(0x7f010000u + (uint32_t)(next() % 0x00e00000u));
  return source;
}

static void keep_to(uint64_t rate, uint64_t sent, double start) {
  if (!rate) return;
  double ahead = start + (double)sent / (double)rate - now();
  if (ahead > 0.001) usleep((useconds_t)(ahead * 1e6));
}

int flood_run(const struct flood_options *options, struct flood_report *report) {
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(options->port)};
  if (inet_pton(AF_INET, options->host, &server.sin_addr) != 1 || (ntohl(server.sin_addr.s_addr) >> 24) != 127) return EINVAL;
  memset(report, 0, sizeof *report);
  int is_stream = options->kind == FLOOD_CONNECTIONS;
  int *kept = is_stream ? calloc(options->packets, sizeof *kept) : NULL;
  if (is_stream && !kept) return ENOMEM;
  uint64_t open_count = 0;
  double start = now();
  int error = 0;
  for (uint64_t i = 0; i < options->packets && now() - start < options->seconds; i++) {
    int fd = socket(AF_INET, is_stream ? SOCK_STREAM : SOCK_DGRAM, 0);
    if (fd < 0) {
      error = errno;
      report->failures++;
      break;
    }
    struct sockaddr_in source = any_source();
    uint8_t bytes[256];
    int done;
    if (bind(fd, (struct sockaddr *)&source, sizeof source) < 0) {
      done = 0;
    } else if (is_stream) {
      done = connect(fd, (struct sockaddr *)&server, sizeof server) == 0;
    } else {
      size_t count = write_packet(options->kind, bytes);
      done = sendto(fd, bytes, count, 0, (struct sockaddr *)&server, sizeof server) == (ssize_t)count;
    }
    if (done) report->sent++; else report->failures++;
    if (done && is_stream) kept[open_count++] = fd; else close(fd);
    keep_to(options->rate, i + 1, start);
  }
  report->seconds = now() - start;
  if (is_stream) {
    double rest = options->seconds - report->seconds;
    if (rest > 0) usleep((useconds_t)(rest * 1e6));
    for (uint64_t i = 0; i < open_count; i++) {
      char byte[64];
      ssize_t count;
      // A server that takes the connection says its CSM; one that does not says nothing.
      while ((count = recv(kept[i], byte, sizeof byte, MSG_DONTWAIT)) > 0) {}
      if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) report->failures++;
      close(kept[i]);
    }
    free(kept);
  }
  return report->sent > 0 ? 0 : error;
}
