// The baseline: an ordinary libcoap server, written the way its manual suggests. One context, one endpoint,
// `coap_io_process` in a loop, every callback on that thread. It keeps the observers itself, because a call
// goes to one device and libcoap's own Observe notifies all of them.
//
// It waits until all devices observe, keeps a number of calls in flight for a while, each to the next device
// in turn, and prints one JSON line.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <coap3/coap.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { format_json = 50, format_cbor = 60, max_token = 8 };

static const double warm_up = 0.5, call_timeout = 10, parameters[2] = {7, 191}, product = 1337;

struct device {
  coap_session_t *session;
  uint8_t token[max_token], token_length, json;
  uint32_t sequence;
};

struct slot {
  uint64_t call;  // 0: free
  uint64_t started;
};

// Latencies in nanoseconds: 64 steps an octave, so 1.6 % resolution.
struct histogram {
  uint64_t counts[40 * 64], total, largest;
};

static struct server {
  int devices_wanted, in_flight;
  int devices_connected, next_device;
  struct device *devices;
  struct slot *slots;
  uint64_t *generation;
  struct histogram latency;
  uint64_t calls, timeouts, wrong, refused_sends, nacks, late;
  uint64_t first_observe, last_observe;
  int measuring, calling;
} server;

static uint64_t nanoseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t resident_bytes(void) {
  unsigned long total = 0, resident = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  if (file) {
    if (fscanf(file, "%lu %lu", &total, &resident) != 2) {
      resident = 0;
    }
    fclose(file);
  }
  return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int bucket(uint64_t value) {
  if (value < 64) {
    return (int)value;
  }
  int shift = 63 - __builtin_clzll(value) - 6;
  int index = (shift + 1) * 64 + (int)((value >> shift) & 63);
  return index < 40 * 64 ? index : 40 * 64 - 1;
}

static double bucket_microseconds(int index) {
  if (index < 64) {
    return index / 1000.0;
  }
  int shift = index / 64 - 1;
  return (double)((uint64_t)(64 + index % 64) << shift) / 1000;
}

static double percentile(const struct histogram *histogram, double fraction) {
  uint64_t wanted = (uint64_t)((double)histogram->total * fraction), seen = 0;
  for (int i = 0; i < 40 * 64; i++) {
    seen += histogram->counts[i];
    if (seen > wanted) {
      return bucket_microseconds(i);
    }
  }
  return 0;
}

// MARK: Calling

static size_t put_call(uint8_t *out, size_t room, int json, uint64_t call) {
  char id[32];
  int id_size = snprintf(id, sizeof id, "multiply/%" PRIx64, call);
  if (json) {
    return (size_t)snprintf((char *)out, room, "{\"id\":\"%s\",\"method\":\"multiply\",\"params\":[%g,%g]}", id,
                            parameters[0], parameters[1]);
  }
  uint8_t *p = out;
  p = mempcpy(p, "\xa3\x62id", 4);
  if (id_size < 24) {
    *p++ = (uint8_t)(0x60 | id_size);
  } else {
    *p++ = 0x78;
    *p++ = (uint8_t)id_size;
  }
  p = mempcpy(p, id, (size_t)id_size);
  p = mempcpy(p, "\x66method\x68multiply\x66params\x82", 24);
  for (int i = 0; i < 2; i++) {
    uint64_t bits;
    memcpy(&bits, &parameters[i], 8);
    *p++ = 0xfb;
    for (int shift = 56; shift >= 0; shift -= 8) {
      *p++ = (uint8_t)(bits >> shift);
    }
  }
  return (size_t)(p - out);
}

static void start_call(int slot_index) {
  struct slot *slot = &server.slots[slot_index];
  struct device *device = &server.devices[server.next_device];
  server.next_device = (server.next_device + 1) % server.devices_connected;
  slot->call = ++server.generation[slot_index] * (uint64_t)server.in_flight + (uint64_t)slot_index;
  slot->started = nanoseconds();

  coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_CON, COAP_RESPONSE_CODE_CONTENT,
                                  coap_new_message_id(device->session),
                                  coap_session_max_pdu_size(device->session));
  uint8_t value[4], payload[128];
  size_t size = put_call(payload, sizeof payload, device->json, slot->call);
  device->sequence = (device->sequence + 1) & 0xffffff;
  if (!pdu || !coap_add_token(pdu, device->token_length, device->token)
      || !coap_add_option(pdu, COAP_OPTION_OBSERVE, coap_encode_var_safe(value, sizeof value, device->sequence),
                          value)
      || !coap_add_option(pdu, COAP_OPTION_CONTENT_FORMAT,
                          coap_encode_var_safe(value, sizeof value, device->json ? format_json : format_cbor),
                          value)
      || !coap_add_data(pdu, size, payload) || coap_send(device->session, pdu) == COAP_INVALID_MID) {
    server.refused_sends++;  // the time-out frees the slot
  }
}

