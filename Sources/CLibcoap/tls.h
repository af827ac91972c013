// Functions of OpenSSL for what libcoap's interface does not offer. libcoap's package brings the library, but not its
// headers, so the functions are looked up by name. If one is missing, as with another library, the result is the cautious
// one.
#pragma once
#include <coap3/coap.h>
#include <dlfcn.h>
#include <string.h>
#include <sys/socket.h>

// Clears OpenSSL's error queue of this thread, which libcoap does not do. OpenSSL uses the queue to find out why a read has
// returned nothing. An error left by one session would end the next session of which a record is dropped.
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

// Keeps OpenSSL's state until the process ends. Otherwise `exit` would free it while loops are still running, in a process
// that ends without closing its server. Must be called before any other function of OpenSSL.
static inline void keep_tls_at_exit(void) {
  int (*init)(uint64_t, const void *) = (int (*)(uint64_t, const void *))dlsym(NULL, "OPENSSL_init_crypto");
  if (init) init(0x00080000, NULL);  // OPENSSL_INIT_NO_ATEXIT
}

// OpenSSL's SSL object of a session; null when there is none.
static inline void *session_tls(const coap_session_t *session) {
  coap_tls_library_t library;
  return coap_session_get_tls(session, &library);
}

// The name of the cipher of a session, or null.
static inline const char *tls_cipher(const coap_session_t *session) {
  void *ssl = session_tls(session);
  const void *(*current)(const void *) = (const void *(*)(const void *))dlsym(NULL, "SSL_get_current_cipher");
  const char *(*name)(const void *) = (const char *(*)(const void *))dlsym(NULL, "SSL_CIPHER_get_name");
  return ssl && current && name ? name(current(ssl)) : NULL;
}

// Whether the server has the keys of a handshake, and the next message is the peer's Finished.
static inline _Bool awaits_finished(const coap_session_t *session) {
  void *ssl = session_tls(session);
  const char *(*state)(const void *) = (const char *(*)(const void *))dlsym(NULL, "SSL_state_string");
  // The state after the peer's ChangeCipherSpec has been read.
  return ssl && state && strcmp(state(ssl), "TRCCS") == 0;
}

// Whether a handshake has resumed an earlier session, without checking a key or a certificate. TLS 1.3 treats every handshake
// with a pre-shared key as resumed. OpenSSL uses the keys of a callback with SHA-256 only. If the cipher has another hash, it
// tries the next key that the peer offers, such as a ticket (tls_parse_ctos_psk).
static inline _Bool is_resumed(const coap_session_t *session) {
  void *ssl = session_tls(session);
  int (*reused)(const void *) = (int (*)(const void *))dlsym(NULL, "SSL_session_reused");
  const char *cipher = tls_cipher(session);
  if (!ssl || !reused || !cipher) return 1;
  size_t length = strlen(cipher);
  if (strncmp(cipher, "TLS_", 4) == 0 && length > 6 && strcmp(cipher + length - 6, "SHA256") == 0) return 0;
  return reused(ssl) != 0;
}

// Whether the private key of a session belongs to its certificate. libcoap 4.3.5 sets the key first, and OpenSSL silently
// drops a key when a certificate is set to which it does not belong.
static inline _Bool has_private_key(const coap_session_t *session) {
  void *ssl = session_tls(session);
  int (*check)(const void *) = (int (*)(const void *))dlsym(NULL, "SSL_check_private_key");
  _Bool result = ssl && check && check(ssl) == 1;
  if (!result) clear_tls_errors();
  return result;
}

// Keeps the SSL object of a session until `release_tls`, even if libcoap frees it. Null when this is not possible.
static inline void *hold_tls(const coap_session_t *session) {
  void *ssl = session_tls(session);
  int (*up_ref)(void *) = (int (*)(void *))dlsym(NULL, "SSL_up_ref");
  return ssl && up_ref && up_ref(ssl) ? ssl : NULL;
}

static inline void release_tls(void *ssl) {
  void (*release)(void *) = (void (*)(void *))dlsym(NULL, "SSL_free");
  if (ssl && release) release(ssl);
}

