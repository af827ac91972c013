// A fleet of devices that is much cheaper than any server it is used against: connected UDP sockets, one
// epoll set, two system calls for a call (receive the notification; send ACK and result together) and one for
// the answer. It knows the messages of this one dialogue and nothing else of CoAP.

#define _GNU_SOURCE
#include "fleet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  type_con = 0, type_non = 1, type_ack = 2, type_rst = 3,
  code_empty = 0, code_content = 0x45,
  token_size = 8,
  max_post = 160,     // header, token, options, id of up to 63 bytes, detail
  max_id = 63,
  pending_posts = 8,  // results of one device that wait for their answer
  max_tries = 5,      // RFC 7252 MAX_RETRANSMIT, and the first transmission
  sweep_ms = 200,
};

static const double ack_timeout = 2.0;

struct post {
  double due;  // 0: slot is free
  uint16_t mid, size;
  uint8_t tries;
  uint8_t bytes[max_post];
};

struct device {
  int fd;
  uint16_t next_mid, last_notification;
  uint32_t next_token;
  uint8_t observing, seen_notification, observe_tries, waiting_posts;
  uint16_t observe_mid;
  double observe_due;
  struct post *posts;  // allocated with the first call: idle devices stay small
};

struct fleet {
  struct fleet_options options;
  struct fleet_report report;
  struct device *devices;
  int epoll_fd, outstanding, asked;
  double started, now;
};

static volatile sig_atomic_t stop_requested;

static void on_signal(int number) {
  (void)number;
  stop_requested = 1;
}

static double seconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void put_observe_token(uint8_t *out, int index) {
  memcpy(out, "obsv", 4);
  uint32_t number = htonl((uint32_t)index);
  memcpy(out + 4, &number, 4);
}

static size_t put_header(uint8_t *out, uint8_t type, uint8_t code, uint16_t mid, uint8_t token_length) {
  out[0] = (uint8_t)(0x40 | type << 4 | token_length);
  out[1] = code;
  out[2] = (uint8_t)(mid >> 8);
  out[3] = (uint8_t)mid;
  return 4;
}

static void send_observe(struct fleet *fleet, int index) {
  struct device *device = &fleet->devices[index];
  uint8_t out[64];
  size_t n = put_header(out, type_con, 1, device->observe_mid, token_size);
  put_observe_token(out + n, index);
  n += token_size;
  out[n++] = 0x60;  // Observe: 0
  memcpy(out + n, "\x54.rpc", 5);
  n += 5;
  char query[16];
  int query_size = snprintf(query, sizeof query, "ep=d%d", fleet->options.first_index + index);
  if (query_size > 12) {  // a longer option would need an extended length; 9 digits are enough
    query_size = 12;
  }
  out[n++] = (uint8_t)(0x40 | query_size);
  memcpy(out + n, query, (size_t)query_size);
  n += (size_t)query_size;
  out[n++] = 0x21;  // Accept
  out[n++] = fleet->options.json ? 50 : 60;
  (void)!send(device->fd, out, n, MSG_DONTWAIT);
  device->observe_tries++;
  int doublings = device->observe_tries < 5 ? device->observe_tries - 1 : 4;
  device->observe_due = fleet->now + ack_timeout * (1 << doublings);
}

static void start_observing(struct fleet *fleet) {
  while (fleet->asked < fleet->options.devices && fleet->outstanding < fleet->options.max_outstanding) {
    struct device *device = &fleet->devices[fleet->asked];
    device->observe_mid = device->next_mid++;
    send_observe(fleet, fleet->asked++);
    fleet->outstanding++;
  }
}

static void mark_observing(struct fleet *fleet, struct device *device) {
  if (device->observing) {
    return;
  }
  device->observing = 1;
  device->observe_due = 0;
  fleet->outstanding--;
  fleet->report.connected++;
  fleet->report.connect_seconds = fleet->now - fleet->started;
}

// MARK: Payloads

static const uint8_t *find(const uint8_t *data, size_t size, const char *what) {
  return memmem(data, size, what, strlen(what));
}

