// What Swift cannot import of libcoap and of the kernel's socket interface: macros, and functions that glibc declares for
// _GNU_SOURCE only. Nothing else belongs here. _GNU_SOURCE itself is not defined: it changes types that Swift's Glibc module
// has too (fd_set), and the compiler then refuses one of the two.
#pragma once
#include "message.h"
#include "tls.h"
#include <coap3/coap.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// The head of a datagram that waits in a socket's receive queue.
struct peeked_datagram {
  uint64_t address_high;  // IPv6 address, or 0 for IPv4
  uint64_t address_low;   // IPv6 address, or the IPv4 address
  uint32_t length;        // of the whole datagram, in bytes
  uint16_t port;          // host byte order
  uint16_t message_id;
  uint8_t type;           // 0 CON, 1 NON, 2 ACK, 3 RST; 0xff: not CoAP
  uint8_t code;
  uint8_t verdict;        // enum message_verdict
  uint16_t bad_option;    // its number, with MESSAGE_HAS_BAD_OPTION or MESSAGE_REPEATS_OPTION
  const uint8_t *bytes;   // its beginning, valid until the next peek
  // The first record, if the datagram has DTLS records (RFC 6347 §4.1, §4.2.2).
  uint8_t content_type;    // 0: no record
  uint8_t handshake_type;  // of an unencrypted handshake message, else 0
  uint16_t epoch;
  // All records of a DTLS datagram.
  uint16_t shortest;       // bytes of the shortest encrypted record; 0xffff: none, 0: records are incomplete
  uint16_t encrypted;      // the number of encrypted records
  uint16_t encrypted_handshake;  // bytes of the longest encrypted record with handshake messages; 0: none
  _Bool is_current;        // all records have the version of DTLS 1.2
  // Of a ClientHello, whole or in fragments (RFC 6347 §4.2.1, §4.2.3).
  _Bool is_continued;      // a fragment after the first one, which has no cookie
  uint32_t hello_bytes;    // of the whole message
  uint8_t sequence[6];     // of its record
  uint8_t cookie_length;
  uint8_t cookie[16];      // its beginning
};

#define PEEK_BATCH 32
// COAP_RXBUFFER_SIZE: the number of bytes that libcoap reads of a datagram at most.
#define PEEK_BYTES 1472

// Examines the records of a datagram (RFC 6347 §4.1) to its end.
static inline void peek_records(const uint8_t *bytes, size_t length, struct peeked_datagram *d) {
  d->shortest = 0xffff;
  d->encrypted = d->encrypted_handshake = 0;
  d->is_current = 1;
  while (length > 0) {
    size_t size = length < 13 ? 0 : (size_t)(bytes[11] << 8 | bytes[12]);
    if (length < 13 || size > length - 13 || bytes[1] != 0xfe) {
      d->shortest = 0;
      return;
    }
    if (bytes[2] != 0xfd) d->is_current = 0;
    if (bytes[3] || bytes[4]) {
      d->encrypted++;
      if (size < d->shortest) d->shortest = (uint16_t)size;
      if (bytes[0] == 22 && size > d->encrypted_handshake) d->encrypted_handshake = (uint16_t)size;
    }
    bytes += 13 + size;
    length -= 13 + size;
  }
}

// Finds the cookie of the ClientHello at the beginning of a datagram, or detects a later fragment of one. False if it is not
// a DTLS ClientHello that is complete up to the cookie.
static inline _Bool peek_hello(const uint8_t *bytes, size_t length, struct peeked_datagram *d) {
  // The headers of record and message, the version and the random bytes.
  size_t at = 13 + 12 + 2 + 32;
  memset(d->cookie, 0, sizeof d->cookie);
  d->cookie_length = 0;
  d->is_continued = 0;
  memcpy(d->sequence, bytes + 5, 6);
  if (bytes[1] != 0xfe || length < 13 + 12) return 0;
  d->hello_bytes = (uint32_t)(bytes[14] << 16 | bytes[15] << 8 | bytes[16]);
  if (bytes[19] || bytes[20] || bytes[21]) return d->is_continued = 1;
  if (length <= at) return 0;
  if ((at += 1 + bytes[at]) >= length) return 0;
  size_t size = bytes[at++];
  if (size > length - at) return 0;
  d->cookie_length = (uint8_t)size;
  memcpy(d->cookie, bytes + at, size < sizeof d->cookie ? size : sizeof d->cookie);
  return 1;
}