// OpenSSL's functions to read and write on a session past libcoap. They are called too often to be looked up each time.
struct tls_feed {
  void *memory;  // a BIO
  void *(*get_rbio)(const void *);
  void (*set_rbio)(void *, void *);
  int (*up_ref)(void *);
  long (*control)(void *, int, long, void *);
  int (*fill)(void *, const void *, int);
  int (*peek)(void *, void *, int);
  int (*read)(void *, void *, int);
  int (*write)(void *, const void *, int);
  void (*release)(void *);
};

static inline _Bool open_tls_feed(struct tls_feed *feed) {
  void *(*make)(const void *) = (void *(*)(const void *))dlsym(NULL, "BIO_new");
  const void *(*kind)(void) = (const void *(*)(void))dlsym(NULL, "BIO_s_mem");
  feed->get_rbio = (void *(*)(const void *))dlsym(NULL, "SSL_get_rbio");
  feed->set_rbio = (void (*)(void *, void *))dlsym(NULL, "SSL_set0_rbio");
  feed->up_ref = (int (*)(void *))dlsym(NULL, "BIO_up_ref");
  feed->control = (long (*)(void *, int, long, void *))dlsym(NULL, "BIO_ctrl");
  feed->fill = (int (*)(void *, const void *, int))dlsym(NULL, "BIO_write");
  feed->peek = (int (*)(void *, void *, int))dlsym(NULL, "SSL_peek");
  feed->read = (int (*)(void *, void *, int))dlsym(NULL, "SSL_read");
  feed->write = (int (*)(void *, const void *, int))dlsym(NULL, "SSL_write");
  feed->release = (void (*)(void *))dlsym(NULL, "BIO_free_all");
  if (!make || !kind || !feed->get_rbio || !feed->set_rbio || !feed->up_ref || !feed->control || !feed->fill ||
      !feed->peek || !feed->read || !feed->write || !feed->release) return 0;
  feed->memory = make(kind());
  if (!feed->memory) return 0;
  feed->control(feed->memory, 130, -1, NULL);  // BIO_C_SET_BUF_MEM_EOF_RETURN: an empty buffer is not the end
  return 1;
}

static inline void close_tls_feed(struct tls_feed *feed) {
  if (feed->memory) feed->release(feed->memory);
  feed->memory = NULL;
}

// Decrypts a record that a session is about to read, and copies the beginning of its contents. OpenSSL keeps the contents for
// the next read, which then takes nothing from the datagram in the socket. Returns the number of bytes copied, or less than
// 1.
static inline int peek_tls(
  struct tls_feed *feed, const coap_session_t *session, const uint8_t *record, size_t length, uint8_t *out, int size) {
  void *ssl = session_tls(session);
  void *own = ssl ? feed->get_rbio(ssl) : NULL;
  if (!own) return 0;
  feed->control(feed->memory, 1, 0, NULL);  // BIO_CTRL_RESET
  if (feed->fill(feed->memory, record, (int)length) != (int)length) return 0;
  feed->up_ref(own);
  feed->up_ref(feed->memory);
  feed->set_rbio(ssl, feed->memory);
  int count = feed->peek(ssl, out, size);
  feed->set_rbio(ssl, own);
  if (count < 1) clear_tls_errors();
  return count;
}

// Discards what was peeked, at most `size` bytes.
static inline void discard_peeked_tls(struct tls_feed *feed, const coap_session_t *session, uint8_t *room, int size) {
  void *ssl = session_tls(session);
  if (ssl && feed->read(ssl, room, size) < 1) clear_tls_errors();
}

static inline void write_tls(struct tls_feed *feed, const coap_session_t *session, const uint8_t *bytes, size_t length) {
  void *ssl = session_tls(session);
  if (ssl && feed->write(ssl, bytes, (int)length) < 1) clear_tls_errors();
}

// The options of all handshakes: no tickets are issued, and the server's order of cipher suites counts.
#define TLS_OPTIONS (1 << 14 | 1 << 22)  // SSL_OP_NO_TICKET, SSL_OP_CIPHER_SERVER_PREFERENCE

typedef int (*security_judge)(const void *, const void *, int, int, int, void *, void *);

