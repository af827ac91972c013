// OpenSSL's own interface, where libcoap's does not reach. libcoap's package brings the library along, not its headers, so
// that what is needed is looked up by name; where it is not there, as with another library, the answer is the cautious one.
#pragma once
#include <coap3/coap.h>
#include <dlfcn.h>
#include <string.h>

// Empties this thread's list of OpenSSL's errors. OpenSSL looks there to tell why a read has brought nothing, so that what
// is left of one session's failure would end the next session of which a record is dropped; libcoap does not empty it.
static inline void clear_tls_errors(void) {
  static void (*clear)(void);
  void (*known)(void) = __atomic_load_n(&clear, __ATOMIC_RELAXED);
  if (!known) {
    known = (void (*)(void))dlsym(NULL, "ERR_clear_error");
    if (!known) return;
    __atomic_store_n(&clear, known, __ATOMIC_RELAXED);
  }
  known();
}

// The name of the cipher of a session, or null.
static inline const char *tls_cipher(const coap_session_t *session) {
  coap_tls_library_t library;
  void *ssl = coap_session_get_tls(session, &library);
  const void *(*current)(const void *) = (const void *(*)(const void *))dlsym(NULL, "SSL_get_current_cipher");
  const char *(*name)(const void *) = (const char *(*)(const void *))dlsym(NULL, "SSL_CIPHER_get_name");
  return ssl && current && name ? name(current(ssl)) : NULL;
}

// Whether a handshake went on from an earlier one, without a key or a certificate being looked at. TLS 1.3 calls every
// handshake with a pre-shared key so; OpenSSL takes those of a callback for SHA-256 only, and goes on to the next one that
// the peer offers, such as a ticket, when the cipher has another hash (tls_parse_ctos_psk).
static inline _Bool is_resumed(const coap_session_t *session) {
  coap_tls_library_t library;
  void *ssl = coap_session_get_tls(session, &library);
  int (*reused)(const void *) = (int (*)(const void *))dlsym(NULL, "SSL_session_reused");
  const char *cipher = tls_cipher(session);
  if (!ssl || !reused || !cipher) return 1;
  size_t length = strlen(cipher);
  if (strncmp(cipher, "TLS_", 4) == 0 && length > 6 && strcmp(cipher + length - 6, "SHA256") == 0) return 0;
  return reused(ssl) != 0;
}

// Keeps what belongs to a session's TLS until `release_tls`, whatever libcoap does; null when it cannot.
static inline void *hold_tls(const coap_session_t *session) {
  coap_tls_library_t library;
  void *ssl = coap_session_get_tls(session, &library);
  int (*up_ref)(void *) = (int (*)(void *))dlsym(NULL, "SSL_up_ref");
  return ssl && up_ref && up_ref(ssl) ? ssl : NULL;
}

static inline void release_tls(void *ssl) {
  void (*release)(void *) = (void (*)(void *))dlsym(NULL, "SSL_free");
  if (ssl && release) release(ssl);
}

static inline int accept_cookie(void *ssl, const unsigned char *cookie, unsigned int length) {
  (void)ssl, (void)cookie, (void)length;
  return 1;
}

// What all handshakes of the session's kind, DTLS or TLS, are made from in its context; null when that is not to be had.
static inline void *tls_context(const coap_session_t *session) {
  coap_tls_library_t library;
  void *ssl = coap_session_get_tls(session, &library);
  void *(*context)(const void *) = (void *(*)(const void *))dlsym(NULL, "SSL_get_SSL_CTX");
  return ssl && context ? context(ssl) : NULL;
}

// From now on the cookies of ClientHellos are no matter of OpenSSL's. False when it does not let itself be told so.
static inline _Bool accept_all_cookies(void *context) {
  void (*set)(void *, int (*)(void *, const unsigned char *, unsigned int)) =
    (void (*)(void *, int (*)(void *, const unsigned char *, unsigned int)))dlsym(NULL, "SSL_CTX_set_cookie_verify_cb");
  if (!context || !set) return 0;
  set(context, accept_cookie);
  return 1;
}

// From the next handshake on sessions are not resumed: nobody gets a ticket, and whoever has one shakes hands anew.
static inline void forbid_resumption(void *context) {
  uint64_t (*set_options)(void *, uint64_t) = (uint64_t (*)(void *, uint64_t))dlsym(NULL, "SSL_CTX_set_options");
  int (*set_tickets)(void *, size_t) = (int (*)(void *, size_t))dlsym(NULL, "SSL_CTX_set_num_tickets");
  long (*control)(void *, int, long, void *) = (long (*)(void *, int, long, void *))dlsym(NULL, "SSL_CTX_ctrl");
  if (!context || !set_options || !set_tickets || !control) return;
  set_options(context, 1 << 14);  // SSL_OP_NO_TICKET
  set_tickets(context, 0);        // of TLS 1.3
  control(context, 44, 0, NULL);  // SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF
}

// No CA is trusted any more, until libcoap adds those of its setup at the next handshake.
static inline void forget_authorities(void *context) {
  void *(*make)(void) = (void *(*)(void))dlsym(NULL, "X509_STORE_new");
  void (*set)(void *, void *) = (void (*)(void *, void *))dlsym(NULL, "SSL_CTX_set_cert_store");
  if (context && make && set) set(context, make());
}
