internal import CLibcoap

/// What peers say of the confirmable messages that are under way to them.
extension CoAPShard {
  /// Which message of which peer.
  struct MessageKey: Hashable {
    let high: UInt64
    let low: UInt64
    let port: UInt16
    let messageID: UInt16

    // An IPv4 peer fits one word, and a word is hashed in half the time of four fields.
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

  /// An empty acknowledgement or Reset is among the messages of this pass. It counts when all have been read: what else came
  /// with it, such as a result, is worth more.
  func answered(_ key: MessageKey, isReset: Bool) {
    if let confirmable = underWay.removeValue(forKey: key) { answered.append((confirmable.message, isReset)) }
  }

  func tellAnswered() {
    // Nobody adds to them here: only what is read does.
    for (message, isReset) in answered { if isReset { message.failed(.reset) } else { message.acknowledged() } }
    answered.removeAll(keepingCapacity: true)
  }

  /// An empty message: a keep-alive, or a ping, which libcoap answers with a Reset. Or over TCP a Ping.
  func pinged(_ handle: OpaquePointer, _ token: CoAPToken) {
    // libcoap's own Pong, which follows, never has one (net.c, `handle_signaling`).
    if token.count > 0, CoAPScheme(coap_session_get_proto(handle))?.isStream == true { pong(handle, token) }
    // Not of somebody who has asked for nothing yet.
    if let session = known(handle) { heard(from: session) }
  }

  /// The answer to a Ping has its token (RFC 8323 §5.4).
  private func pong(_ handle: OpaquePointer, _ token: CoAPToken) {
    guard let pdu = coap_pdu_init(COAP_MESSAGE_CON, COAP_SIGNALING_CODE_PONG, 0, Int(token.count)) else { return }
    guard PDU.addToken(token, to: pdu) else { return coap_delete_pdu(pdu) }
    // It frees the PDU, also when it fails.
    _ = coap_send(handle, pdu)
  }
}