// From OpenSSL 3.2 on, cipher suites with a tag of eight bytes count as 64 bits, which is less than OpenSSL accepts by
// default. But one of them is mandatory for CoAP (RFC 7252 §9.1.3.1). `usual` decides about everything else, such as
// certificates.
static inline int judge_security(
  const void *ssl, const void *context, int operation, int bits, int number, void *other, void *usual) {
  if ((operation & ~0xffff) == 1 << 16 && other && bits >= 64 && bits < 80) {  // SSL_SECOP_OTHER_CIPHER
    const char *(*name_of)(const void *) = (const char *(*)(const void *))dlsym(NULL, "SSL_CIPHER_get_name");
    const char *name = name_of ? name_of(other) : "";
    size_t length = strlen(name);
    if (length > 4 && strcmp(name + length - 4, "CCM8") == 0) return 1;
  }
  return ((security_judge)usual)(ssl, context, operation, bits, number, other, NULL);
}

// `kind` is SSL_CTX for the settings of all handshakes, or SSL for one handshake.
#define allow_short_tags(kind, object) do { \
    security_judge (*get)(const void *) = (security_judge (*)(const void *))dlsym(NULL, kind "_get_security_callback"); \
    void (*set)(void *, security_judge) = (void (*)(void *, security_judge))dlsym(NULL, kind "_set_security_callback"); \
    void (*set_usual)(void *, void *) = (void (*)(void *, void *))dlsym(NULL, kind "_set0_security_ex_data"); \
    if (!get || !set || !set_usual || get(object) == judge_security) break; \
    set_usual(object, (void *)get(object)); \
    set(object, judge_security); \
  } while (0)

// OpenSSL ends a DTLS session at a forged record if the MAC covers the ciphertext (RFC 7366), instead of dropping the record
// (RFC 6347 §4.1.2.7), so encrypt-then-MAC is not negotiated. The other options are set here, too, because libcoap has
// created the first SSL object of a context before they were set in its SSL_CTX.
static inline int accept_cookie(void *ssl, const unsigned char *cookie, unsigned int length) {
  (void)cookie, (void)length;
  uint64_t (*set_options)(void *, uint64_t) = (uint64_t (*)(void *, uint64_t))dlsym(NULL, "SSL_set_options");
  if (set_options) set_options(ssl, TLS_OPTIONS | 1 << 19);  // SSL_OP_NO_ENCRYPT_THEN_MAC
  allow_short_tags("SSL", ssl);
  return 1;
}

// The SSL_CTX of all handshakes of the session's kind, DTLS or TLS, in its context. Null when it is not available.
static inline void *tls_context(const coap_session_t *session) {
  void *ssl = session_tls(session);
  void *(*context)(const void *) = (void *(*)(const void *))dlsym(NULL, "SSL_get_SSL_CTX");
  return ssl && context ? context(ssl) : NULL;
}

// Has OpenSSL accept all cookies of ClientHellos from now on. False when this cannot be set.
static inline _Bool accept_all_cookies(void *context) {
  void (*set)(void *, int (*)(void *, const unsigned char *, unsigned int)) =
    (void (*)(void *, int (*)(void *, const unsigned char *, unsigned int)))dlsym(NULL, "SSL_CTX_set_cookie_verify_cb");
  if (!context || !set) return 0;
  set(context, accept_cookie);
  return 1;
}

// Processing a handshake message, such as one with certificates, may leave errors that do not end the handshake. If the
// peer's next message is read together with it, it would be taken for the cause of these errors.
static inline void forget_errors(
  int is_written, int version, int type, const void *bytes, size_t length, void *ssl, void *argument) {
  (void)version, (void)bytes, (void)length, (void)ssl, (void)argument;
  if (!is_written && type == 22) clear_tls_errors();
}

// From the next handshake on, sessions are not resumed: no tickets are issued, and a peer that has one makes a full
// handshake. A handshake message, such as a chain of certificates, has at most 16 KiB: OpenSSL allocates memory for each
// message of which it has a fragment, also for ten messages that are still to come.
static inline void prepare_handshakes(void *context) {
  uint64_t (*set_options)(void *, uint64_t) = (uint64_t (*)(void *, uint64_t))dlsym(NULL, "SSL_CTX_set_options");
  int (*set_tickets)(void *, size_t) = (int (*)(void *, size_t))dlsym(NULL, "SSL_CTX_set_num_tickets");
  long (*control)(void *, int, long, void *) = (long (*)(void *, int, long, void *))dlsym(NULL, "SSL_CTX_ctrl");
  int (*name)(void *, const unsigned char *, unsigned int) =
    (int (*)(void *, const unsigned char *, unsigned int))dlsym(NULL, "SSL_CTX_set_session_id_context");
  void (*watch)(void *, void (*)(int, int, int, const void *, size_t, void *, void *)) =
    (void (*)(void *, void (*)(int, int, int, const void *, size_t, void *, void *)))dlsym(NULL, "SSL_CTX_set_msg_callback");
  if (!context || !set_options || !set_tickets || !control || !name || !watch) return;
  watch(context, forget_errors);
  set_options(context, TLS_OPTIONS);
  set_tickets(context, 0);               // of TLS 1.3
  control(context, 44, 0, NULL);         // SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF
  control(context, 51, 16 << 10, NULL);  // SSL_CTRL_SET_MAX_CERT_LIST
  // For OpenSSL a pre-shared key of TLS 1.3 is a session, and where it may request a certificate, it accepts none without an
  // id context (ssl_get_prev_session).
  name(context, (const unsigned char *)"device", 6);
}

