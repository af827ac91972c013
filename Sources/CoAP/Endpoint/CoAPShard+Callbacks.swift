internal import CLibcoap

// Callbacks of libcoap, on the loop's thread.

extension CoAPShard {
  static func of(_ session: OpaquePointer?) -> CoAPShard? {
    guard let data = coap_get_app_data(coap_session_get_context(session)) else { return nil }
    return Unmanaged<CoAPShard>.fromOpaque(data).takeUnretainedValue()
  }
}

func onShardRequest(
  _: OpaquePointer?, session: OpaquePointer?, request: OpaquePointer?,
  query: UnsafePointer<coap_string_t>?, response: OpaquePointer?
) {
  guard let session else { return }
  CoAPShard.of(session)?.answer(session, request, response)
}

func onShardEvent(session: OpaquePointer?, event: coap_event_t) -> Int32 {
  if let session { CoAPShard.of(session)?.happened(event, session) }
  return 0
}

func onShardPing(session: OpaquePointer?, received: OpaquePointer?, mid: coap_mid_t) {
  if let session { CoAPShard.of(session)?.pinged(session, PDU.token(received)) }
}

func onShardPong(session: OpaquePointer?, received: OpaquePointer?, mid: coap_mid_t) {
  if let session, CoAPScheme(coap_session_get_proto(session))?.isStream == true { CoAPShard.of(session)?.ponged(session) }
}

// A confirmable response that was not requested gets a Reset (RFC 7252 §4.2). A non-confirmable one is ignored.
func onShardResponse(
  session: OpaquePointer?, sent: OpaquePointer?, received: OpaquePointer?, mid: coap_mid_t
) -> coap_response_t {
  return coap_pdu_get_type(received) == COAP_MESSAGE_CON ? COAP_RESPONSE_FAIL : COAP_RESPONSE_OK
}
