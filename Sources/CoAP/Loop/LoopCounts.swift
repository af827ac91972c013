/// What the sockets of a loop have done since the loop began.
package struct LoopCounts: Sendable, Hashable {
  /// Datagrams of CoAP and DTLS that have arrived, and requests over TCP and TLS.
  package var packetsReceived: UInt64 = 0
  /// Notifications, pings, responses and acknowledgements that were sent, each transmission by itself. libcoap's own messages,
  /// which are handshakes and Resets, are not among them.
  package var packetsSent: UInt64 = 0
  /// Those of the sent ones that repeat an earlier one, because it was not acknowledged in time.
  package var retransmissions: UInt64 = 0
  /// Connections of TCP and TLS that were closed at once, because there were too many.
  package var refusedConnections: UInt64 = 0

  package init() {}
}