// One CBOR number, as a double. Returns its end, or NULL.
static const uint8_t *cbor_number(const uint8_t *p, const uint8_t *end, double *value) {
  if (p >= end) {
    return NULL;
  }
  uint8_t initial = *p++, major = initial >> 5, info = initial & 31;
  size_t length = info < 24 ? 0 : info == 24 ? 1 : info == 25 ? 2 : info == 26 ? 4 : info == 27 ? 8 : 99;
  if (length > (size_t)(end - p)) {
    return NULL;
  }
  uint64_t bits = info < 24 ? info : 0;
  for (size_t i = 0; i < length; i++) {
    bits = bits << 8 | p[i];
  }
  if (major == 0) {
    *value = (double)bits;
  } else if (major == 1) {
    *value = -1.0 - (double)bits;
  } else if (major == 7 && length == 8) {
    memcpy(value, &bits, 8);
  } else if (major == 7 && length == 4) {
    uint32_t single = (uint32_t)bits;
    float f;
    memcpy(&f, &single, 4);
    *value = f;
  } else if (major == 7 && length == 2) {
    int exponent = (int)(bits >> 10 & 31);
    double mantissa = (double)(bits & 1023);
    double scale = exponent == 0 ? mantissa / 1024 / 16384 : 1 + mantissa / 1024;
    for (int e = exponent; exponent != 0 && e > 15; e--) scale *= 2;
    for (int e = exponent; exponent != 0 && e < 15; e++) scale /= 2;
    *value = bits & 0x8000 ? -scale : scale;
  } else {
    return NULL;
  }
  return p + length;
}

struct call {
  const uint8_t *id;
  size_t id_size;
  int has_product;
  double product;
};

static int read_cbor_call(const uint8_t *data, size_t size, struct call *call) {
  const uint8_t *end = data + size, *p = find(data, size, "\x62id");
  if (!p || (p += 3) >= end) {
    return 0;
  }
  if (*p >= 0x60 && *p < 0x78) {
    call->id_size = *p++ & 31;
  } else if (*p == 0x78 && end - p > 1) {
    call->id_size = p[1];
    p += 2;
  } else {
    return 0;
  }
  if (call->id_size > max_id || call->id_size > (size_t)(end - p)) {
    return 0;
  }
  call->id = p;
  call->has_product = 0;
  p = find(data, size, "\x66params");
  if (p && (p += 7) < end && (*p == 0x82 || *p == 0x9f)) {
    double a, b;
    p = cbor_number(p + 1, end, &a);
    if (p && cbor_number(p, end, &b)) {
      call->has_product = 1;
      call->product = a * b;
    }
  }
  return 1;
}

// `data` is followed by a zero byte.
static int read_json_call(const uint8_t *data, size_t size, struct call *call) {
  const uint8_t *end = data + size, *p = find(data, size, "\"id\":");
  if (!p) {
    return 0;
  }
  for (p += 5; p < end && *p == ' '; p++) {}
  if (p >= end || *p++ != '"') {
    return 0;
  }
  const uint8_t *close = memchr(p, '"', (size_t)(end - p));
  if (!close || close - p > max_id) {
    return 0;
  }
  call->id = p;
  call->id_size = (size_t)(close - p);
  call->has_product = 0;
  p = find(data, size, "\"params\":");
  if (p) {
    for (p += 9; p < end && *p == ' '; p++) {}
    if (*p == '[') {
      char *after_a, *after_b;
      double a = strtod((const char *)p + 1, &after_a);
      if (after_a != (const char *)p + 1 && *after_a == ',') {
        double b = strtod(after_a + 1, &after_b);
        if (after_b != after_a + 1) {
          call->has_product = 1;
          call->product = a * b;
        }
      }
    }
  }
  return 1;
}