static void end_call(const char *id, size_t size, int right) {
  uint64_t call = 0;
  for (size_t i = 0; i < size && i < 16; i++) {
    char c = id[i];
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
      break;
    }
    call = call << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  int slot_index = (int)(call % (uint64_t)server.in_flight);
  struct slot *slot = &server.slots[slot_index];
  if (call == 0 || slot->call != call) {
    server.late++;
    return;
  }
  slot->call = 0;
  if (server.measuring) {
    uint64_t latency = nanoseconds() - slot->started;
    server.calls++;
    server.wrong += !right;
    server.latency.counts[bucket(latency)]++;
    server.latency.total++;
    if (latency > server.latency.largest) {
      server.latency.largest = latency;
    }
  }
  if (server.calling) {
    start_call(slot_index);
  }
}

static void end_overdue_calls(void) {
  uint64_t now = nanoseconds();
  for (int i = 0; i < server.in_flight; i++) {
    if (server.slots[i].call && now - server.slots[i].started > (uint64_t)(call_timeout * 1e9)) {
      server.timeouts++;
      start_call(i);
    }
  }
}

// MARK: Resources

static void on_observe(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                       const coap_string_t *query, coap_pdu_t *response) {
  (void)resource;
  (void)query;
  coap_opt_iterator_t iterator;
  coap_opt_t *observe = coap_check_option(request, COAP_OPTION_OBSERVE, &iterator);
  if (!observe || coap_decode_var_bytes(coap_opt_value(observe), coap_opt_length(observe)) != 0) {
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_BAD_OPTION);
    return;
  }
  coap_opt_t *accept = coap_check_option(request, COAP_OPTION_ACCEPT, &iterator);
  int json = accept && coap_decode_var_bytes(coap_opt_value(accept), coap_opt_length(accept)) == format_json;

  struct device *device = coap_session_get_app_data(session);
  if (!device && server.devices_connected < server.devices_wanted) {
    device = &server.devices[server.devices_connected++];
    device->session = coap_session_reference(session);
    coap_session_set_app_data(session, device);
    server.last_observe = nanoseconds();
    if (!server.first_observe) {
      server.first_observe = server.last_observe;
    }
  }
  if (!device) {
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_SERVICE_UNAVAILABLE);
    return;
  }
  coap_bin_const_t token = coap_pdu_get_token(request);
  device->json = (uint8_t)json;
  device->token_length = (uint8_t)(token.length <= max_token ? token.length : max_token);
  memcpy(device->token, token.s, device->token_length);

  uint8_t value[4];
  coap_pdu_set_code(response, COAP_RESPONSE_CODE_CONTENT);
  coap_add_option(response, COAP_OPTION_OBSERVE, coap_encode_var_safe(value, sizeof value, device->sequence), value);
  coap_add_option(response, COAP_OPTION_CONTENT_FORMAT,
                  coap_encode_var_safe(value, sizeof value, json ? format_json : format_cbor), value);
  if (json) {
    coap_add_data(response, 4, (const uint8_t *)"\"OK\"");
  } else {
    coap_add_data(response, 3, (const uint8_t *)"\x62OK");
  }
}