// Peeks at up to PEEK_BATCH waiting datagrams. They must be read before the next peek. Returns their number, or 0. The
// beginning of each is copied into `room`, which has PEEK_BYTES for each.
static inline int peek_datagrams(int fd, struct peeked_datagram *out, uint8_t *room, _Bool is_secure) {
  struct { struct msghdr msg_hdr; unsigned int msg_len; } messages[PEEK_BATCH];  // struct mmsghdr
  struct iovec vectors[PEEK_BATCH];
  struct sockaddr_in6 names[PEEK_BATCH];
  memset(messages, 0, sizeof messages);
  for (int i = 0; i < PEEK_BATCH; i++) {
    vectors[i].iov_base = room + i * PEEK_BYTES;
    vectors[i].iov_len = PEEK_BYTES;
    messages[i].msg_hdr.msg_iov = &vectors[i];
    messages[i].msg_hdr.msg_iovlen = 1;
    messages[i].msg_hdr.msg_name = &names[i];
    messages[i].msg_hdr.msg_namelen = sizeof names[i];
  }
  // MSG_TRUNC makes the kernel advance the peek offset by the whole datagram.
  int count = (int)syscall(SYS_recvmmsg, fd, messages, PEEK_BATCH, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT, NULL);
  for (int i = 0; i < count; i++) {
    struct peeked_datagram *d = &out[i];
    uint32_t length = messages[i].msg_len;
    d->length = length;
    if (names[i].sin6_family == AF_INET6) {
      memcpy(&d->address_high, names[i].sin6_addr.s6_addr, 8);
      memcpy(&d->address_low, names[i].sin6_addr.s6_addr + 8, 8);
      d->port = ntohs(names[i].sin6_port);
    } else {
      const struct sockaddr_in *v4 = (const struct sockaddr_in *)&names[i];
      d->address_high = 0;
      d->address_low = v4->sin_addr.s_addr;
      d->port = ntohs(v4->sin_port);
    }
    const uint8_t *head = d->bytes = vectors[i].iov_base;
    size_t known = length < PEEK_BYTES ? length : PEEK_BYTES;
    d->type = length >= 4 && head[0] >> 6 == 1 ? (head[0] >> 4) & 3 : 0xff;
    d->code = length >= 4 ? head[1] : 0;
    d->message_id = length >= 4 ? (uint16_t)(head[2] << 8 | head[3]) : 0;
    if (!is_secure) {
      d->verdict = judge_message(head, known, known == length, &d->bad_option);
      continue;
    }
    d->content_type = length > 13 ? head[0] : 0;
    d->epoch = length > 13 ? (uint16_t)(head[3] << 8 | head[4]) : 0;
    d->handshake_type = d->content_type == 22 && d->epoch == 0 ? head[13] : 0;
    peek_records(head, known, d);
    // libcoap keeps a session for everything that looks like a ClientHello, and our answer would be longer than this
    // datagram.
    if (d->handshake_type == 1 && !peek_hello(head, known, d)) d->content_type = d->handshake_type = 0;
  }
  return count < 0 ? 0 : count;
}

// Sets the peek offset to the first datagram that has not been read.
static inline int rewind_peek(int fd) {
  int zero = 0;
  return setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof zero);
}

// Puts a duplicate of `from` in the place of `to` (dup3). It is closed in child processes, which would otherwise keep the
// port.
static inline int replace_descriptor(int from, int to) { return (int)syscall(SYS_dup3, from, to, O_CLOEXEC); }

// Reads and discards a datagram, if there is one. MSG_TRUNC moves the peek offset by the whole datagram.
static inline _Bool discard_datagram(int fd) {
  char nothing;
  return recv(fd, &nothing, 0, MSG_TRUNC | MSG_DONTWAIT) >= 0;
}

// The peer of a connection; not 0 when there is none (getpeername).
static inline int connected_peer(int fd, coap_address_t *out) {
  return getpeername(fd, &out->addr.sa, &out->size);
}