static size_t put_cbor_result(uint8_t *out, const struct call *call) {
  uint8_t *p = out;
  *p++ = call->has_product ? 0xa3 : 0xa2;
  p = mempcpy(p, "\x62id", 3);
  if (call->id_size < 24) {
    *p++ = (uint8_t)(0x60 | call->id_size);
  } else {
    *p++ = 0x78;
    *p++ = (uint8_t)call->id_size;
  }
  p = mempcpy(p, call->id, call->id_size);
  p = mempcpy(p, "\x66status", 7);
  *p++ = call->has_product ? 0 : 3;
  if (call->has_product) {
    p = mempcpy(p, "\x66" "detail\xa1\x65" "value\xfb", 15);
    uint64_t bits;
    memcpy(&bits, &call->product, 8);
    for (int shift = 56; shift >= 0; shift -= 8) {
      *p++ = (uint8_t)(bits >> shift);
    }
  }
  return (size_t)(p - out);
}

static size_t put_json_result(uint8_t *out, size_t room, const struct call *call) {
  int n = call->has_product
    ? snprintf((char *)out, room, "{\"id\":\"%.*s\",\"status\":0,\"detail\":{\"value\":%.15g}}",
               (int)call->id_size, (const char *)call->id, call->product)
    : snprintf((char *)out, room, "{\"id\":\"%.*s\",\"status\":3}", (int)call->id_size, (const char *)call->id);
  return (size_t)n < room ? (size_t)n : 0;
}

// MARK: Dialogue

static void answer_call(struct fleet *fleet, struct device *device, uint16_t mid, const struct call *call) {
  if (!device->posts && !(device->posts = calloc(pending_posts, sizeof *device->posts))) {
    fleet->report.abandoned++;
    return;
  }
  struct post *post = &device->posts[device->next_token % pending_posts];
  if (post->due > 0) {
    fleet->report.abandoned++;
  } else {
    device->waiting_posts++;
  }
  post->mid = device->next_mid++;
  size_t n = put_header(post->bytes, type_con, 2, post->mid, token_size);
  uint32_t number = htonl(device->next_token++);
  memcpy(post->bytes + n, "post", 4);
  memcpy(post->bytes + n + 4, &number, 4);
  n += token_size;
  memcpy(post->bytes + n, "\xb4.rpc\x06status\x11", 13);
  n += 13;
  post->bytes[n++] = fleet->options.json ? 50 : 60;
  post->bytes[n++] = 0xff;
  n += fleet->options.json ? put_json_result(post->bytes + n, max_post - n, call)
                           : put_cbor_result(post->bytes + n, call);
  post->size = (uint16_t)n;
  post->tries = 1;
  post->due = fleet->now + ack_timeout;

  uint8_t ack[4];
  put_header(ack, type_ack, code_empty, mid, 0);
  struct iovec parts[2] = {{ack, sizeof ack}, {post->bytes, n}};
  struct mmsghdr messages[2] = {
    {.msg_hdr = {.msg_iov = &parts[0], .msg_iovlen = 1}},
    {.msg_hdr = {.msg_iov = &parts[1], .msg_iovlen = 1}},
  };
  (void)!sendmmsg(device->fd, messages, 2, MSG_DONTWAIT);
  fleet->report.posts++;
}

static void send_empty(struct device *device, uint8_t type, uint16_t mid) {
  uint8_t out[4];
  put_header(out, type, code_empty, mid, 0);
  (void)!send(device->fd, out, sizeof out, MSG_DONTWAIT);
}

static void on_notification(struct fleet *fleet, struct device *device, uint8_t type, uint16_t mid,
                            const uint8_t *payload, size_t size) {
  mark_observing(fleet, device);
  if (device->seen_notification && device->last_notification == mid) {
    fleet->report.duplicates++;
    if (type == type_con) {
      send_empty(device, type_ack, mid);
    }
    return;
  }
  device->seen_notification = 1;
  device->last_notification = mid;
  struct call call;
  int understood = fleet->options.json ? read_json_call(payload, size, &call) : read_cbor_call(payload, size, &call);
  if (understood) {
    fleet->report.notifications++;
    if (!fleet->options.ack_only && type == type_con) {
      answer_call(fleet, device, mid, &call);
      return;
    }
  } else {
    fleet->report.malformed++;
  }
  if (type == type_con) {
    send_empty(device, type_ack, mid);
  }
}

static void end_post(struct fleet *fleet, struct device *device, struct post *post, uint8_t code) {
  post->due = 0;
  device->waiting_posts--;
  if (code >> 5 == 2) {
    fleet->report.answers++;
  } else {
    fleet->report.refusals++;
  }
}