static void on_status(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request,
                      const coap_string_t *query, coap_pdu_t *response) {
  (void)resource;
  (void)session;
  (void)query;
  size_t size = 0;
  const uint8_t *data = NULL;
  coap_pdu_set_code(response, COAP_RESPONSE_CODE_CHANGED);
  if (!coap_get_data(request, &size, &data)) {
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_BAD_REQUEST);
    return;
  }
  const char *method = memmem(data, size, "multiply/", 9);
  if (!method) {
    coap_pdu_set_code(response, COAP_RESPONSE_CODE_BAD_REQUEST);
    return;
  }
  uint8_t expected[9] = {0xfb};
  uint64_t bits;
  memcpy(&bits, &product, 8);
  for (int i = 0; i < 8; i++) {
    expected[1 + i] = (uint8_t)(bits >> (56 - 8 * i));
  }
  int right = memmem(data, size, expected, sizeof expected) || memmem(data, size, "1337", 4);
  // In CBOR the length stands before the text; the next byte may well be another hexadecimal digit.
  const char *id = method + 9, *end = (const char *)data + size;
  uint8_t before = method > (const char *)data ? (uint8_t)method[-1] : 0;
  size_t id_size = before == '"' ? (size_t)(end - id) : (before & 31) - 9u;
  if (before != '"' && method - 1 > (const char *)data && (uint8_t)method[-2] == 0x78) {
    id_size = before - 9u;
  }
  end_call(id, id_size < (size_t)(end - id) ? id_size : (size_t)(end - id), right);
}

static void on_nack(coap_session_t *session, const coap_pdu_t *sent, const coap_nack_reason_t reason,
                    const coap_mid_t mid) {
  (void)session;
  (void)sent;
  (void)reason;
  (void)mid;
  server.nacks++;
}

static void ignore_log(coap_log_t level, const char *message) {
  (void)level;
  (void)message;
}

// MARK: Setting up and running

static coap_context_t *make_context(const char *host, int port) {
  coap_address_t address;
  coap_address_init(&address);
  address.addr.sin.sin_family = AF_INET;
  address.addr.sin.sin_port = htons((uint16_t)port);
  address.size = sizeof address.addr.sin;
  coap_context_t *context;
  if (inet_pton(AF_INET, host, &address.addr.sin.sin_addr) != 1 || !(context = coap_new_context(NULL))) {
    return NULL;
  }
  coap_context_set_session_timeout(context, 3600);
  coap_register_nack_handler(context, on_nack);
  coap_resource_t *observe = coap_resource_init(coap_make_str_const(".rpc"), 0);
  coap_register_request_handler(observe, COAP_REQUEST_GET, on_observe);
  coap_add_resource(context, observe);
  coap_resource_t *status = coap_resource_init(coap_make_str_const(".rpc/status"), 0);
  coap_register_request_handler(status, COAP_REQUEST_POST, on_status);
  coap_add_resource(context, status);
  if (!coap_new_endpoint(context, &address, COAP_PROTO_UDP)) {
    coap_free_context(context);
    return NULL;
  }
  return context;
}

static void run_for(coap_context_t *context, double seconds) {
  uint64_t end = nanoseconds() + (uint64_t)(seconds * 1e9), next_check = 0;
  for (uint64_t now = nanoseconds(); now < end; now = nanoseconds()) {
    uint64_t left = (end - now) / 1000000 + 1;
    coap_io_process(context, left < 100 ? (uint32_t)left : 100);
    if (server.calling && now >= next_check) {
      end_overdue_calls();
      next_check = now + 1000000000;
    }
  }
}

static int number(const char *text, int smallest, int largest) {
  char *end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno || *end || end == text || value < smallest || value > largest) {
    fprintf(stderr, "plain-libcoap-server: \"%s\" is not a number from %d to %d\n", text, smallest, largest);
    exit(64);
  }
  return (int)value;
}

