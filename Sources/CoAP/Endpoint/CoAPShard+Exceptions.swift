internal import CLibcoap
internal import Glibc

/// Messages that are kept from libcoap, which would answer them with a Reset although they must be ignored, or answered
/// (`message.h`).
extension CoAPShard {
  func readException(_ datagram: peeked_datagram, from socket: AdoptedSocket) {
    let message = UnsafeBufferPointer(start: datagram.bytes, count: min(Int(datagram.length), AdoptedSocket.largestDatagram))
    switch message_verdict(UInt32(datagram.verdict)) {
    case MESSAGE_IS_OURS: pump.serve(Array(message), of: PeerKey(datagram), from: socket, by: self)
    case let verdict:
      let refusal = Self.refusal(verdict, of: message, badOption: datagram.bad_option)
      if refusal != nil { loop.counts.packetsSent &+= 1 }
      pump.discard(from: socket, answer: refusal)
    }
  }

  /// Whether libcoap may read a record of an established DTLS session. If not, its message has been taken and processed here.
  func mayRead(_ record: UnsafeBufferPointer<UInt8>, of session: CoAPSession) -> Bool {
    guard let handle = session.handle, let message = pump.feed.peek(record, on: handle) else { return true }
    var badOption: UInt16 = 0
    let verdict = judge_message(message.baseAddress, message.count, true, &badOption)
    guard verdict != MESSAGE_PASSES else {
      if message.count == 4, message[1] == 0, message[0] == 0x60 || message[0] == 0x70 {
        let mid = UInt16(message[2]) << 8 | UInt16(message[3])
        answered(key(session.address, mid), isReset: message[0] == 0x70)
      }
      return true
    }
    pump.feed.discardPeeked(on: handle)
    if verdict == MESSAGE_IS_OURS {
      serve(message, on: handle)
    } else {
      guard let refusal = Self.refusal(verdict, of: message, badOption: badOption) else { return false }
      loop.counts.packetsSent &+= 1
      pump.feed.write(refusal, on: handle)
    }
    heard(from: session)
    return false
  }

  /// The answer to a refused message. Nil when the message is ignored.
  private static func refusal(
    _ verdict: message_verdict, of message: UnsafeBufferPointer<UInt8>, badOption: UInt16
  ) -> [UInt8]? {
    switch verdict {
    case MESSAGE_HAS_BAD_OPTION:
      MessageWriter.refusal(.badOption, "option \(badOption) has a length that it cannot have", of: message)
    case MESSAGE_REPEATS_OPTION: MessageWriter.refusal(.badOption, "option \(badOption) is there twice", of: message)
    case MESSAGE_HAS_UNKNOWN_METHOD:
      MessageWriter.refusal(.methodNotAllowed, "there is no method \(CoAPCode(rawValue: message[1]))", of: message)
    default: nil
    }
  }

  /// Answers the request in `message`, the next datagram of the socket, as if libcoap had passed it on.
  func serve(_ message: [UInt8], of peer: PeerKey, from socket: AdoptedSocket) {
    let known = sessions.first { $0.scheme == .coap && PeerKey($0.address) == peer }?.handle
    if known != nil { discard_datagram(socket.descriptor) }
    guard let handle = known ?? beginSilently(from: socket) else { return }
    message.withUnsafeBufferPointer { serve($0, on: handle) }
  }

  private func serve(_ message: UnsafeBufferPointer<UInt8>, on handle: OpaquePointer) {
    guard let request = readable_request(message.baseAddress, message.count) else { return }
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

  /// Lets libcoap read the datagram of an unknown peer so that it creates a session, without sending anything that libcoap
  /// answers. There is no other way to create a session (`coap_endpoint_get_session`).
  private func beginSilently(from socket: AdoptedSocket) -> OpaquePointer? {
    // The socket stays open and watched while a descriptor that cannot send is in its place.
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

  /// Called when libcoap has read the first datagram of a peer and created its session.
  func silence(_ handle: OpaquePointer) {
    guard let silenced else { return }
    silentlyBegun = handle
    _ = replace_descriptor(coap_context_get_coap_fd(context), silenced)
  }
}