static void on_observe_answer(struct fleet *fleet, struct device *device, uint8_t code) {
  if (code >> 5 == 2) {
    mark_observing(fleet, device);
  } else if (!device->observing) {
    fleet->report.refusals++;  // the next sweep asks again, as a new request
    device->observe_mid = device->next_mid++;
  }
}

static void on_datagram(struct fleet *fleet, int index, const uint8_t *data, size_t size) {
  struct device *device = &fleet->devices[index];
  if (size < 4 || data[0] >> 6 != 1 || (data[0] & 15) > 8 || size < 4u + (data[0] & 15)) {
    fleet->report.malformed++;
    return;
  }
  uint8_t type = data[0] >> 4 & 3, code = data[1], token_length = data[0] & 15;
  uint16_t mid = (uint16_t)(data[2] << 8 | data[3]);
  const uint8_t *token = data + 4, *p = token + token_length, *end = data + size;

  if (code == code_empty) {
    if (type == type_con) {
      send_empty(device, type_rst, mid);  // a ping
    } else if (type == type_ack && device->posts) {
      for (int i = 0; i < pending_posts; i++) {  // a separate response follows: wait longer for it
        if (device->posts[i].due > 0 && device->posts[i].mid == mid) {
          device->posts[i].due = fleet->now + 10;
        }
      }
    }
    return;
  }
  if (code >> 5 < 2 || token_length != token_size) {
    fleet->report.malformed++;
    return;
  }
  if (memcmp(token, "post", 4) == 0) {
    if (type == type_con) {
      send_empty(device, type_ack, mid);
    }
    uint32_t number;
    memcpy(&number, token + 4, 4);
    struct post *post = device->posts ? &device->posts[ntohl(number) % pending_posts] : NULL;
    if (post && post->due > 0 && memcmp(post->bytes + 4, token, token_size) == 0) {
      end_post(fleet, device, post, code);
    }
    return;
  }
  uint8_t expected[token_size];
  put_observe_token(expected, index);
  if (memcmp(token, expected, token_size) != 0) {
    if (type == type_con) {
      send_empty(device, type_rst, mid);
    }
    fleet->report.malformed++;
    return;
  }
  if (type == type_ack) {
    on_observe_answer(fleet, device, code);
    return;
  }
  int has_observe = 0;
  unsigned option = 0;
  while (p < end && *p != 0xff) {
    unsigned delta = *p >> 4, length = *p & 15;
    p++;
    for (unsigned *field = &delta;; field = &length) {
      if (*field == 13 && p < end) {
        *field = 13u + *p++;
      } else if (*field == 14 && end - p > 1) {
        *field = 269u + (unsigned)(p[0] << 8 | p[1]);
        p += 2;
      } else if (*field > 12) {
        fleet->report.malformed++;
        return;
      }
      if (field == &length) {
        break;
      }
    }
    option += delta;
    has_observe |= option == 6;
    if (length > (size_t)(end - p)) {
      fleet->report.malformed++;
      return;
    }
    p += length;
  }
  if (p < end) {
    p++;
  }
  if (code == code_content && has_observe && end - p > 4) {
    on_notification(fleet, device, type, mid, p, (size_t)(end - p));
    return;
  }
  if (type == type_con) {  // a separate first answer, or the end of the observation
    send_empty(device, type_ack, mid);
  }
  on_observe_answer(fleet, device, code);
}

static void sweep(struct fleet *fleet) {
  for (int i = 0; i < fleet->asked; i++) {
    struct device *device = &fleet->devices[i];
    if (!device->observing && device->observe_due <= fleet->now) {
      fleet->report.observe_retransmissions++;
      send_observe(fleet, i);
    }
    for (int k = 0; device->waiting_posts && k < pending_posts; k++) {
      struct post *post = &device->posts[k];
      if (post->due == 0 || post->due > fleet->now) {
        continue;
      }
      if (post->tries >= max_tries) {
        post->due = 0;
        device->waiting_posts--;
        fleet->report.abandoned++;
        continue;
      }
      (void)!send(device->fd, post->bytes, post->size, MSG_DONTWAIT);
      post->due = fleet->now + ack_timeout * (1 << post->tries++);
      fleet->report.post_retransmissions++;
    }
  }
}