int main(int argc, char **argv) {
  static const struct option options[] = {
    {"devices", required_argument, NULL, 'd'}, {"in-flight", required_argument, NULL, 'f'},
    {"seconds", required_argument, NULL, 's'}, {"port", required_argument, NULL, 'p'},
    {"host", required_argument, NULL, 'h'},    {"connect-timeout", required_argument, NULL, 'c'},
    {"cpu", required_argument, NULL, 'u'},
    {NULL, 0, NULL, 0},
  };
  int port = 5683, seconds = 5, connect_timeout = 60, cpu = -1;
  const char *host = "127.0.0.1";
  server.devices_wanted = 10;
  server.in_flight = 64;
  for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    switch (c) {
    case 'd': server.devices_wanted = number(optarg, 1, 1000000); break;
    case 'f': server.in_flight = number(optarg, 1, 100000); break;
    case 's': seconds = number(optarg, 1, 3600); break;
    case 'p': port = number(optarg, 1, 65535); break;
    case 'c': connect_timeout = number(optarg, 1, 3600); break;
    case 'u': cpu = number(optarg, 0, 1023); break;
    case 'h': host = optarg; break;
    default:
      fprintf(stderr, "usage: plain-libcoap-server [--devices N] [--in-flight N] [--seconds S] [--port P]\n"
                      "                            [--host ADDRESS] [--connect-timeout S] [--cpu N]\n");
      return 64;
    }
  }
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
      perror("plain-libcoap-server: --cpu");
      return 71;
    }
  }
  server.devices = calloc((size_t)server.devices_wanted, sizeof *server.devices);
  server.slots = calloc((size_t)server.in_flight, sizeof *server.slots);
  server.generation = calloc((size_t)server.in_flight, sizeof *server.generation);
  coap_startup();
  coap_set_log_handler(ignore_log);
  coap_set_log_level(LOG_EMERG);
  coap_context_t *context = make_context(host, port);
  if (!context || !server.devices || !server.slots || !server.generation) {
    fprintf(stderr, "plain-libcoap-server: cannot listen on %s:%d\n", host, port);
    return 69;
  }

  uint64_t empty = resident_bytes(), give_up = nanoseconds() + (uint64_t)connect_timeout * 1000000000u;
  while (server.devices_connected < server.devices_wanted && nanoseconds() < give_up) {
    coap_io_process(context, 100);
  }
  uint64_t connected = resident_bytes();
  double connect_seconds = (double)(server.last_observe - server.first_observe) * 1e-9, measured = 0;
  int complete = server.devices_connected == server.devices_wanted;
  if (complete) {
    server.calling = 1;
    for (int i = 0; i < server.in_flight; i++) {
      start_call(i);
    }
    run_for(context, warm_up);
    server.measuring = 1;
    uint64_t start = nanoseconds();
    run_for(context, seconds);
    measured = (double)(nanoseconds() - start) * 1e-9;
    server.measuring = server.calling = 0;
  }
  printf("{\"server\":\"plain-libcoap\",\"devices\":%d,\"connected\":%d,\"inFlight\":%d,\"seconds\":%.3f,"
         "\"connectSeconds\":%.3f,\"calls\":%" PRIu64 ",\"callsPerSecond\":%.0f,\"p50\":%.1f,\"p90\":%.1f,"
         "\"p99\":%.1f,\"max\":%.1f,\"errors\":%" PRIu64 ",\"timeouts\":%" PRIu64 ",\"wrong\":%" PRIu64
         ",\"nacks\":%" PRIu64 ",\"late\":%" PRIu64 ",\"rss\":%" PRIu64 ",\"bytesPerDevice\":%.0f}\n",
         server.devices_wanted, server.devices_connected, server.in_flight, measured, connect_seconds, server.calls,
         measured > 0 ? (double)server.calls / measured : 0, percentile(&server.latency, 0.5),
         percentile(&server.latency, 0.9), percentile(&server.latency, 0.99),
         (double)server.latency.largest / 1000, server.timeouts + server.wrong + server.nacks + server.refused_sends,
         server.timeouts, server.wrong, server.nacks, server.late, resident_bytes(),
         server.devices_connected ? (double)(connected - empty) / server.devices_connected : 0);
  fflush(stdout);
  for (int i = 0; i < server.devices_connected; i++) {
    coap_session_release(server.devices[i].session);
  }
  coap_free_context(context);
  coap_cleanup();
  free(server.devices);
  free(server.slots);
  free(server.generation);
  return complete ? 0 : 75;
}
