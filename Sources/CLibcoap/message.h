// Checks CoAP messages over UDP before libcoap gets them. libcoap answers some messages with a Reset, or in another way of
// its own, that RFC 7252 requires to ignore, or to answer otherwise.
#pragma once
#include <coap3/coap.h>
#include <stdint.h>

// How a message is handled.
enum message_verdict {
  MESSAGE_PASSES,      // libcoap handles it
  MESSAGE_IS_IGNORED,  // RFC 7252 §3 (version), §4.2 (rejected acknowledgements and Resets), §5.4.1 (not confirmable)
  MESSAGE_HAS_BAD_OPTION,     // a critical option has an invalid length (§5.4.3): 4.02
  MESSAGE_REPEATS_OPTION,     // a critical option that may occur once is repeated (§5.4.5): 4.02
  MESSAGE_HAS_UNKNOWN_METHOD, // §5.8: 4.05
  MESSAGE_IS_OURS,     // a request that libcoap, or some of its versions, would not pass on
};

// Reads an extended option delta or length (§3.1). False if it is missing or reserved.
static inline _Bool take_extended(const uint8_t *bytes, size_t length, size_t *at, uint32_t *value) {
  switch (*value) {
    case 13:
      if (length - *at < 1) return 0;
      *value = bytes[(*at)++] + 13u;
      return 1;
    case 14:
      if (length - *at < 2) return 0;
      *value = (uint32_t)(bytes[*at] << 8 | bytes[*at + 1]) + 269;
      *at += 2;
      return 1;
    case 15: return 0;
    default: return 1;
  }
}

struct message_option { uint32_t number, length; size_t value; };

// Reads the next option. False at the end of the options, with its position in `at`, and if they are not well-formed.
static inline _Bool take_option(const uint8_t *bytes, size_t length, size_t *at, struct message_option *option) {
  if (*at >= length || bytes[*at] == 0xff) return 0;
  uint32_t delta = bytes[*at] >> 4, size = bytes[*at] & 15;
  *at += 1;
  if (!take_extended(bytes, length, at, &delta) || !take_extended(bytes, length, at, &size) || size > length - *at) {
    *at = length + 1;
    return 0;
  }
  option->number += delta;
  if (option->number > 0xffff) {
    *at = length + 1;
    return 0;
  }
  option->length = size;
  option->value = *at;
  *at += size;
  return 1;
}

// Whether an option may have this length: RFC 7252 §5.10, RFC 7641 §2, RFC 7959 §2.2, RFC 7967 §2, RFC 8768 §3, RFC 9175
// §2.2.1, §3.2.1. An option that is longer than 255 bytes, and must not be, is malformed for libcoap, too.
static inline _Bool has_right_length(uint32_t number, uint32_t length) {
  switch (number) {
    case COAP_OPTION_IF_MATCH: case COAP_OPTION_RTAG: return length <= 8;
    case COAP_OPTION_IF_NONE_MATCH: return length == 0;
    case COAP_OPTION_ETAG: return length >= 1 && length <= 8;
    case COAP_OPTION_OBSERVE: case COAP_OPTION_BLOCK1: case COAP_OPTION_BLOCK2: return length <= 3;
    case COAP_OPTION_URI_PORT: case COAP_OPTION_CONTENT_FORMAT: case COAP_OPTION_ACCEPT: return length <= 2;
    case COAP_OPTION_MAXAGE: case COAP_OPTION_SIZE1: case COAP_OPTION_SIZE2: return length <= 4;
    case COAP_OPTION_URI_HOST: case COAP_OPTION_PROXY_SCHEME: return length >= 1 && length <= 255;
    case COAP_OPTION_PROXY_URI: return length >= 1 && length <= 1034;
    case COAP_OPTION_OSCORE: case COAP_OPTION_URI_PATH: case COAP_OPTION_URI_QUERY: case COAP_OPTION_LOCATION_PATH:
    case COAP_OPTION_LOCATION_QUERY:
      return length <= 255;
    case COAP_OPTION_HOP_LIMIT: return length == 1;
    case COAP_OPTION_ECHO: return length >= 1 && length <= 40;
    case COAP_OPTION_NORESPONSE: return length <= 1;
    default: return 1;
  }
}

// Whether an option may be repeated: RFC 7252 §5.10 and the others above. An unknown option may (§5.4.5 has it ignored or
// refused anyway).
static inline _Bool may_repeat(uint32_t number) {
  switch (number) {
    case COAP_OPTION_URI_HOST: case COAP_OPTION_IF_NONE_MATCH: case COAP_OPTION_OBSERVE: case COAP_OPTION_URI_PORT:
    case COAP_OPTION_OSCORE: case COAP_OPTION_CONTENT_FORMAT: case COAP_OPTION_MAXAGE: case COAP_OPTION_HOP_LIMIT:
    case COAP_OPTION_ACCEPT: case COAP_OPTION_BLOCK1: case COAP_OPTION_BLOCK2: case COAP_OPTION_SIZE1:
    case COAP_OPTION_SIZE2: case COAP_OPTION_PROXY_URI: case COAP_OPTION_PROXY_SCHEME: case COAP_OPTION_ECHO:
    case COAP_OPTION_NORESPONSE:
      return 0;
    default: return 1;
  }
}