// MARK: Setting up and running

static int open_devices(struct fleet *fleet) {
  struct sockaddr_in source = {.sin_family = AF_INET}, server = {.sin_family = AF_INET};
  server.sin_port = htons(fleet->options.port);
  if (inet_pton(AF_INET, fleet->options.source, &source.sin_addr) != 1
      || inet_pton(AF_INET, fleet->options.host, &server.sin_addr) != 1) {
    return EINVAL;
  }
  fleet->devices = calloc((size_t)fleet->options.devices, sizeof *fleet->devices);
  if (!fleet->devices) {
    return ENOMEM;
  }
  for (int i = 0; i < fleet->options.devices; i++) {
    fleet->devices[i].fd = -1;
  }
  for (int i = 0; i < fleet->options.devices; i++) {
    struct device *device = &fleet->devices[i];
    device->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (device->fd < 0 || bind(device->fd, (struct sockaddr *)&source, sizeof source) != 0
        || connect(device->fd, (struct sockaddr *)&server, sizeof server) != 0) {
      return errno;
    }
    device->next_mid = (uint16_t)(i * 7919 + 1);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    if (epoll_ctl(fleet->epoll_fd, EPOLL_CTL_ADD, device->fd, &event) != 0) {
      return errno;
    }
  }
  return 0;
}

static void run(struct fleet *fleet, fleet_connected_callback connected, void *user) {
  struct epoll_event events[256];
  static uint8_t buffer[2048];
  int told = 0;
  fleet->started = fleet->now = seconds_now();
  double end = fleet->started + fleet->options.seconds, next_sweep = fleet->now + sweep_ms * 1e-3;
  while (!stop_requested && fleet->now < end) {
    start_observing(fleet);
    int count = epoll_wait(fleet->epoll_fd, events, 256, sweep_ms / 2);
    fleet->now = seconds_now();
    for (int i = 0; i < count; i++) {
      int index = (int)events[i].data.u32;
      // One datagram a turn: asking for a second one would nearly always be a wasted system call.
      ssize_t size = recv(fleet->devices[index].fd, buffer, sizeof buffer - 1, MSG_DONTWAIT);
      if (size >= 0) {
        buffer[size] = 0;
        on_datagram(fleet, index, buffer, (size_t)size);
      }
    }
    if (fleet->now >= next_sweep) {
      sweep(fleet);
      next_sweep = fleet->now + sweep_ms * 1e-3;
    }
    if (!told && fleet->report.connected == fleet->options.devices) {
      told = 1;
      fleet->report.seconds = fleet->now - fleet->started;
      if (connected) {
        connected(&fleet->report, user);
      }
    }
  }
  fleet->report.seconds = fleet->now - fleet->started;
}

int fleet_run(const struct fleet_options *options, fleet_connected_callback connected, void *user,
              struct fleet_report *report) {
  if (options->devices < 1 || options->max_outstanding < 1 || options->seconds <= 0) {
    return EINVAL;
  }
  if (options->cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)options->cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
      return errno;
    }
  }
  struct fleet fleet = {.options = *options};
  struct sigaction action = {.sa_handler = on_signal}, old_int, old_term;
  stop_requested = 0;
  sigaction(SIGINT, &action, &old_int);
  sigaction(SIGTERM, &action, &old_term);
  fleet.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  int error = fleet.epoll_fd < 0 ? errno : open_devices(&fleet);
  if (error == 0) {
    run(&fleet, connected, user);
  }
  for (int i = 0; fleet.devices && i < options->devices; i++) {
    if (fleet.devices[i].fd >= 0) {
      close(fleet.devices[i].fd);
    }
    free(fleet.devices[i].posts);
  }
  free(fleet.devices);
  if (fleet.epoll_fd >= 0) {
    close(fleet.epoll_fd);
  }
  sigaction(SIGINT, &old_int, NULL);
  sigaction(SIGTERM, &old_term, NULL);
  *report = fleet.report;
  return error;
}