// Reads and discards a datagram, and sends `reply` to its sender, from the address that it was sent to.
static inline void answer_datagram(int fd, const uint8_t *reply, size_t length) {
  uint8_t nothing[1];
  struct sockaddr_storage name;
  union { struct cmsghdr align; uint8_t bytes[128]; } control;
  struct iovec vector = {.iov_base = nothing, .iov_len = sizeof nothing};
  struct msghdr message = {
    .msg_name = &name, .msg_namelen = sizeof name, .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes,
    .msg_controllen = sizeof control.bytes,
  };
  if (recvmsg(fd, &message, MSG_TRUNC | MSG_DONTWAIT) < 0) return;
  vector.iov_base = (void *)(uintptr_t)reply;
  vector.iov_len = length;
  message.msg_flags = 0;
  sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// Sends a datagram to the peer of a session, from the address at which it is served (IP_PKTINFO).
static inline void send_datagram(int fd, const coap_session_t *session, const uint8_t *bytes, size_t length) {
  const coap_address_t *remote = coap_session_get_addr_remote(session), *local = coap_session_get_addr_local(session);
  struct { struct in6_addr address; unsigned int interface; } v6;  // struct in6_pktinfo
  struct in_pktinfo v4;
  union { struct cmsghdr align; uint8_t bytes[64]; } control;
  struct iovec vector = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
  struct msghdr message = {
    .msg_name = (void *)(uintptr_t)&remote->addr.sa, .msg_namelen = remote->size, .msg_iov = &vector, .msg_iovlen = 1,
    .msg_control = control.bytes,
  };
  memset(&control, 0, sizeof control);
  if (local->addr.sa.sa_family == AF_INET6) {
    v6.address = local->addr.sin6.sin6_addr;
    v6.interface = (unsigned int)coap_session_get_ifindex(session);
    message.msg_controllen = CMSG_SPACE(sizeof v6);
    *CMSG_FIRSTHDR(&message) = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof v6), .cmsg_level = IPPROTO_IPV6, .cmsg_type = IPV6_PKTINFO};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &v6, sizeof v6);
  } else {
    memset(&v4, 0, sizeof v4);
    v4.ipi_ifindex = coap_session_get_ifindex(session);
    v4.ipi_spec_dst = local->addr.sin.sin_addr;
    message.msg_controllen = CMSG_SPACE(sizeof v4);
    *CMSG_FIRSTHDR(&message) = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof v4), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO};
    memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &v4, sizeof v4);
  }
  sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static inline int set_socket_flag(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value);
}

// Reads as many datagrams as there are cookies, each from the endpoint of its cookie (libcoap's coap_socket_t).
static inline void read_datagrams(coap_context_t *pump, const uint64_t *cookies, size_t count, _Bool has_secure) {
  struct epoll_event events[64];
  while (count > 0) {
    size_t batch = has_secure ? 1 : count < 64 ? count : 64;
    for (size_t i = 0; i < batch; i++) {
      events[i].events = EPOLLIN;
      events[i].data.u64 = cookies[i];
    }
    coap_io_do_epoll(pump, events, batch);
    if (has_secure) clear_tls_errors();
    cookies += batch;
    count -= batch;
  }
}

// Lets libcoap do what is due in the context. Returns the milliseconds until the next time, or 0 when nothing is pending.
static inline unsigned int prepare_context(coap_context_t *context) {
  coap_tick_t now;
  coap_ticks(&now);
  unsigned int pause = coap_io_prepare_epoll(context, now);
  clear_tls_errors();
  return pause;
}

// Returns the events of accepted connections from libcoap's own epoll descriptor, at most 64.
static inline int wait_for_streams(coap_context_t *context, struct epoll_event *events) {
  return epoll_wait(coap_context_get_coap_fd(context), events, 64, 0);
}

// Handles one of these events for `pump`, which has no sessions to walk.
static inline void read_stream(coap_context_t *pump, struct epoll_event event) {
  coap_io_do_epoll(pump, &event, 1);
  clear_tls_errors();
}

// Whether a connection can be written to without blocking.
static inline _Bool is_writable(int fd) {
  struct pollfd wanted = {.fd = fd, .events = POLLOUT};
  return poll(&wanted, 1, 0) != 0;
}

// Whether libcoap's own epoll descriptor reports an event within `patience` milliseconds.
static inline _Bool wait_for_own_events(coap_context_t *context, int patience) {
  struct pollfd wanted = {.fd = coap_context_get_coap_fd(context), .events = POLLIN};
  return poll(&wanted, 1, patience) > 0;
}

// What libcoap's own epoll descriptor reports: its timer, and the sockets of client sessions.
static inline int run_own_events(coap_context_t *context) {
  struct epoll_event events[64];
  int count = epoll_wait(coap_context_get_coap_fd(context), events, 64, 0);
  if (count > 0) coap_io_do_epoll(context, events, (size_t)count);
  clear_tls_errors();
  return count;
}

// Level 4 is a warning: up to libcoap 4.3.1 the levels are those of syslog, and later an enumeration with the same values.
static inline void set_log_levels(void) {
  coap_set_log_level((coap_log_t)4);
  coap_dtls_set_log_level((coap_log_t)4);
}
// From libcoap 4.3.2 on, messages about DTLS and TLS have levels of their own, higher by COAP_LOG_DTLS_BASE.
static inline _Bool is_warning(coap_log_t level) { return (int)level == 4 || (int)level == 9 + 4; }

static inline void name_this_thread(const char *name) { prctl(PR_SET_NAME, name); }

static inline coap_pdu_code_t pdu_code(uint8_t code) { return (coap_pdu_code_t)code; }
static inline coap_request_t request_method(int method) { return (coap_request_t)method; }