// Sets the cipher suites of the next handshakes, the preferred one first: `suites` of TLS 1.2, in OpenSSL's notation, and
// `newer` of TLS 1.3. TLS 1.2 becomes the oldest version. False when OpenSSL does not accept them.
static inline _Bool set_cipher_suites(void *context, const char *suites, const char *newer) {
  int (*set_suites)(void *, const char *) = (int (*)(void *, const char *))dlsym(NULL, "SSL_CTX_set_cipher_list");
  int (*set_newer)(void *, const char *) = (int (*)(void *, const char *))dlsym(NULL, "SSL_CTX_set_ciphersuites");
  long (*control)(void *, int, long, void *) = (long (*)(void *, int, long, void *))dlsym(NULL, "SSL_CTX_ctrl");
  if (!context || !set_suites || !set_newer || !control) return 0;
  // libcoap has done the same for DTLS. Suites with CBC can be used from TLS 1.0 on.
  control(context, 123, 0x0303, NULL);  // SSL_CTRL_SET_MIN_PROTO_VERSION
  allow_short_tags("SSL_CTX", context);
  return set_suites(context, suites) == 1 && set_newer(context, newer) == 1;
}

// No CA is trusted any more, until libcoap adds those of its setup at the next handshake.
static inline void forget_authorities(void *context) {
  void *(*make)(void) = (void *(*)(void))dlsym(NULL, "X509_STORE_new");
  void (*set)(void *, void *) = (void (*)(void *, void *))dlsym(NULL, "SSL_CTX_set_cert_store");
  if (context && make && set) set(context, make());
}

// The maximum length in bytes of a name from a certificate, which is that of a DNS name (RFC 1035 §3.1).
#define CERTIFICATE_NAME_BYTES 255

// Copies a name that is not empty and contains no NUL, at which other programs would end it. Returns its length, or 0.
static inline size_t copy_name(uint8_t *target, const uint8_t *name, int length) {
  if (!name || length <= 0 || length > CERTIFICATE_NAME_BYTES || memchr(name, 0, (size_t)length)) return 0;
  memcpy(target, name, (size_t)length);
  return (size_t)length;
}

// Copies the bytes of the first DNS name of the subject's alternative names. Returns its length, 0 if it is unusable or the
// names cannot be read, and -1 if there is none.
static inline int copy_dns_name(void *certificate, uint8_t *target) {
  void *(*names_of)(const void *, int, int *, int *) =
    (void *(*)(const void *, int, int *, int *))dlsym(NULL, "X509_get_ext_d2i");
  int (*count)(const void *) = (int (*)(const void *))dlsym(NULL, "OPENSSL_sk_num");
  void *(*at)(const void *, int) = (void *(*)(const void *, int))dlsym(NULL, "OPENSSL_sk_value");
  void *(*value)(const void *, int *) = (void *(*)(const void *, int *))dlsym(NULL, "GENERAL_NAME_get0_value");
  const uint8_t *(*bytes)(const void *) = (const uint8_t *(*)(const void *))dlsym(NULL, "ASN1_STRING_get0_data");
  int (*length)(const void *) = (int (*)(const void *))dlsym(NULL, "ASN1_STRING_length");
  void (*release)(void *) = (void (*)(void *))dlsym(NULL, "GENERAL_NAMES_free");
  if (!names_of || !count || !at || !value || !bytes || !length || !release) return 0;
  int state;
  void *names = names_of(certificate, 85 /* NID_subject_alt_name */, &state, NULL);
  // -1: there is no such extension. Otherwise there are several of them, or it cannot be read.
  if (!names) return state == -1 ? -1 : 0;
  int result = -1;
  for (int index = 0; index < count(names) && result < 0; index++) {
    int kind;
    const void *name = value(at(names, index), &kind);
    if (kind == 2 /* GEN_DNS */) result = (int)copy_name(target, bytes(name), length(name));
  }
  release(names);
  return result;
}

