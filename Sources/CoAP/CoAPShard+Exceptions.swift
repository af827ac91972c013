internal import CLibcoap
internal import Glibc

/// Datagrams of plain UDP that libcoap does not get: it would answer with a Reset what is to be ignored, or answered (`message.h`).
/// Over DTLS nobody sees them before it.
extension CoAPShard {
  func readException(_ datagram: peeked_datagram, from socket: AdoptedSocket) {
    switch message_verdict(UInt32(datagram.verdict)) {
    case MESSAGE_HAS_BAD_OPTION:
      pump.discard(
        from: socket, answer: refusal(.badOption, "option \(datagram.bad_option) has a length that it cannot have", of: datagram))
    case MESSAGE_HAS_UNKNOWN_METHOD:
      let method = CoAPCode(rawValue: datagram.code)
      pump.discard(from: socket, answer: refusal(.methodNotAllowed, "there is no method \(method)", of: datagram))
    case MESSAGE_IS_OURS:
      let message = UnsafeBufferPointer(start: datagram.bytes, count: Int(datagram.length))
      pump.serve(Array(message), of: PeerKey(datagram), from: socket, by: self)
    default: pump.discard(from: socket)
    }
  }

  private func refusal(_ code: CoAPCode, _ diagnostic: String, of datagram: peeked_datagram) -> [UInt8] {
    let head = UnsafeBufferPointer(start: datagram.bytes, count: Int(datagram.length)).prefix(12)
    let tokenCount = (head.first ?? 0) & 15
    // Piggybacked, or else with a message id of its own.
    let type: UInt8 = datagram.type == 0 ? 2 : 1
    let mid = datagram.type == 0 ? datagram.message_id : .random(in: 0...UInt16.max)
    return [0x40 | type << 4 | tokenCount, code.rawValue, UInt8(mid >> 8), UInt8(mid & 0xff)]
      + head.dropFirst(4).prefix(Int(tokenCount)) + [0xff] + Array(diagnostic.utf8)
  }

  /// Answers the request in the next datagram of the socket, whose bytes these are, as if libcoap had handed it on.
  func serve(_ message: [UInt8], of peer: PeerKey, from socket: AdoptedSocket) {
    let known = sessions.first { $0.scheme == .coap && PeerKey($0.address) == peer }?.handle
    if known != nil { discard_datagram(socket.descriptor) }
    guard let handle = known ?? beginSilently(from: socket),
      let request = message.withUnsafeBufferPointer({ readable_request($0.baseAddress, $0.count) })
    else { return }
    defer { coap_delete_pdu(request) }
    let isConfirmable = coap_pdu_get_type(request) == COAP_MESSAGE_CON
    guard
      let response = coap_pdu_init(
        isConfirmable ? COAP_MESSAGE_ACK : COAP_MESSAGE_NON, pdu_code(0), coap_pdu_get_mid(request),
        coap_session_max_pdu_size(handle))
    else { return }
    guard PDU.addToken(PDU.token(request), to: response) else { return coap_delete_pdu(response) }
    answer(handle, request, response)
    guard coap_pdu_get_code(response).rawValue == 0 else {
      // coap_send frees it.
      _ = coap_send(handle, response)
      return
    }
    coap_delete_pdu(response)
    if isConfirmable { _ = coap_send_ack(handle, request) }
  }

  /// Has libcoap read the datagram of a peer that it does not know, so that it makes a session for it, and nothing of what it
  /// answers leaves: there is no other way to a session (`coap_endpoint_get_session`).
  private func beginSilently(from socket: AdoptedSocket) -> OpaquePointer? {
    // The socket stays open, and watched, while something that cannot send has its place.
    let spare = fcntl(socket.descriptor, F_DUPFD_CLOEXEC, 0)
    guard spare >= 0 else {
      discard_datagram(socket.descriptor)
      return nil
    }
    silenced = socket.descriptor
    silentlyBegun = nil
    pump.readNow(from: socket)
    silenced = nil
    _ = replace_descriptor(spare, socket.descriptor)
    Glibc.close(spare)
    return silentlyBegun
  }

  /// libcoap has read the first datagram of a peer, and made a session of it.
  func silence(_ handle: OpaquePointer) {
    guard let silenced else { return }
    silentlyBegun = handle
    _ = replace_descriptor(coap_context_get_coap_fd(context), silenced)
  }
}
