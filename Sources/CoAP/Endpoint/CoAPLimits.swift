/// Upper limits of one endpoint. A new peer, request or transfer beyond a limit is refused unless stated otherwise.
package struct CoAPLimits: Sendable, Hashable {
  /// Sessions without an observation. A new session replaces the one that has been idle longest. Default 20,000, about 1 KB
  /// each.
  package var idleSessions = 20_000
  /// DTLS handshakes in progress, of peers that have proved their address. Further ones are not answered until some of these
  /// have ended. Default 5,000, 48 KB each, and up to 190 KB if a peer sends messages of the handshake ahead of their turn.
  package var handshakes = 5_000
  /// Bytes of a DTLS ClientHello, which may be fragmented (RFC 6347 §4.2.3). A longer one is refused. Default 4 KiB.
  package var helloBytes = 4 << 10
  /// Simultaneous TCP and TLS connections. A further one is closed. Default 10,000. Each takes a file descriptor, so the
  /// system's limit (`ulimit -n`) should be higher; if it is lower, the system's limit applies.
  package var connections = 10_000
  /// Seconds in which a connection must become a CoAP session: the TLS handshake and the peer's CSM (RFC 8323 §5.3). Default
  /// 30.
  package var connectionTimeout = 30
  /// Bytes of a message over TCP, announced to the peer in a CSM. A message that declares a larger length ends its
  /// connection. Default 16 KiB: larger bodies go block-wise, because each connection may hold an incomplete message here.
  package var messageBytes = 16 << 10
  /// Seconds without traffic after which a session without an observation is dropped. Default 300.
  package var sessionTimeout = 300
  /// Requests remembered per session to recognise a retransmission, for at most EXCHANGE_LIFETIME. Default 4, 32 bytes each
  /// plus the response if it had a payload. A peer has one outstanding request at a time (NSTART, RFC 7252 §4.7).
  package var exchangesPerSession = 4
  /// Additional responses remembered per session, each for the whole of EXCHANGE_LIFETIME: those to polls that have delivered
  /// a call. A new one replaces the oldest. Default 64.
  package var keptExchangesPerSession = 64
  /// Requests per second of one session, of which as many may come at once. 0, the default, means no limit. Further ones are
  /// answered with 4.29 (RFC 8516).
  package var requestsPerSecond = 0
  /// Observations per session. Default 4.
  package var observationsPerSession = 4
  /// Block-wise transfers in progress per session, in each direction. A new one replaces the least recently used. Default 8.
  package var transfersPerSession = 8
  /// Bytes of a request body that arrives in blocks (Block1). Default 1 MiB.
  package var bodyBytes = 1 << 20
  /// Bytes of all bodies in block-wise transfers, in both directions. Default 64 MiB.
  package var transferBytes = 64 << 20
  /// Seconds without progress after which a block-wise transfer is discarded. Default 93, MAX_TRANSMIT_WAIT.
  package var transferTimeout = 93
  /// Bytes of payload sent in one datagram. A longer payload goes block-wise. With the options of a notification, the default
  /// of 1,096 fills a datagram of 1,116 bytes, the most that Golioth's firmware accepts.
  package var datagramPayload = 1_096

  package init() {}
}

/// The transmission parameters of RFC 7252 §4.8.
package struct CoAPTransmission: Sendable, Hashable {
  /// ACK_TIMEOUT: seconds before the first retransmission. Default 2, at least 1.
  package var ackTimeout = 2.0
  /// ACK_RANDOM_FACTOR: the first timeout is between ACK_TIMEOUT and this multiple of it. Default 1.5, at least 1.
  package var ackRandomFactor = 1.5
  /// MAX_RETRANSMIT: the number of retransmissions of a message. The timeout doubles after each. Default 4, at least 1.
  package var maxRetransmit = 4

  package init() {}
  package init(ackTimeout: Double, ackRandomFactor: Double = 1.5, maxRetransmit: Int = 4) {
    self.ackTimeout = ackTimeout
    self.ackRandomFactor = ackRandomFactor
    self.maxRetransmit = maxRetransmit
  }

  /// MAX_TRANSMIT_WAIT: nanoseconds after which a message has been acknowledged or given up (RFC 7252 §4.8.2).
  var longestTransmission: UInt64 {
    UInt64(min(3_600, max(1, ackTimeout) * max(1, ackRandomFactor) * Double((2 << min(max(1, maxRetransmit), 16)) - 1)) * 1e9)
  }

  /// EXCHANGE_LIFETIME: seconds in which a message with the same message id is a retransmission (RFC 7252 §4.8.2).
  static let exchangeLifetime = 247
}
