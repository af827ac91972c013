internal import CLibcoap

/// Answers of peers to the server's confirmable messages, and pings of peers.
extension CoAPShard {
  /// Identifies a message by its peer and message id.
  struct MessageKey: Hashable {
    let high: UInt64
    let low: UInt64
    let port: UInt16
    let messageID: UInt16

    // The key of an IPv4 peer fits into one word, which is hashed in half the time of four fields.
    func hash(into hasher: inout Hasher) {
      let rest = UInt64(port) << 48 | UInt64(messageID) << 32
      if high == 0, low >> 32 == 0 { return hasher.combine(low | rest) }
      hasher.combine(high)
      hasher.combine(low)
      hasher.combine(rest)
    }
  }

  func key(_ address: CoAPAddress, _ messageID: UInt16) -> MessageKey {
    MessageKey(high: address.high, low: address.low, port: address.port, messageID: messageID)
  }

  /// Notes that an empty acknowledgement or Reset is among the messages of this pass. It is processed when all of them have
  /// been read, because a result among them takes precedence.
  func answered(_ key: MessageKey, isReset: Bool) {
    if let confirmable = underWay.removeValue(forKey: key) { answered.append((confirmable.message, isReset)) }
  }

  func tellAnswered() {
    // The list does not change in the loop: only reading datagrams adds to it.
    for (message, isReset) in answered { if isReset { message.failed(.reset) } else { message.acknowledged() } }
    answered.removeAll(keepingCapacity: true)
  }

  /// Called for an empty message, a keep-alive or ping, which libcoap answers with a Reset, and for a Ping over TCP.
  func pinged(_ handle: OpaquePointer, _ token: CoAPToken) {
    // libcoap sends its own Pong afterwards, which never has the token (net.c, `handle_signaling`).
    if token.count > 0, CoAPScheme(coap_session_get_proto(handle))?.isStream == true { pong(handle, token) }
    // A peer that has not sent a request yet has no session here.
    if let session = known(handle) { heard(from: session) }
  }

  /// Sends a Pong with the token of the Ping (RFC 8323 §5.4).
  private func pong(_ handle: OpaquePointer, _ token: CoAPToken) {
    guard let pdu = coap_pdu_init(COAP_MESSAGE_CON, COAP_SIGNALING_CODE_PONG, 0, Int(token.count)) else { return }
    guard PDU.addToken(token, to: pdu) else { return coap_delete_pdu(pdu) }
    // `coap_send` frees the PDU, also when it fails.
    _ = coap_send(handle, pdu)
  }
}
