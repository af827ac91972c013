/// What one endpoint keeps at most; full means a clear refusal to the newcomer.
package struct CoAPLimits: Sendable, Hashable {
  /// Sessions without an observation; the one idle for longest is dropped for a new one. 20,000, about 1 KB each.
  package var idleSessions = 20_000
  /// Handshakes of DTLS under way, of peers that have proved their address; more are not answered until some of these are
  /// over. 5,000, 48 KB each, and up to 190 KB if a peer sends what should come later.
  package var handshakes = 5_000
  /// Bytes of a ClientHello of DTLS, which may come in fragments (RFC 6347 §4.2.3); a longer one is refused. 4 KiB.
  package var helloBytes = 4 << 10
  /// Connections of TCP and TLS at a time; the next one is closed. 10,000. Each takes a descriptor, so the system's limit
  /// (`ulimit -n`) should be higher; where it is not, it counts.
  package var connections = 10_000
  /// Seconds in which a connection must become a CoAP session: the handshake of TLS and the peer's CSM (RFC 8323 §5.3). 30.
  package var connectionTimeout = 30
  /// Bytes of a message over TCP, which a CSM tells the peer; one that says to be longer ends its connection. 16 KiB: more
  /// goes block-wise, for every connection may keep half a message here.
  package var messageBytes = 16 << 10
  /// Seconds after which a session without an observation and without traffic is dropped. 300.
  package var sessionTimeout = 300
  /// Requests remembered per session to recognise a retransmission, for EXCHANGE_LIFETIME at most. 4, 32 bytes each
  /// and the response if it had a payload; a peer has one request under way at a time (NSTART, RFC 7252 §4.7).
  package var exchangesPerSession = 4
  /// Answers remembered per session besides, each for the whole of EXCHANGE_LIFETIME: those to polls that have taken a call
  /// away; the oldest makes room. 64.
  package var keptExchangesPerSession = 64
  /// Requests of one session in a second, of which as many may come at once; 0 for no bound, which is the default. More
  /// are answered with 4.29 (RFC 8516).
  package var requestsPerSecond = 0
  /// Observations per session. 4.
  package var observationsPerSession = 4
  /// Bodies under way in blocks per session, in each direction; the one that was touched longest ago makes room. 8.
  package var transfersPerSession = 8
  /// Bytes of a request body that arrives in blocks (Block1). 1 MiB.
  package var bodyBytes = 1 << 20
  /// Bytes of all bodies under way in blocks, both directions. 64 MiB.
  package var transferBytes = 64 << 20
  /// Seconds after which a transfer in blocks that makes no progress is forgotten. 93, MAX_TRANSMIT_WAIT.
  package var transferTimeout = 93
  /// Bytes of payload that are sent in one datagram; more goes block-wise. 1,096 with the options of a
  /// notification fill a datagram of 1,116 bytes, the most that Golioth's firmware takes.
  package var datagramPayload = 1_096

  package init() {}
}

/// The transmission parameters of RFC 7252 §4.8.
package struct CoAPTransmission: Sendable, Hashable {
  /// ACK_TIMEOUT: seconds before the first retransmission. 2; libcoap takes no less than 1.
  package var ackTimeout = 2.0
  /// ACK_RANDOM_FACTOR: the first wait is between ACK_TIMEOUT and this many times as long. 1.5, at least 1.
  package var ackRandomFactor = 1.5
  /// MAX_RETRANSMIT: how often a message is sent again, each time after twice the wait. 4, at least 1.
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

  /// EXCHANGE_LIFETIME: seconds in which a message id may come again as a retransmission (RFC 7252 §4.8.2).
  static let exchangeLifetime = 247
}