// Whether a request is kept from libcoap because of this option, although the option is valid: libcoap processes these
// options itself, and from 4.3.2 on more of them.
static inline _Bool is_ours(const struct message_option *option, const uint8_t *bytes) {
  switch (option->number) {
    // A request with a Hop-Limit of 1 may still be answered by its origin server (RFC 8768 §3).
    case COAP_OPTION_HOP_LIMIT: return bytes[option->value] == 1;
    // An empty query item is valid.
    case COAP_OPTION_URI_QUERY: return option->length == 0;
    case COAP_OPTION_IF_NONE_MATCH: case COAP_OPTION_PROXY_URI: case COAP_OPTION_PROXY_SCHEME: return 1;
    default: return 0;
  }
}

static inline enum message_verdict judge_options(const uint8_t *bytes, size_t length, uint16_t *bad) {
  enum message_verdict verdict = MESSAGE_PASSES;
  struct message_option option = {0};
  size_t at = 4u + (bytes[0] & 15);
  uint32_t last = 0;
  while (take_option(bytes, length, &at, &option)) {
    _Bool fits = has_right_length(option.number, option.length), repeats = option.number == last && !may_repeat(last);
    last = option.number;
    if (fits && !repeats) {
      if (verdict == MESSAGE_PASSES && is_ours(&option, bytes)) verdict = MESSAGE_IS_OURS;
    } else if ((option.number & 1) == 0) {
      if (verdict == MESSAGE_PASSES) verdict = MESSAGE_IS_OURS;
    } else if (verdict == MESSAGE_PASSES || verdict == MESSAGE_IS_OURS) {
      verdict = fits ? MESSAGE_REPEATS_OPTION : MESSAGE_HAS_BAD_OPTION;
      *bad = (uint16_t)option.number;
    }
  }
  // Options that are not well-formed, or nothing after the payload marker: libcoap rejects this with a Reset (RFC 7252 §4.2).
  return at > length || length - at == 1 ? MESSAGE_PASSES : verdict;
}

// Decides how a message is handled. `bytes` has the first `length` bytes of the datagram, which are all of it if `is_whole`.
static inline enum message_verdict judge_message(
  const uint8_t *bytes, size_t length, _Bool is_whole, uint16_t *bad) {
  if (length < 4 || bytes[0] >> 6 != 1) return MESSAGE_IS_IGNORED;
  uint8_t type = (bytes[0] >> 4) & 3, code_class = bytes[1] >> 5;
  size_t token = bytes[0] & 15;
  _Bool is_empty = bytes[1] == 0;
  if (type == COAP_MESSAGE_RST || (type == COAP_MESSAGE_ACK && is_empty)) {
    return is_empty && token == 0 && length == 4 ? MESSAGE_PASSES : MESSAGE_IS_IGNORED;
  }
  if (type == COAP_MESSAGE_ACK) {
    if (code_class != 2 && code_class != 4 && code_class != 5) return MESSAGE_IS_IGNORED;
    if (token > 8 || token > length - 4) return MESSAGE_IS_IGNORED;
    struct message_option option = {0};
    size_t at = 4 + token;
    while (take_option(bytes, length, &at, &option)) {
      if (!has_right_length(option.number, option.length)) return MESSAGE_IS_IGNORED;
    }
    return is_whole && (at > length || length - at == 1) ? MESSAGE_IS_IGNORED : MESSAGE_PASSES;
  }
  if (is_empty || code_class != 0 || token > 8 || token > length - 4 || !is_whole) return MESSAGE_PASSES;
  enum message_verdict verdict = bytes[1] > COAP_REQUEST_IPATCH ? MESSAGE_HAS_UNKNOWN_METHOD : MESSAGE_PASSES;
  enum message_verdict options = judge_options(bytes, length, bad);
  _Bool is_refused = options == MESSAGE_HAS_BAD_OPTION || options == MESSAGE_REPEATS_OPTION;
  if (is_refused && type == COAP_MESSAGE_NON) return MESSAGE_IS_IGNORED;
  return is_refused || verdict == MESSAGE_PASSES ? options : verdict;
}

// The request without the options that are to be ignored, or NULL without memory.
static inline coap_pdu_t *readable_request(const uint8_t *bytes, size_t length) {
  struct message_option option = {0};
  size_t token = bytes[0] & 15, at = 4 + token;
  uint32_t last = 0;
  coap_pdu_t *pdu = coap_pdu_init(
    (coap_pdu_type_t)((bytes[0] >> 4) & 3), (coap_pdu_code_t)bytes[1], bytes[2] << 8 | bytes[3], length);
  if (!pdu) return NULL;
  _Bool fits = coap_add_token(pdu, token, bytes + 4);
  while (fits && take_option(bytes, length, &at, &option)) {
    if (!has_right_length(option.number, option.length) || option.number == COAP_OPTION_HOP_LIMIT) continue;
    // Only the first occurrence counts (§5.4.5).
    if (option.number == last && !may_repeat(last)) continue;
    last = option.number;
    fits = coap_add_option(pdu, (uint16_t)option.number, option.length, bytes + option.value) > 0;
  }
  if (fits && at < length) fits = coap_add_data(pdu, length - at - 1, bytes + at + 1);
  if (fits) return pdu;
  coap_delete_pdu(pdu);
  return NULL;
}