// Copies the last common name of the subject, which is the most specific one, in UTF-8. Returns its length, or 0.
static inline size_t copy_common_name(void *certificate, uint8_t *target) {
  void *(*subject)(const void *) = (void *(*)(const void *))dlsym(NULL, "X509_get_subject_name");
  int (*next)(const void *, int, int) = (int (*)(const void *, int, int))dlsym(NULL, "X509_NAME_get_index_by_NID");
  void *(*entry)(const void *, int) = (void *(*)(const void *, int))dlsym(NULL, "X509_NAME_get_entry");
  void *(*data)(const void *) = (void *(*)(const void *))dlsym(NULL, "X509_NAME_ENTRY_get_data");
  int (*utf8)(uint8_t **, const void *) = (int (*)(uint8_t **, const void *))dlsym(NULL, "ASN1_STRING_to_UTF8");
  void (*release)(void *, const char *, int) = (void (*)(void *, const char *, int))dlsym(NULL, "CRYPTO_free");
  if (!subject || !next || !entry || !data || !utf8 || !release) return 0;
  const void *name = subject(certificate);
  int last = -1;
  for (int index; (index = next(name, 13 /* NID_commonName */, last)) >= 0;) last = index;
  if (last < 0) return 0;
  uint8_t *text = NULL;
  int length = utf8(&text, data(entry(name, last)));
  size_t result = copy_name(target, text, length);
  release(text, __FILE__, __LINE__);
  return result;
}

// Copies the name of a certificate in DER, at most CERTIFICATE_NAME_BYTES: its first DNS name, or else its common name.
// Returns its length, or 0 when there is none, or one that other programs may read differently. The name found by libcoap is
// not used: libcoap searches the subject's text for "CN=", which the holder of a certificate may have written into another
// attribute (coap_openssl.c, `get_san_or_cn_from_cert`).
static inline size_t certificate_name(const uint8_t *der, size_t length, uint8_t *target) {
  void *(*read)(void **, const uint8_t **, long) = (void *(*)(void **, const uint8_t **, long))dlsym(NULL, "d2i_X509");
  void (*release)(void *) = (void (*)(void *))dlsym(NULL, "X509_free");
  void *certificate = read && release ? read(NULL, &der, (long)length) : NULL;
  size_t result = 0;
  if (certificate) {
    int found = copy_dns_name(certificate, target);
    result = found < 0 ? copy_common_name(certificate, target) : (size_t)found;
    release(certificate);
  }
  // The errors of reading the certificate would be taken for errors of the handshake in progress.
  if (!result) clear_tls_errors();
  return result;
}

// Peeks at what the peer of a connection has sent and libcoap has not read. Returns the number of bytes, at most `size`, or
// less than 1.
static inline int peek_stream(const coap_session_t *session, int fd, uint8_t *out, int size) {
  if (coap_session_get_proto(session) != COAP_PROTO_TLS) return (int)recv(fd, out, (size_t)size, MSG_PEEK | MSG_DONTWAIT);
  void *ssl = session_tls(session);
  int (*peek)(void *, void *, int) = (int (*)(void *, void *, int))dlsym(NULL, "SSL_peek");
  int count = ssl && peek ? peek(ssl, out, size) : 0;
  if (count < 1) clear_tls_errors();
  return count;
}

// Writes to a connection past libcoap, which sends nothing but a CSM until it has received one.
static inline void write_stream(const coap_session_t *session, int fd, const uint8_t *bytes, size_t length) {
  if (coap_session_get_proto(session) != COAP_PROTO_TLS) {
    send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    return;
  }
  void *ssl = session_tls(session);
  int (*write)(void *, const void *, int) = (int (*)(void *, const void *, int))dlsym(NULL, "SSL_write");
  if (ssl && write && write(ssl, bytes, (int)length) < 1) clear_tls_errors();
}
